import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from graph.report.findings import report
from graph.report.page import page
from graph.report.shape import shape

KEYS = [f"video{number}_0_10" for number in range(40)]
LABELS = {key: frozenset({f"kind{number % 5}"}) for number, key in enumerate(KEYS) if number % 4}


@pytest.mark.parametrize(("match", "closure"), [("any", "joint"), ("any", "per_modality"), ("all", "joint")])
def test_the_facts_are_json_and_the_numbers_those_of_the_outcome(world: Callable, match: str, closure: str) -> None:
    outcome = world(match, closure, threshold=0.8)
    found = report(outcome, KEYS, match, LABELS, steps=5)
    facts = json.loads(json.dumps(found.facts, allow_nan=False))
    ways = ["joint"] if closure == "joint" else ["audio", "visual"]
    assert list(facts["chosen"]) == list(facts["literal"]) == list(facts["largest"]) == list(facts["purity"]) == ways
    for way, literal, ids, pi0 in zip(ways, outcome.literal.T, outcome.ids.T, outcome.pi0, strict=True):
        assert facts["chosen"][way]["components"] == shape(ids).components
        assert facts["chosen"][way]["pi0"]["value"] == pi0.value
        assert facts["literal"][way]["chained_share"] == shape(literal).chained_share
        sizes = facts["sizes"]["literal"][way]
        assert (sum(sizes["snippets"]), sum(sizes["components"])) == (400, shape(literal).components)
    assert (facts["grid"] is None) == (found.grid is None) == (match == "all")
    prefix = "" if closure == "joint" else "visual_"
    assert found.chosen[f"{prefix}components"] == shape(outcome.ids[:, -1]).components
    assert found.chosen[f"{prefix}pi0_literal"] == outcome.pi0_literal[-1].value
    assert found.chosen["linked_share"] == facts["reach"]["linked_share"]


def test_expected_positives_are_the_mean_over_batches_of_whole_videos(world: Callable) -> None:
    outcome = world("any", "per_modality", threshold=0.9)
    facts = report(outcome, KEYS, "any", steps=4).facts
    (batch,) = facts["batches"]  # the usual ones are larger than this corpus: the corpus itself
    video, same = np.arange(400) // 10, (outcome.ids[:, None] == outcome.ids).any(axis=2)
    positives = int(np.triu(same & (video[:, None] != video)).sum())
    assert batch["snippets"] == 400
    assert batch["pairs"] == 400 * 390 / 2
    assert batch["positives"] == pytest.approx(positives)
    assert batch["each"] == pytest.approx(2 * positives / 400)


def test_the_sentences_tell_thresholds_rows_search_and_what_the_plain_rule_would_give(world: Callable) -> None:
    outcome = world()
    found = report(outcome, KEYS, "any", LABELS, checked=["Audit: all is well."], steps=4)
    told = "\n".join(found.lines)
    for choice in outcome.choices.values():
        assert choice.reason in told
    assert "Audio: feature_audio, 24 numbers a snippet, as stored." in told
    assert "searched by blocks: exact at every threshold from 0.6 up. 0 all-zero rows" in told
    assert "Audit: all is well." in told
    assert "Literal closure (similar in any of the two)" in told
    assert "Expected positive pairs of two videos in a random batch" in told
    assert "10 of 40 videos have no label" in told
    assert found.facts["audio"]["choice"]["levels"][0]["pi0"]["pairs"] >= 0


def test_a_given_threshold_is_told_as_given(world: Callable) -> None:
    told = "\n".join(report(world(threshold=0.85), KEYS, "any", steps=4).lines)
    assert told.count("Threshold 0.85, which you gave.") == 2


def test_the_plain_rule_that_chains_the_corpus_is_a_warning_and_refinement_is_told(world: Callable) -> None:
    literal = report(world(refine="none", threshold=0.8), KEYS, "any", steps=4)
    assert any("look random" in warning for warning in literal.warnings)
    assert sum(line.startswith("WARNING: ") for line in literal.lines) == len(literal.warnings)
    assert "No component was split: these are the positives." in literal.lines
    refined = report(world(threshold=0.8), KEYS, "any", steps=4)
    assert any(line.startswith("Refined in ") for line in refined.lines)
    assert refined.facts["rounds"][0]["failed"] >= 1
    assert refined.chosen["pi0"] < literal.chosen["pi0"]


