"""Every combination of options runs, is saved and comes back the same; a damaged folder is refused by a sentence."""

import json
from itertools import product
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from finetune.network.pooling import EDGE
from finetune.parser import Parser, ParserSettings
from finetune.scoring.decision import Protocol, decide
from launch.digest import sha256_json
from launch.refusal import Refusal
from pretrain.model import ModelSettings, Transformer

WIDTHS = {"vggish": 128, "resnet152": 2048, "r2plus1d_18": 512, "pretrained_audio": 24, "pretrained_visual": 24}
OPTIONS = [
    (architecture, skip, gcaa)
    for architecture, skip, gcaa in product(("han", "base"), (False, True), (False, True))
    if architecture == "base" or not skip
]


def small(**values: object) -> Parser:
    torch.manual_seed(0)
    return Parser(ParserSettings(**{"width": 16, "hidden": 16, **values}), WIDTHS).eval()  # type: ignore[arg-type]


def features(videos: int = 5) -> dict[str, Tensor]:
    torch.manual_seed(1)
    return {name: torch.randn(videos, 10, width) for name, width in WIDTHS.items()}


@pytest.mark.parametrize(("architecture", "skip", "gcaa"), OPTIONS)
@torch.no_grad()
def test_every_combination_parses_and_comes_back_from_its_folder(
    tmp_path: Path, architecture: str, skip: bool, gcaa: bool
) -> None:
    parser = small(architecture=architecture, skip=skip, gcaa=gcaa)
    parsed = parser(features())
    assert parsed.seconds.shape == (2, 5, 10, 25)
    assert parsed.video.shape == parsed.audio.shape == parsed.visual.shape == (5, 25)
    parser.save(tmp_path, {"videos": 5})
    again = Parser.from_pretrained(tmp_path)
    assert again.trained_on == {"videos": 5}
    assert not again.training
    assert torch.equal(again(features()).seconds, parsed.seconds)


@pytest.mark.parametrize(("architecture", "skip", "gcaa"), OPTIONS)
@torch.no_grad()
def test_a_batch_is_parsed_as_its_videos_one_by_one(architecture: str, skip: bool, gcaa: bool) -> None:
    parser = small(architecture=architecture, skip=skip, gcaa=gcaa)
    together = parser(features())
    for video in range(5):
        alone = parser({name: rows[[video]] for name, rows in features().items()})
        torch.testing.assert_close(alone.seconds[:, 0], together.seconds[:, video])
        torch.testing.assert_close(alone.video[0], together.video[video])


@pytest.mark.parametrize(("architecture", "skip", "gcaa"), OPTIONS)
@torch.no_grad()
def test_a_short_video_is_parsed_as_if_it_were_cut(architecture: str, skip: bool, gcaa: bool) -> None:
    parser = small(architecture=architecture, skip=skip, gcaa=gcaa)
    present = torch.arange(10) < torch.tensor([10, 10, 4, 7, 1])[:, None]
    padded = parser(features(), present)
    cut = parser({name: rows[[2], :4] for name, rows in features().items()})
    torch.testing.assert_close(padded.seconds[:, 2, :4], cut.seconds[:, 0])
    for pooled in ("audio", "visual", "video"):
        torch.testing.assert_close(getattr(padded, pooled)[2], getattr(cut, pooled)[0])


@pytest.mark.parametrize(("architecture", "skip", "gcaa"), OPTIONS)
@torch.no_grad()
def test_a_modality_that_a_second_lacks_is_not_pooled(architecture: str, skip: bool, gcaa: bool) -> None:
    parser = small(architecture=architecture, skip=skip, gcaa=gcaa)
    present = torch.ones(2, 5, 10, dtype=torch.bool)
    present[0, 0], present[1, 1], present[:, 2], present[0, 3, 4:] = False, False, False, False
    parsed = parser(features(), present)
    for pooled in (parsed.seconds, parsed.audio, parsed.visual, parsed.video):
        assert pooled.isfinite().all()
    assert parsed.audio[0].max() == parsed.visual[1].max() == parsed.video[2].max() == torch.tensor(EDGE)
    silent = features()
    silent["vggish"][0] = 0.0
    whole = parser(silent)
    assert torch.equal(parsed.visual[0], whole.visual[0])  # attention is as it was: every second has a modality
    torch.testing.assert_close(parsed.video[0], whole.visual[0])  # all of W_m is left to what is there
    decided = decide(parsed, Protocol(gate="none", threshold=0))
    assert torch.equal(decided, present[:, :, None].expand_as(decided))


