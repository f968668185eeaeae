"""What is absent teaches nothing, is judged by nothing, and is scored as it is predicted."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from finetune import train
from finetune.batches import Split, load_splits
from finetune.cleaning.targets import Targets
from finetune.losses import LossSettings, Objective
from finetune.network.pooling import Parsed
from finetune.parser import Parser
from finetune.parses.events import parse_videos
from finetune.parses.of_shards import from_shards
from finetune.present import having, present_seconds
from finetune.scoring.decision import Protocol
from finetune.scoring.protocol import parses
from launch.refusal import Refusal
from shards.labels import CATEGORIES, Tables
from shards.schema import MODALITIES, PRESENT, Feature, Video
from shards.write import Writer

CPU = torch.device("cpu")
EVERYTHING = np.ones((10, 2), np.float32)


def some_absent(number: int) -> np.ndarray:
    """Of every five videos one has no sound, one no picture, one no sound at first, and one nothing at all."""
    present = EVERYTHING.copy()
    kinds: list[Any] = [(slice(0), 0), (slice(None), 0), (slice(None), 1), (slice(0, 4), 0), (slice(None), slice(None))]
    seconds, modality = kinds[number % 5]
    present[seconds, modality] = 0
    return present


def write(corpus: Any, folder: str, of: Callable[[int], np.ndarray], beyond: float = 0.0) -> Path:
    """The corpus's sets with the feature `present`, and with `beyond` in all that is absent; the last key is short."""
    for split in ("train", "validation", "test"):
        keys = corpus.keys(split)
        with Writer(corpus.work / folder / split, (*corpus.features, Feature(PRESENT, 2)), {}, 5) as writer:
            for number, key in enumerate(keys):
                dice, present = np.random.default_rng(list(key.encode())), of(number)
                rows = {one.name: dice.standard_normal((10, one.width)).astype(np.float32) for one in corpus.features}
                for name, array in rows.items():
                    array[present[:, int(name != "sound")] == 0] = beyond
                writer.add(Video(key, rows | {PRESENT: present}))
    return corpus.work / folder


def load(corpus: Any, folder: Path, name: str = "validation") -> Split:
    (split,) = load_splits(folder, Tables.load(corpus.tables), (name,), corpus.parser.features, "refuse", CPU)
    return split


def test_a_split_knows_what_its_shards_say_is_present(corpus: Any) -> None:
    split = load(corpus, write(corpus, "some", some_absent))
    assert split.present is not None
    expected = np.stack([some_absent(number).T > 0 for number in range(9)], axis=1)
    assert np.array_equal(split.present.numpy(), expected)
    rows = torch.tensor([3, 0, 1])
    batch = split.batch(rows)
    assert batch.present is not None
    assert np.array_equal(batch.present.numpy(), expected[:, rows])
    assert PRESENT not in split.features
    assert "3 of them have no sound, 3 no picture." in split.describe()


def test_present_is_said_as_shortly_as_can_be() -> None:
    keys, told = ["whole_0_10", "short_3_8"], np.ones((2, 2, 10), bool)
    assert present_seconds(keys[:1], CPU) is None
    assert present_seconds(keys[:1], CPU, told[:, :1]) is None
    short = present_seconds(keys, CPU, told)
    assert short is not None
    assert short.sum(dim=1).tolist() == [10, 5]
    assert having(short) is None
    told[0, 1] = False
    apart = present_seconds(keys, CPU, told)
    assert apart is not None
    assert apart.sum(dim=2).tolist() == [[10, 0], [10, 5]]
    assert str(having(apart)) == str(torch.tensor([[True, False], [True, True]]))


def test_shards_that_say_all_is_present_train_the_parser_that_silent_ones_do(corpus: Any) -> None:
    options = {"parser": replace_settings(corpus), "cleaning": {"denoise": True, "average": 0.9, "seconds": "average"}}
    train.main(corpus.training("silent", shards=write_without(corpus), **options))
    train.main(corpus.training("said", shards=write(corpus, "all", lambda _: EVERYTHING), **options))
    one, two = (Parser.from_pretrained(corpus.work / name).state_dict() for name in ("silent", "said"))
    assert all(torch.equal(one[name], two[name]) for name in one)


def write_without(corpus: Any) -> Path:
    return corpus.write_shards("without", {split: corpus.keys(split) for split in ("train", "validation", "test")})


def replace_settings(corpus: Any) -> Any:
    return corpus.parser.model_copy(update={"adversarial": True, "skip": True})