def test_what_is_approximate_and_hubs_that_keep_edges_are_warnings(world: Callable) -> None:
    outcome = world(threshold=0.9)
    audio, visual = outcome.sides
    hubs = np.arange(400) < 12
    sides = (replace(audio, engine="hnsw", exact=False), replace(visual, hubs=hubs))
    found = report(replace(outcome, sides=sides), KEYS, "any", steps=4)
    assert any("audio neighbours are APPROXIMATE (hnsw)" in warning for warning in found.warnings)
    assert any("12 visual hubs keep their edges" in warning for warning in found.warnings)
    assert any("searched by hnsw, APPROXIMATE" in line for line in found.lines)
    assert found.facts["visual"]["hubs_named"][-1] == "video1_0_10@1"
    barred = (audio, replace(visual, hubs=hubs, without=hubs))
    kept = report(replace(outcome, sides=barred), KEYS, "any", steps=4)
    assert not any("hubs" in warning for warning in kept.warnings)
    assert any("12 hubs (which get no edges)" in line for line in kept.lines)


@pytest.mark.parametrize("hubs", [0, 12])
@pytest.mark.parametrize("edges", [False, True])
def test_exactness_is_told_of_the_graph_without_hubs_only_where_hubs_got_no_edges(
    world: Callable, hubs: int, edges: bool
) -> None:
    outcome = world(threshold=0.9)
    marked = np.arange(400) < hubs
    sides = [replace(side, hubs=marked, without=marked & (not edges)) for side in outcome.sides]
    found = report(replace(outcome, sides=tuple(sides)), KEYS, "any", steps=4)
    told = "exact at every threshold from 0.6 up, for the graph without hubs."
    assert sum(told in line for line in found.lines) == (2 if hubs and not edges else 0)


def test_what_saturated_lists_leave_out_is_known_where_the_search_is_exact(world: Callable) -> None:
    outcome = world(threshold=0.9)
    audio, visual = (replace(side, saturated=np.arange(400) < 100) for side in outcome.sides)
    found = report(replace(outcome, sides=(audio, replace(visual, engine="hnsw", exact=False))), KEYS, "any", steps=4)
    told = "\n".join(found.lines)
    assert "from 0.6 up (25.0% of the lists are saturated: what they leave out was found by comparing every" in told
    assert "at any threshold; 25.0% of the lists are saturated: what they leave out is not known." in told


def test_whose_mean_the_rows_are_less_is_told_once(world: Callable) -> None:
    outcome = world(threshold=0.9)
    audio, visual = outcome.sides
    centred = (
        replace(audio, matrix=audio.matrix.centred()),
        replace(visual, matrix=visual.matrix.centred(np.full(32, 0.1, np.float32))),
    )
    found = report(replace(outcome, sides=centred), KEYS, "any", steps=4)
    assert found.facts["audio"]["made"] == "as stored, less their mean"
    told = "\n".join(found.lines)
    assert "24 numbers a snippet, as stored, less their mean. Threshold" in told
    assert "32 numbers a snippet, as stored, less the earlier graph's mean. Threshold" in told
    made = page(found, "A graph").split("How it was built")[1].split("All findings")[0]
    assert ">as stored, less their mean</td>" in made
    assert made.count("less") == 2


def test_next_to_no_links_between_videos_are_a_warning(world: Callable) -> None:
    outcome = world(threshold=0.9)
    alone = np.arange(400)[:, None]
    found = report(replace(outcome, ids=alone, literal=alone), KEYS, "any", steps=4)
    assert any("only 0.00% of the snippets are linked to another video" in warning for warning in found.warnings)
    sides = tuple(replace(side, neighbours=None, engine="within videos") for side in outcome.sides)
    asked_for = report(replace(outcome, ids=alone, literal=alone, sides=sides), KEYS, "any", steps=4)
    assert not any("linked to another" in warning for warning in asked_for.warnings)


def test_lists_are_not_needed(world: Callable) -> None:
    outcome = world(threshold=0.9)
    sides = tuple(replace(side, neighbours=None, engine="within videos") for side in outcome.sides)
    found = report(replace(outcome, sides=sides), KEYS, "any", steps=4)
    assert len(found.drawn[0].nearest) == 400
