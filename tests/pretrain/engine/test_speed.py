"""Speed is counted on the run's clock, and FLOPs by formulas that torch's own counter agrees with."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import normalize
from torch.utils.flop_counter import FlopCounterMode

from launch.world import World
from pretrain.engine.settings import EngineSettings
from pretrain.engine.speed import Speed, device_peak, encoder_flops, loss_flops, training_flops
from pretrain.loss.contrast import LossSettings, contrast
from pretrain.model import ModelSettings, Transformer

WIDTHS = {"vggish": 8, "resnet152": 12, "r2plus1d_18": 6}
MODEL = ModelSettings(layers=2, width=32, heads=4)
SHAPES = [
    {},
    {"attention": "per_modality"},
    {"visual": ("resnet152",)},
    {"layers": 3, "width": 48, "heads": 2, "audio": ("vggish", "r2plus1d_18")},
]


@pytest.fixture
def cpu() -> World:
    return World(0, 1, 0, torch.device("cpu"), 0)


def counted(model: ModelSettings, backward: bool) -> int:
    """What torch counts for four videos, divided by four."""
    encoder = Transformer(model, WIDTHS).train()
    features = {name: torch.randn(4, 10, width) for name, width in WIDTHS.items()}
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        audio, visual = encoder(features)
        if backward:
            (audio.square().sum() + visual.square().sum()).backward()
    return counter.get_total_flops() // 4


@pytest.mark.parametrize("change", SHAPES, ids=str)
def test_the_encoders_flops_are_those_that_torch_counts(change: dict[str, object]) -> None:
    model = ModelSettings.model_validate(MODEL.model_dump() | change)
    assert encoder_flops(model, WIDTHS) == counted(model, backward=False)
    assert training_flops(model, WIDTHS) == counted(model, backward=True)


@pytest.mark.parametrize("mode", ["uni", "cross", "multi"])
@pytest.mark.parametrize("pairs", ["all", "sampled"])
def test_the_losss_flops_are_the_least_that_torch_counts_for_it(mode: str, pairs: str) -> None:
    settings = LossSettings.model_validate({"mode": mode, "pairs": pairs, "anchors": 3, "tile": 16})
    rows = normalize(torch.randn(2, 256, 8), dim=-1)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        contrast(rows[0], rows[1], torch.arange(256)[:, None], settings, drawn_from=(0, 0))
    least = loss_flops(settings, 256, 8)
    assert least <= counter.get_total_flops() <= 1.1 * least


def test_alternation_counts_like_either_of_its_modes() -> None:
    alternate = LossSettings(mode="multi", multi="alternate")
    assert loss_flops(alternate, 100, 8) == loss_flops(LossSettings(mode="cross"), 100, 8)


class Clock:
    """A clock that moves when it is told to."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def slow(clock: Clock, seconds: list[float]) -> Iterator[int]:
    """Parts that each take some seconds to come."""
    for number, each in enumerate(seconds):
        clock.now += each
        yield number


def measured(world: World, clock: Clock) -> Speed:
    return Speed(MODEL, WIDTHS, LossSettings(), EngineSettings(), world, clock)


def test_a_point_tells_videos_snippets_and_the_share_of_waiting_since_the_last(cpu: World) -> None:
    clock = Clock()
    speed = measured(cpu, clock)
    clock.now += 1000  # what happens before the first part is read
    found = []
    for _ in speed.reading(slow(clock, [1.0, 3.0, 0.0])):
        clock.now += 1.0
        found.append(speed.point(videos=8))
    assert [each["videos_per_second"] for each in found] == [4.0, 2.0, 8.0]
    assert [each["snippets_per_second"] for each in found] == [40.0, 20.0, 80.0]
    assert [each["waiting_share"] for each in found] == [0.5, 0.75, 0.0]


def test_what_is_apart_does_not_count(cpu: World) -> None:
    clock = Clock()
    speed, found = measured(cpu, clock), []
    for _ in speed.reading(slow(clock, [1.0, 1.0])):
        with speed.apart():
            clock.now += 500
        clock.now += 3.0
        found.append(speed.point(videos=8))
        with speed.apart():
            clock.now += 500
    assert [each["videos_per_second"] for each in found] == [2.0, 2.0]
    assert [each["waiting_share"] for each in found] == [0.25, 0.25]


def test_an_error_while_reading_comes_through(cpu: World) -> None:
    def failing() -> Iterator[int]:
        yield 0
        raise KeyError("shard")

    with pytest.raises(KeyError, match="shard"):
        list(measured(cpu, Clock()).reading(failing()))


def test_utilisation_is_the_share_of_all_devices_peak_and_absent_where_that_is_unknown(
    cpu: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    assert "flop_utilisation" not in seen(measured(cpu, clock), clock)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA A100-SXM4-80GB")
    speed = measured(replace(cpu, device=torch.device("cuda", 0), size=4), clock)
    flops = 512 * training_flops(MODEL, WIDTHS) + loss_flops(LossSettings(), 5120, MODEL.width)
    assert seen(speed, clock)["flop_utilisation"] == pytest.approx(flops / 2.0 / (4 * 19.5e12))


def seen(speed: Speed, clock: Clock) -> dict[str, float]:
    """After 512 videos in two seconds."""
    for _ in speed.reading(slow(clock, [1.0])):
        clock.now += 1.0
    return speed.point(512)


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA A100-PCIE-40GB", 312e12),
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA H200", 989e12),
        ("NVIDIA H200 NVL", 835e12),
        ("NVIDIA L4", 121e12),
        ("NVIDIA L40S", 362e12),
        ("NVIDIA A10G", None),
        ("CPU", None),
    ],
)
def test_a_devices_peak_is_found_by_its_whole_name(name: str, peak: float | None) -> None:
    assert device_peak(name, "bf16") == peak