OPTIONS = {
    "plain": {},
    "exchange": {"labels": "exchange", "denoise": True},
    "seconds": {"average": 0.9, "seconds": "average", "seconds_from": 1, "mixup": 1.0, "balance": 0.5},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_what_stands_where_something_is_absent_changes_nothing_of_a_training(
    corpus: Any, options: dict[str, Any]
) -> None:
    made = []
    for name, beyond in (("zeros", 0.0), ("noise", 7.0)):
        shards = write(corpus, name, some_absent, beyond)
        train.main(corpus.training(f"on {name}", shards=shards, parser=replace_settings(corpus), cleaning=options))
        made.append(Parser.from_pretrained(corpus.work / f"on {name}").state_dict())
    assert all(value.isfinite().all() for value in made[0].values())
    assert all(torch.equal(made[0][name], made[1][name]) for name in made[0])


def test_a_video_is_scored_as_it_is_predicted(corpus: Any) -> None:
    shards, parser = write(corpus, "some", some_absent), Parser.from_pretrained(corpus.untrained())
    protocol = Protocol(gate="none", threshold=0.5)
    split = load(corpus, shards, "test")
    scored = np.stack(parses(parser, split, protocol))
    traits = {one.name: {"width": one.width, "variant": one.variant, "encoder": ""} for one in corpus.features}
    (videos,) = from_shards(str(shards), traits, (), ("test",), split.shards.settings)
    few = videos.few(0, len(videos.keys))
    features = {name: torch.from_numpy(rows).float() for name, rows in few.features.items()}
    predicted = np.zeros_like(scored)
    for parse in parse_videos(parser, few.keys, features, protocol, few.present):
        for event in parse.events:
            if event.modality in MODALITIES:
                where = MODALITIES.index(event.modality), split.keys.index(parse.key), CATEGORIES.index(event.category)
                predicted[(*where, slice(int(event.onset), int(event.offset)))] = True
    assert np.array_equal(scored, predicted)
    assert split.present is not None
    assert not scored[~split.present.numpy()[:, :, None].repeat(25, axis=2)].any()
    assert 0.1 < scored.mean() < 0.9


def example(present: torch.Tensor | None, videos: int) -> tuple[Parsed, torch.Tensor]:
    dice = torch.Generator().manual_seed(1)
    pooled = torch.rand(3, 6, 5, generator=dice).clamp(0.01, 0.99)[:, :videos]
    seconds, joint = torch.rand(2, 6, 10, 5, generator=dice), torch.randn(2, 6, 10, 8, generator=dice)
    labels = (torch.rand(6, 5, generator=dice) < 0.3).float()
    return Parsed(seconds[:, :videos], *pooled, joint[:, :videos], present), labels[:videos]


def test_a_mute_video_is_in_no_mean_of_the_audio_nor_a_dark_one_of_the_picture() -> None:
    present = torch.ones(2, 6, 10, dtype=torch.bool)
    present[0, 4], present[1, 5] = False, False
    parsed, labels = example(present, 6)
    objective = Objective(LossSettings(lambda_g=1.0), 8, adversarial=False)
    found = objective(parsed, Targets.weak(labels), 0.5)
    hears, sees = torch.tensor([0, 1, 2, 3, 5]), torch.tensor([0, 1, 2, 3, 4])
    audio = torch.nn.functional.binary_cross_entropy(parsed.audio[hears], labels[hears])
    visual = torch.nn.functional.binary_cross_entropy(parsed.visual[sees], 0.9 * labels[sees] + 0.05)
    torch.testing.assert_close(found["guided"], (audio + visual) / 2)
    torch.testing.assert_close(found["video"], torch.nn.functional.binary_cross_entropy(parsed.video, labels))


def test_a_video_without_anything_is_in_no_mean_at_all() -> None:
    present = torch.ones(2, 6, 10, dtype=torch.bool)
    present[:, 4:] = False
    objective = Objective(LossSettings(), 8, adversarial=True)
    (whole, labels), (few, own) = example(present, 6), example(None, 4)
    wanted = [replace(Targets.weak(each), seconds=torch.full((2, len(each), 10, 5), 0.3)) for each in (labels, own)]
    found, expected = objective(whole, wanted[0], 0.5), objective(few, wanted[1], 0.5)
    assert set(found) == {"loss", "video", "guided", "seconds", "adversarial"}
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name])


@pytest.mark.parametrize("there", [0, 1])
def test_a_batch_of_nothing_or_of_one_snippet_has_a_finite_loss_and_gradient(there: int) -> None:
    present = torch.zeros(2, 6, 10, dtype=torch.bool)
    present[1, 0, :there] = True
    parsed, labels = example(present, 6)
    joint = parsed.joint.clone().requires_grad_()
    targets = replace(Targets.weak(labels), seconds=torch.full((2, 6, 10, 5), 0.3))
    parts = Objective(LossSettings(), 8, adversarial=True)(replace(parsed, joint=joint), targets, 0.5)
    assert parts["adversarial"] == 0
    assert all(value.isfinite() for value in parts.values())
    assert (parts["loss"] > 0) == bool(there)
    parts["loss"].backward()
    assert joint.grad is not None
    assert not joint.grad.any()


def test_a_feature_of_that_name_that_says_something_else_is_refused(corpus: Any) -> None:
    with Writer(corpus.work / "odd" / "test", (*corpus.features, Feature(PRESENT, 3)), {}, 5) as writer:
        for key in corpus.keys("test"):
            rows = {one.name: np.ones((10, one.width), np.float32) for one in corpus.features}
            writer.add(Video(key, rows | {PRESENT: np.ones((10, 3), np.float32)}))
    with pytest.raises(Refusal, match="a number for each of audio, visual, but has 3 in"):
        load(corpus, corpus.work / "odd", "test")
