"""The plain side of bench_parser: HAN trained and scored as its authors' code does it, on files in LLP's layout.

Each video is three `.npy` files, read anew every epoch by the workers of a DataLoader; the 2048 → 512 layer runs on all
80 ResNet rows before their mean; videos are evaluated one by one, and the metrics loop over videos and categories.
All else is the project's own parser and loss, so the two sides differ in nothing that is not named here, but for Adam,
which bench_parser gives this side as torch has it by default: without the fused kernel.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from finetune.cleaning.targets import Targets
from finetune.network.pooling import Parsed
from finetune.parser import Parser
from finetune.scoring.metrics import KINDS, Scores
from finetune.trainer import Trainer

ROWS = {"vggish": (10, 128), "resnet152": (80, 2048), "r2plus1d_18": (10, 512)}
"""The shape of each feature of a video, as LLP's files hold it."""
FOLDERS = {"vggish": "vggish", "resnet152": "res152", "r2plus1d_18": "r2plus1d_18"}
Item = tuple[dict[str, Tensor], Tensor]


class Files(Dataset[Item]):
    """`videos` videos with their labels, in fewer files than that: they are read again and again."""

    def __init__(self, folder: Path, files: int, labels: Tensor) -> None:
        self.folder, self.files, self.labels = folder, files, labels

    @classmethod
    def plant(cls, folder: Path, files: int, labels: Tensor) -> "Files":
        """Writes random features as LLP's files hold them."""
        draw = np.random.default_rng(0)
        for name, shape in ROWS.items():
            (folder / FOLDERS[name]).mkdir(parents=True)
            for number in range(files):
                np.save(folder / FOLDERS[name] / f"{number}.npy", draw.standard_normal(shape, np.float32))
        return cls(folder, files, labels)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, video: int) -> Item:
        number = video % self.files
        read = {name: np.load(self.folder / place / f"{number}.npy") for name, place in FOLDERS.items()}
        return {name: torch.from_numpy(array) for name, array in read.items()}, self.labels[video]


def forward(parser: Parser, features: dict[str, Tensor]) -> Parsed:
    """What the parser makes of features with 80 ResNet rows."""
    projection = parser.visual
    rows = projection.each[0](features["resnet152"]).unflatten(1, (10, 8)).mean(2)
    visual = projection.fuse(torch.cat([rows, projection.each[1](features["r2plus1d_18"])], dim=-1))
    return parser.pooling(parser.trunk(torch.stack([parser.audio(features), visual])))


def descend(trainer: Trainer, features: dict[str, Tensor], labels: Tensor) -> None:
    """One step of training."""
    loss = trainer.objective(forward(trainer.parser, features), Targets.weak(labels), 0.0)["loss"]
    trainer.optimizer.zero_grad()
    loss.backward()
    trainer.optimizer.step()


def epochs(files: Files, batch: int, workers: int) -> Iterator[Item]:
    """Batches of one shuffled epoch after the other."""
    loader = DataLoader(files, batch, shuffle=True, num_workers=workers, persistent_workers=workers > 0)
    while True:
        yield from loader


def singly(files: Files, workers: int) -> Iterator[Item]:
    """The videos one by one, in order; the first is here, and whoever reads the others has started."""
    reader = iter(DataLoader(files, 1, num_workers=workers))
    return chain([next(reader)], islice(reader, len(files) - 1))


def evaluate(parser: Parser, videos: Iterable[Item], truth: Sequence[np.ndarray], threshold: float = 0.5) -> Scores:
    """The ten scores in percent of single videos; `truth`: what is audible and what is visible, each (video, category,
    second)."""
    parser.eval()
    found: dict[str, list[list[float]]] = {"segment": [], "event": []}
    with torch.no_grad():
        for video, (features, _) in enumerate(videos):
            audio, visual = decide(forward(parser, features), threshold)
            true_audio, true_visual = (each[video] for each in truth)
            couples = [(audio, true_audio), (visual, true_visual), (audio & visual, true_audio & true_visual)]
            for level, count in (("segment", segments), ("event", events)):
                counts = [[count(*rows) for rows in zip(*couple, strict=True)] for couple in couples]
                added = [tuple(map(sum, zip(*two, strict=True))) for two in zip(counts[0], counts[1], strict=True)]
                each = [mean_f(kind) for kind in counts]
                found[level].append([*each, sum(each) / 3, mean_f(added)])
    means = {level: 100 * np.mean(rows, axis=0) for level, rows in found.items()}
    return {level: dict(zip(KINDS, scores.tolist(), strict=True)) for level, scores in means.items()}


def decide(parsed: Parsed, threshold: float) -> np.ndarray:
    """The parse of the one video, (modality, category, second), through the global gate."""
    gate = (parsed.video[0] >= threshold).numpy()
    return (parsed.seconds[:, 0] >= threshold).numpy().transpose(0, 2, 1) & gate[:, None]


def segments(predicted: np.ndarray, true: np.ndarray) -> tuple[int, int, int]:
    """Hits, false and missed seconds of one category of one video."""
    hits = int(np.sum(predicted * true))
    return hits, int(np.sum(predicted)) - hits, int(np.sum(true)) - hits


def events(predicted: np.ndarray, true: np.ndarray) -> tuple[int, int, int]:
    """Hits, false and missed events of one category of one video: hit where intersection ≥ half of union."""
    ours, theirs = spans(predicted), spans(true)
    hits = 0
    for first, last in ours:
        for true_first, true_last in theirs:
            shared = min(last, true_last) - max(first, true_first)
            if shared > 0 and 2 * shared >= max(last, true_last) - min(first, true_first):
                hits += 1
    return hits, len(ours) - hits, len(theirs) - hits


def spans(row: np.ndarray) -> list[tuple[int, int]]:
    """The runs of positive seconds, each from its first to after its last."""
    found, second = [], 0
    while second < len(row):
        first = second
        while second < len(row) and row[second]:
            second += 1
        if second > first:
            found.append((first, second))
        second += 1
    return found


def mean_f(counts: Sequence[tuple[int, ...]]) -> float:
    """The mean F over the categories that are predicted or true; 1.0 if none is."""
    each = [2 * hits / (2 * hits + false + missed) for hits, false, missed in counts if hits + false + missed]
    return sum(each) / len(each) if each else 1.0
