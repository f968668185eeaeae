"""The benchmark of the parser, small: its last line holds what it promises, and its plain side is the same parser."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from finetune.parser import Parser, ParserSettings
from finetune.scoring.decision import Protocol, decide
from finetune.scoring.metrics import scores
from shards.labels import CATEGORIES
from tests.bench import bench_parser, plain_parser
from tests.bench.plain_parser import Files

SMALL = "--videos 48 --steps 2 --rounds 2 --warm_up 1 --files 16 --workers 1 --evaluation_videos 20 --evaluated 5"
NAMES = (
    "videos seconds_per_epoch videos_per_s plain_seconds_per_epoch ratio arithmetic_ratio evaluation_videos "
    "evaluation_s plain_evaluation_s evaluation_ratio product_gflop_per_s share_of_limit plain_share_of_limit threads "
    "load peak_mib read_s workers"
)


def test_the_benchmark_ends_with_every_number(capsys: pytest.CaptureFixture[str]) -> None:
    bench_parser.main(SMALL.split())
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(found) == set(NAMES.split())
    assert found["videos"] == 48
    assert found["videos_per_s"] * found["seconds_per_epoch"] == pytest.approx(48, rel=0.01)
    assert found["arithmetic_ratio"] == pytest.approx(1.72, abs=0.02)  # 80 rows through a layer instead of 10
    assert 0 < found["share_of_limit"] < 1
    assert found["peak_mib"] > 100


def test_the_plain_side_makes_of_its_files_what_the_parser_makes_of_averaged_rows(tmp_path: Path) -> None:
    parser, files, features = planted(tmp_path)
    with torch.no_grad():
        for video in range(6):
            plain = plain_parser.forward(parser, {name: rows[None] for name, rows in files[video][0].items()})
            ours = parser({name: rows[[video]] for name, rows in features.items()})
            torch.testing.assert_close(plain.seconds, ours.seconds, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("workers", [0, 1])
def test_the_plain_loops_score_as_the_metrics_do(tmp_path: Path, workers: int) -> None:
    parser, files, features = planted(tmp_path)
    draw, threshold = np.random.default_rng(0), 0.47
    truth = [draw.random((6, len(CATEGORIES), 10)) < 0.3 for _ in range(2)]
    with torch.no_grad():
        audio, visual = decide(parser(features), Protocol(threshold=threshold)).numpy()
    assert 0.1 < audio.mean() < 0.9
    expected = scores(audio, visual, *truth)
    found = plain_parser.evaluate(parser, plain_parser.singly(files, workers), truth, threshold)
    for level, kinds in expected.items():
        assert found[level] == pytest.approx(kinds, abs=1e-6)


def planted(folder: Path) -> tuple[Parser, Files, dict[str, torch.Tensor]]:
    """A parser, files of six videos, and the same videos as shards would hold them, but in float32."""
    torch.manual_seed(0)
    parser = Parser(ParserSettings(architecture="han", width=32, hidden=32), bench_parser.WIDTHS).eval()
    files = Files.plant(folder, 6, torch.zeros(6, len(CATEGORIES)))
    each = {name: torch.stack([files[video][0][name] for video in range(6)]) for name in bench_parser.WIDTHS}
    each["resnet152"] = each["resnet152"].unflatten(1, (10, 8)).mean(2)
    return parser, files, each