@torch.no_grad()
def test_an_encoder_under_the_parser_is_told_what_is_absent() -> None:
    torch.manual_seed(0)
    read = {"audio": ("vggish",), "visual": ("resnet152", "r2plus1d_18")}
    encoder = Transformer(ModelSettings(**read, layers=1, width=8, heads=2), WIDTHS)
    parser = Parser(ParserSettings(width=16, hidden=16, encoder=Path("x")), WIDTHS, encoder).eval()
    present = torch.ones(2, 5, 10, dtype=torch.bool)
    present[0, 1] = present[:, 3, 6:] = False
    given, other = features(), features()
    other["vggish"][1] = 7.0
    one, two = parser(given, present), parser(other, present)
    assert torch.equal(one.visual, two.visual)
    assert torch.equal(one.video, two.video)
    seconds = present[1]
    assert torch.equal(parser(given, seconds).video, parser(given, seconds.expand(2, -1, -1)).video)


@torch.no_grad()
def test_raw_features_and_embeddings_go_through_the_same_parser_class() -> None:
    parser = small(audio=("pretrained_audio",), visual=("pretrained_visual",), skip=True, gcaa=True)
    assert parser(features()).video.shape == (5, 25)
    assert set(parser.widths) == {"pretrained_audio", "pretrained_visual"}


def test_han_has_the_published_number_of_parameters() -> None:
    parser = Parser(ParserSettings(architecture="han"), WIDTHS)
    inputs = (128 + 2048 + 512 + 1024 + 4) * 512
    layer = 2 * 4 * (512 * 512 + 512) + 2 * (512 * 512 + 512) + 2 * 2 * 512
    assert sum(p.numel() for p in parser.parameters()) == inputs + layer + 3 * (512 * 25 + 25)


def test_options_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(Refusal, match="skip needs architecture 'base'"):
        ParserSettings(architecture="han", skip=True)
    with pytest.raises(Refusal, match="3 does not divide 512"):
        ParserSettings(heads=3)
    with pytest.raises(Refusal, match="at least one feature"):
        ParserSettings(visual=())


def test_a_folder_without_a_parser_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="give the folder that finetune wrote"):
        Parser.from_pretrained(tmp_path)


def test_files_of_another_version_are_refused(tmp_path: Path) -> None:
    edited(tmp_path, version=7)
    with pytest.raises(Refusal, match=r"version 1, but .* has 7"):
        Parser.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    "altered",
    [
        {"parser": {"width": 16, "hidden": 16, "heads": 2}},
        {"widths": WIDTHS | {"vggish": 129}},
        {"trained_on": {"videos": {"train": 10_000}}},
        {"weights": "0" * 64},
        {"note": "added"},
        {"seal": None},
    ],
)
def test_settings_altered_by_hand_are_refused_even_where_the_weights_would_fit(
    tmp_path: Path, altered: dict[str, object]
) -> None:
    edited(tmp_path, **altered)
    with pytest.raises(Refusal, match=r"must be whole.*settings\.json was altered"):
        Parser.from_pretrained(tmp_path)


def test_settings_that_are_not_the_weights_are_refused(tmp_path: Path) -> None:
    resealed(tmp_path, parser={"width": 32})
    with pytest.raises(Refusal, match=r"must be whole.*are not those"):
        Parser.from_pretrained(tmp_path)
    resealed(tmp_path, parser={"wide": 16})
    with pytest.raises(Refusal, match=r"must be whole.*wide"):
        Parser.from_pretrained(tmp_path)


def test_weights_of_another_run_are_refused_by_their_checksum(tmp_path: Path) -> None:
    small().save(tmp_path, {})
    save_file({name: rows + 1 for name, rows in small().state_dict().items()}, tmp_path / "parser.safetensors")
    with pytest.raises(Refusal, match="are not those"):
        Parser.from_pretrained(tmp_path)


def test_cut_weights_and_cut_settings_are_refused(tmp_path: Path) -> None:
    edited(tmp_path)
    weights = tmp_path / "parser.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(Refusal, match="must be whole"):
        Parser.from_pretrained(tmp_path)
    (tmp_path / "settings.json").write_text("{")
    with pytest.raises(Refusal, match="must be whole"):
        Parser.from_pretrained(tmp_path)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("architecture", "skip", "gcaa"), OPTIONS)
@torch.no_grad()
def test_a_gpu_parses_as_the_cpu_does(architecture: str, skip: bool, gcaa: bool) -> None:
    parser = small(architecture=architecture, skip=skip, gcaa=gcaa)
    present = torch.arange(10) < torch.tensor([10, 10, 4, 7, 1])[:, None]
    expected = parser(features(), present)
    found = parser.cuda()({name: rows.cuda() for name, rows in features().items()}, present.cuda())
    for part in ("seconds", "video", "audio", "visual"):
        torch.testing.assert_close(getattr(found, part).cpu(), getattr(expected, part), rtol=1e-4, atol=1e-5)


def edited(folder: Path, **values: object) -> None:
    small().save(folder, {})
    content = json.loads((folder / "settings.json").read_text())
    (folder / "settings.json").write_text(json.dumps(content | values))


def resealed(folder: Path, **values: object) -> None:
    edited(folder, **values)
    content = json.loads((folder / "settings.json").read_text())
    del content["seal"]
    (folder / "settings.json").write_text(json.dumps(content | {"seal": sha256_json(content)}))
