"""make bench-loss

The loss over all pairs of 8,192 snippets (16,384 rows, width 512, `multi`, `balanced`), forward and backward, beside
the dense loss of a careful user of torch: the whole matrix of scores, positives picked out, negatives masked, autograd.
Each runs alone in a process of its own, one after the other, `--rounds` times; what is told is the median. Memory is
the highest resident set during the loss less the resident set before it, when inputs and libraries were there and a
small loss had run: what the loss adds. The last line is JSON:

- `dense_mib`, `tiled_mib`, `dense_seconds`, `tiled_seconds`; `memory_ratio`, `time_ratio`: dense over tiled.
- All of them for rows like those of a trained encoder, and once more with `start_` for a randomly initialised one's.
- `active_positives`, `active_negatives`: shares of pairs with a hinge above zero; `threads` of torch.

Rows are drawn, not encoded: a common direction, a direction for each component and noise, weighed so that positive and
negative cosines have the means of the first and the last step of a small run (`balanced`, docs/log.md), in as many
dimensions as the effective rank there (33; 75 of a randomly initialised encoder, docs/log.md). A video's ten snippets
change component at one second in five; half of the components are the video's own, the others one of 300, the k-th with
a chance that falls as 1/k.

`--tiles` instead tells what the steps of one tile cost, in milliseconds of CPU time, in the last line.

With a GPU both sides run on it (`tiled` in bfloat16, memory as its allocator counts) and 65,536 snippets of width 768
in mode `cross` come on top: `large_ms`, and `large_share`, the share of the rate of plain products.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from unittest.mock import patch

import torch
from torch import Tensor
from torch.nn.functional import normalize

from launch.progress import say
from pretrain.loss import hinges
from pretrain.loss.contrast import LossSettings, contrast
from pretrain.loss.pairs import Rows
from pretrain.loss.sweep import Side, Tally, sweep

POSITIVE, NEGATIVE = 0.9, 0.3
COSINES = {"trained": (0.91, 0.07, 33), "start": (0.35, 0.17, 75)}
"""Mean cosine of positive and of negative pairs, and dimensions of what tells rows apart."""
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def components(snippets: int, draw: torch.Generator) -> Tensor:
    """A component a snippet."""
    shared = 1 / torch.arange(1, 301, dtype=torch.float64)
    changes = (torch.rand(snippets, generator=draw) < 0.2) | (torch.arange(snippets) % 10 == 0)
    stretch = changes.cumsum(0) - 1
    count = int(stretch[-1]) + 1
    of_many = shared.multinomial(count, replacement=True, generator=draw)
    own = torch.rand(count, generator=draw) < 0.5
    return torch.where(own, 300 + torch.arange(count), of_many)[stretch]


def rows_and_ids(snippets: int, width: int, kind: str) -> tuple[Tensor, Tensor, Tensor]:
    """Unit audio and visual rows that ask for a gradient, and a component a snippet."""
    draw = torch.Generator().manual_seed(0)
    ids = components(snippets, draw)
    positive, negative, dimensions = COSINES[kind]

    basis = torch.linalg.qr(torch.randn(width, dimensions + 1, generator=draw))[0].T

    def directions(*count: int) -> Tensor:
        return normalize(torch.randn(*count, dimensions, generator=draw), dim=-1) @ basis[1:]

    own, noise = directions(int(ids.max()) + 1)[ids], directions(2, snippets)
    rows = negative**0.5 * basis[0] + (positive - negative) ** 0.5 * own + (1 - positive) ** 0.5 * noise
    audio, visual = (each.to(DEVICE).contiguous().requires_grad_() for each in normalize(rows, dim=-1))
    return audio, visual, ids.to(DEVICE)


def dense(audio: Tensor, visual: Tensor, ids: Tensor) -> Tensor:
    """The `balanced` loss of all pairs of both modalities with the matrix of scores in memory.

    Of four ways to write it this is the fastest and the one with the least memory, see docs/log.md.
    """
    rows, component = torch.cat((audio, visual)), ids.repeat(2)
    scores = rows @ rows.T
    same = component[:, None] == component[None, :]
    row, column = same.nonzero().unbind(1)
    attracted = (POSITIVE - scores[row[row != column], column[row != column]]).relu()
    repelled = scores.masked_fill(same, NEGATIVE).sub(NEGATIVE).relu()
    return attracted.mean() + repelled.sum() / (same.numel() - len(row))


def tiled(audio: Tensor, visual: Tensor, ids: Tensor) -> Tensor:
    return contrast(audio, visual, ids[:, None], LossSettings(positive_margin=POSITIVE, negative_margin=NEGATIVE)).loss


def seconds(work: Callable[[], None]) -> float:
    """Seconds until the device is done."""
    start = time.perf_counter()
    work()
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def resident(field: str) -> float:
    """MiB of this process: VmRSS now, or VmHWM at the most since `forget_peak`."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields[field].split()[0]) / 1024


def side(name: str, kind: str, snippets: int, width: int) -> dict[str, float]:
    """Seconds, MiB and value of one loss, forward and backward, in a process that has done nothing else."""
    loss = {"dense": dense, "tiled": tiled}[name]
    few = rows_and_ids(50, width, kind)
    loss(*few).backward()
    inputs = rows_and_ids(snippets, width, kind)
    found: list[float] = []

    def work() -> None:
        value = loss(*inputs)
        value.backward()
        found.append(value.item())

    if DEVICE.type == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        taken = seconds(work)
        return {"seconds": taken, "mib": (torch.cuda.max_memory_allocated() - before) / 2**20, "loss": found[0]}
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts anew
    before = resident("VmRSS")
    taken = seconds(work)
    return {"seconds": taken, "mib": resident("VmHWM") - before, "loss": found[0]}


