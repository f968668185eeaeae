"""make study-pretrain    # the tables are ../shared/llp's or LLP_TABLES'; STUDY=DIR keeps its files there

Whether pre-training learns: `uni`, `cross` and `multi` with either scope of attention, over seeds, against raw features
and encoders that were never trained, by labels that pre-training and its graph never saw.

A corpus of unlabelled videos is planted and its graph built with the defaults; each run is `python -m launch pretrain`
with pretrain/configs/study.toml, and then `python -m launch probe` on the labelled videos of the same world. Each
finished run is a line in DIR/runs.jsonl; a line that is there is not made again, so the command can be stopped and goes
on. Prints a table in Markdown (means ± standard deviations over seeds, percent), then one JSON object with what was to
be reached: see `verdict`.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from launch.demo import find_tables, words
from launch.progress import say

CONFIG = "pretrain/configs/study.toml"
MODES, SCOPES = ("uni", "cross", "multi"), ("joint", "per_modality")
MEASURES = {
    "second_map": "seconds",
    "video_map": "videos",
    "audio_to_visual_map": "A→V",
    "visual_to_audio_map": "V→A",
    "effective_rank_audio": "rank A",
    "effective_rank_visual": "rank V",
}
Scores = Mapping[str, Mapping[str, float]]
"""By subject (raw features, random encoder, pre-trained encoder) and measure."""


@dataclass(frozen=True)
class Run:
    """One encoder of the study."""

    mode: str
    attention: str
    seed: int

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.mode}-{self.attention}-{self.seed}"


def main(arguments: Sequence[str]) -> int:
    """The exit code: 0 when every run has its line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--videos", type=int, default=29_000, help="unlabelled videos to learn from")
    parser.add_argument("--corpus", type=int, default=1, help="seed of the corpus")
    parser.add_argument("--seeds", type=int, default=3, help="encoders of each kind, with seeds 1, 2, …")
    parser.add_argument("--at_once", type=int, default=max(1, (os.cpu_count() or 1)), help="runs side by side")
    chosen = parser.parse_args(arguments)
    prepare(chosen.work, chosen.videos, chosen.corpus)
    seeds = range(1, chosen.seeds + 1)
    runs = [Run(mode, scope, seed) for seed in seeds for mode in reversed(MODES) for scope in SCOPES]
    done = finished(chosen.work)
    with ThreadPoolExecutor(chosen.at_once) as pool:
        for run, scores in pool.map(
            lambda run: (run, train_and_probe(chosen.work, run)), [r for r in runs if r not in done]
        ):
            done[run] = scores
    print(table(done))
    print(json.dumps(verdict(done)))
    return 0


def prepare(work: Path, videos: int, seed: int) -> None:
    """The corpus and its graph, unless they are there."""
    corpus, graph = work / "corpus", work / "graph"
    tables = find_tables()
    if not corpus.exists():
        named = words(tables=tables) if tables else []
        planted = words(out=corpus, unlabelled=videos, layout="shards", seed=seed)
        launch(work, "prepare", "synthesise", [*named, *planted])
    if not graph.exists():
        launch(work, "prepare", "graph", words(shards=corpus / "unlabelled", out=graph))


def train_and_probe(work: Path, run: Run) -> Scores:
    """Pre-trains one encoder (going on where an earlier start was stopped), probes it, and writes its line."""
    out, probed = work / "encoders" / run.name, work / "probes" / run.name
    learnt = words(shards=work / "corpus/unlabelled", components=work / "graph", out=out, seed=run.seed)
    launch(work, run.name, "pretrain", [CONFIG, *learnt, "--loss.mode", run.mode, "--model.attention", run.attention])
    labelled = words(encoder=out / "encoder", shards=work / "corpus", tables=work / "corpus/tables")
    launch(work, run.name, "probe", [*labelled, *words(out=probed, seed=run.seed, replace=True)])
    scores: Scores = json.loads((probed / "probe.json").read_text())["scores"]
    with (work / "runs.jsonl").open("a") as lines:
        lines.write(json.dumps({"run": asdict(run), "scores": scores}) + "\n")
    say(f"{run.name}: {json.dumps(scores['pre-trained encoder'])}")
    return scores


def launch(work: Path, name: str, stage: str, arguments: Sequence[str]) -> None:
    """Runs a stage on one thread, its words in a log; raises CalledProcessError with the log's place when it fails."""
    log = work / "logs" / f"{name}-{stage}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "launch", stage, *arguments, *words(**{"tracking.root": work / "mlflow" / name})]
    say(f"{stage} {name}: {log}")
    with log.open("a") as file:
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, check=True, env=environment)


def finished(work: Path) -> dict[Run, Scores]:
    """The runs that have a line, in any order."""
    file = work / "runs.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    return {Run(**line["run"]): line["scores"] for line in lines}


def table(done: Mapping[Run, Scores]) -> str:
    """One row for raw features and, for each scope, one for random encoders and one for each mode."""
    lines = [f"| | {' | '.join(MEASURES.values())} |", f"|---|{'---|' * len(MEASURES)}"]
    lines.append(_line("raw features", [scores["raw features"] for scores in done.values()][:1]))
    for scope in SCOPES:
        of_scope = {run: scores for run, scores in done.items() if run.attention == scope}
        random = {run.seed: scores["random encoder"] for run, scores in of_scope.items()}
        lines.append(_line(f"random, {scope}", list(random.values())))
        for mode in MODES:
            some = [scores["pre-trained encoder"] for run, scores in of_scope.items() if run.mode == mode]
            lines.append(_line(f"`{mode}`, {scope}", some))
    return "\n".join(lines)


def verdict(done: Mapping[Run, Scores]) -> dict[str, float]:
    """For `multi` in each scope: points of linear-probe mAP above raw features (to reach: 3) and above the random
    encoder of the same seed and scope (5), for seconds and for videos; retrieval mAP as a multiple of the random
    encoder's (3), both directions averaged. Means over seeds."""
    found: dict[str, float] = {"runs": len(done)}
    for scope in SCOPES:
        some = [scores for run, scores in done.items() if (run.mode, run.attention) == ("multi", scope)]
        for measure in ("second_map", "video_map"):
            for against in ("raw features", "random encoder"):
                gained = [100 * (each["pre-trained encoder"][measure] - each[against][measure]) for each in some]
                name = f"{scope}_{measure.removesuffix('_map')}s_over_{against.split()[0]}"
                found[name] = round(statistics.fmean(gained), 1) if gained else float("nan")
        times = [_retrieval(each["pre-trained encoder"]) / _retrieval(each["random encoder"]) for each in some]
        found[f"{scope}_retrieval_times_random"] = round(statistics.fmean(times), 2) if times else float("nan")
    return found


def _retrieval(scores: Mapping[str, float]) -> float:
    return (scores["audio_to_visual_map"] + scores["visual_to_audio_map"]) / 2


def _line(name: str, some: Sequence[Mapping[str, float]]) -> str:
    cells = [_cell([each[key] * (1 if "rank" in key else 100) for each in some if key in each]) for key in MEASURES]
    return f"| {name} | {' | '.join(cells)} |"


def _cell(values: Sequence[float]) -> str:
    if not values:
        return "–"
    deviation = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.1f}{deviation}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