def in_a_process(*words: str) -> dict[str, float]:
    """What `side` finds in a process of its own."""
    command = [sys.executable, "-m", "tests.bench.bench_loss", *words]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(output.splitlines()[-1])


def compare(kind: str, asked: argparse.Namespace) -> dict[str, float]:
    """The medians of both sides and their ratios."""
    size = ["--snippets", str(asked.snippets), "--width", str(asked.width), "--kind", kind]
    runs: dict[str, list[dict[str, float]]] = {"dense": [], "tiled": []}
    for _ in range(asked.rounds):
        for name, found in runs.items():
            found.append(in_a_process("--side", name, *size))
            say(f"{kind}, {name}: " + ", ".join(f"{what} {value:.4g}" for what, value in found[-1].items()) + ".")
    result = {
        f"{name}_{what}": statistics.median(run[what] for run in found)
        for name, found in runs.items()
        for what in ("seconds", "mib", "loss")
    }
    audio, visual, ids = rows_and_ids(asked.snippets, asked.width, kind)
    seen = contrast(audio.detach(), visual.detach(), ids[:, None], LossSettings())
    shares = {"active_positives": seen.active_positives, "active_negatives": seen.active_negatives}
    ratios = {"memory_ratio": "mib", "time_ratio": "seconds"}
    return result | shares | {name: result[f"dense_{w}"] / result[f"tiled_{w}"] for name, w in ratios.items()}


def large(snippets: int = 65_536, width: int = 768) -> dict[str, float]:
    """Milliseconds of a large cross-modal loss on a GPU, and its products' share of the rate of plain ones."""
    audio, visual, ids = rows_and_ids(snippets, width, "start")
    settings = LossSettings(mode="cross")

    def work() -> None:
        contrast(audio, visual, ids[:, None], settings).loss.backward()

    plain = torch.randn(8192, width, device=DEVICE, dtype=torch.bfloat16)
    times = {}
    for name, each in (("loss", work), ("product", lambda: [plain @ plain.T for _ in range(64)] and None)):
        each()
        times[name] = statistics.median(seconds(each) for _ in range(9))
    rate = 64 * 2 * 8192**2 * width / times["product"]
    return {"large_ms": 1e3 * times["loss"], "large_share": 3 * 2 * snippets**2 * width / times["loss"] / rate}


def tiles(size: int = 1024, width: int = 512) -> dict[str, float]:
    """Milliseconds of CPU time of single steps on a tile, and of whole tiles with FEW positive pairs a row."""
    draw = torch.Generator().manual_seed(0)
    values = normalize(torch.randn(2, size, width, generator=draw) + 0.5, dim=-1)
    ids = torch.randint(size // hinges.FEW, (2, size, 1), generator=draw).sort(1)[0]
    scores = values[0] @ values[1].T
    floats = [hinges.as_floats(each, scores) for each in ids]
    mask = scores > scores.mean()

    def tile(few: int, margin: float) -> None:
        sides = [Side(Rows(*each), hinges.Slopes.zeros(each[0], apart=False)) for each in zip(values, ids, strict=True)]
        with patch.object(hinges, "FEW", few):
            sweep(*sides, 2, Tally(hinges.Margins(0.9, margin, 2.0), torch.zeros(6, dtype=torch.float64), size))

    steps: dict[str, Callable[[], object]] = {
        "scores": lambda: values[0] @ values[1].T,
        "clamp_": lambda: scores.clamp_(min=-1),
        "masked_fill": lambda: scores.masked_fill(mask, 0),
        "equal_to_booleans": lambda: ids[0] == ids[1].T,
        "equal_to_floats": lambda: hinges.same(floats[0], floats[1]),
        "listed": lambda: tile(size, 0.99),
        "looked_at": lambda: tile(0, 0.99),
        "listed_with_negatives": lambda: tile(size, 0.2),
        "looked_at_with_negatives": lambda: tile(0, 0.2),
    }
    found = {}
    for name, step in steps.items():
        times = []
        for _ in range(15):
            start = time.process_time()
            step()
            times.append(1e3 * (time.process_time() - start))
        found[name] = statistics.median(times)
    return found


def main(words: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--snippets", type=int, default=8192)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3, help="runs of each side")
    parser.add_argument("--side", choices=["dense", "tiled"], help="only this one, once, in this process")
    parser.add_argument("--kind", choices=list(COSINES), default="trained", help="of the rows, with --side")
    parser.add_argument("--tiles", action="store_true", help="only measure the steps of a tile")
    asked = parser.parse_args(words)
    if asked.side:
        print(json.dumps(side(asked.side, asked.kind, asked.snippets, asked.width)))
        return
    if asked.tiles:
        print(json.dumps({name: round(value, 2) for name, value in tiles().items()}))
        return
    result: dict[str, float] = {"snippets": asked.snippets, "threads": torch.get_num_threads()}
    result |= compare("trained", asked)
    result |= {f"start_{name}": value for name, value in compare("start", asked).items()}
    result |= large() if DEVICE.type == "cuda" else {}
    print(json.dumps({name: round(value, 5) if isinstance(value, float) else value for name, value in result.items()}))


if __name__ == "__main__":
    main()
