"""Weights: which file is taken, what is said of one that is missing, damaged or another's, and random ones."""

import hashlib
import os
import pickle
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from launch.digest import sha256_file
from launch.refusal import Refusal
from shards.extract.networks import r2plus1d_18, resnet152, vggish
from shards.extract.networks.weights import Found, Published, WeightSettings, digest_of, drawn, read, told

URL = "https://example.org/vggish-00000000.pth"


class Small(nn.Module):
    """A network with a norm, like the real ones."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)
        self.norm = nn.BatchNorm2d(2)


def published(digest: str = "00000000", **more: object) -> Published:
    return Published("vggish", f"vggish-{digest}.pth", URL, (digest,), **more)  # type: ignore[arg-type]


def state(seed: int = 0) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return {name: torch.rand_like(each.float()).to(each.dtype) for name, each in Small().state_dict().items()}


def put(folder: Path, name: str = "vggish.pth", **changes: torch.Tensor | None) -> Path:
    """Saves the small network's state; a change to None leaves a tensor out."""
    changed = {each.replace("__", "."): tensor for each, tensor in changes.items()}
    kept = {each: tensor for each, tensor in {**state(), **changed}.items() if tensor is not None}
    torch.save(kept, folder / name)
    return folder / name


def named_by_digest(folder: Path) -> tuple[Path, str]:
    """The state in a file that is named as published files are."""
    path = put(folder)
    digest = sha256_file(path)[:8]
    return path.rename(folder / f"vggish-{digest}.pth"), digest


def test_the_published_file_is_found_in_pytorchs_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    path, digest = named_by_digest(folder)
    found = told(published(digest), WeightSettings())
    assert found == Found(path.name, sha256_file(path), True)
    assert found.variant == ""
    assert sha256_file(path) in str(found)
    assert str(tmp_path) not in str(found)


def test_the_weights_are_those_of_the_file(tmp_path: Path) -> None:
    path, digest = named_by_digest(tmp_path)
    module = read(published(digest), WeightSettings(folder=tmp_path), Small)
    assert path.exists()
    for name, tensor in state().items():
        assert torch.equal(module.state_dict()[name], tensor)
    assert not any(parameter.requires_grad for parameter in module.parameters())


def test_an_older_name_is_taken_where_the_newer_is_not_there(tmp_path: Path) -> None:
    path, digest = named_by_digest(tmp_path)
    newer = Published("vggish", "vggish-11111111.pth", URL, ("11111111", digest), (path.name,))
    assert told(newer, WeightSettings(folder=tmp_path)).variant == ""


def test_a_renamed_published_file_is_still_the_published_one(tmp_path: Path) -> None:
    path, digest = named_by_digest(tmp_path)
    mine = path.rename(tmp_path / "mine.pth")
    assert told(published(digest), WeightSettings(vggish=mine)).variant == ""


def test_other_weights_are_another_variant(tmp_path: Path) -> None:
    mine = put(tmp_path, "mine.pth")
    assert told(published(), WeightSettings(vggish=mine)).variant == f"weights {sha256_file(mine)[:8]}"


def test_safetensors_are_read_too_in_any_floating_type(tmp_path: Path) -> None:
    halves = {name: each.half() if each.is_floating_point() else each for name, each in state().items()}
    save_file(halves, tmp_path / "mine.safetensors")
    module = read(published(), WeightSettings(vggish=tmp_path / "mine.safetensors"), Small)
    assert module.conv.weight.dtype == torch.float32
    torch.testing.assert_close(module.conv.weight, state()["conv.weight"], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy format"])
@pytest.mark.parametrize("parameters", [False, True], ids=["tensors", "parameters"])
def test_files_of_every_age_are_read(zipped: bool, parameters: bool, tmp_path: Path) -> None:
    module = Small()
    kept = module.state_dict(keep_vars=parameters)
    torch.save(kept, tmp_path / "mine.pth", _use_new_zipfile_serialization=zipped)
    loaded = read(published(), WeightSettings(vggish=tmp_path / "mine.pth"), Small)
    assert torch.equal(loaded.conv.weight, module.conv.weight)
    assert not loaded.conv.weight.requires_grad


def test_counters_that_older_files_lack_are_zero(tmp_path: Path) -> None:
    path = put(tmp_path, norm__num_batches_tracked=None)
    assert read(published(), WeightSettings(vggish=path), Small).norm.num_batches_tracked == 0


def test_a_missing_file_is_named_with_its_place_and_its_address(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match=r"weights of vggish must be on this machine") as refusal:
        told(published(), WeightSettings(folder=tmp_path))
    assert str(refusal.value).count("\n") == 1  # what is missing, and the advice
    for word in (
        str(tmp_path / "vggish-00000000.pth"),
        URL,
        "--weights.folder",
        "--weights.vggish",
        "--weights.missing random",
    ):
        assert word in str(refusal.value)


@pytest.mark.parametrize("missing", ["refuse", "random"])
def test_a_path_that_is_named_must_exist_even_if_missing_weights_may_be_random(missing: str, tmp_path: Path) -> None:
    for path in (tmp_path / "not_here.pth", tmp_path):
        with pytest.raises(Refusal, match=r"that is named must exist, but .* \(--weights\.vggish\) does not"):
            told(published(), WeightSettings(vggish=path, missing=missing))


def test_a_file_that_is_not_what_its_name_says_was_damaged(tmp_path: Path) -> None:
    path, digest = named_by_digest(tmp_path)
    path.write_bytes(path.read_bytes() + b"0")
    with pytest.raises(Refusal, match=rf"must begin as its name says, .* not {digest}: it was damaged on its way"):
        told(published(digest), WeightSettings(folder=tmp_path))


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"conv__bias": None}, r"it has no 'conv\.bias'"),
        ({"layer__weight": torch.ones(1)}, r"it has 'layer\.weight'"),
        ({"conv__weight": torch.ones(2, 1, 5)}, r"its 'conv\.weight' has the shape \(2, 1, 5\), not \(2, 1, 3, 3\)"),
    ],
)
def test_another_networks_weights_are_refused_by_the_first_name_that_does_not_fit(
    changes: dict[str, torch.Tensor | None], fault: str, tmp_path: Path
) -> None:
    with pytest.raises(Refusal, match=rf"those of vggish, by the names and shapes of the published file, but {fault}"):
        read(published(), WeightSettings(vggish=put(tmp_path, **changes)), Small)


def test_a_file_of_which_any_byte_is_damaged_is_refused_or_read(tmp_path: Path) -> None:
    torch.save(state(), tmp_path / "whole.pth", _use_new_zipfile_serialization=False)
    whole, random = (tmp_path / "whole.pth").read_bytes(), np.random.default_rng(0)
    for place in random.integers(0, len(whole) // 2, 150):
        (tmp_path / "mine.pth").write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
        with suppress(Refusal):
            read(published(), WeightSettings(vggish=tmp_path / "mine.pth"), Small)


def _truncated(path: Path) -> None:
    path.write_bytes(put(path.parent, "whole.pth").read_bytes()[:500])


def _hostile(path: Path) -> None:
    class Run:
        def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
            return os.system, (f"touch '{path.parent / 'it_ran'}'",)

    torch.save({"conv.weight": Run()}, path)


def _raw_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps({"conv.weight": 1}))


def _checkpoint(path: Path) -> None:
    torch.save({"state_dict": state(), "epoch": 3}, path)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize(
    "write",
    [
        _truncated,
        _hostile,
        _raw_pickle,
        _checkpoint,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_text("<html>404</html>"),
    ],
    ids=["truncated", "hostile", "raw pickle", "training checkpoint", "empty", "page"],
)
def test_what_is_no_file_of_tensors_is_refused_in_a_sentence_and_nothing_in_it_is_run(
    write: Callable[[Path], object], suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"mine{suffix}"
    write(path)
    with pytest.raises(Refusal, match="A file of weights must") as refusal:
        read(published(), WeightSettings(vggish=path), Small)
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "it_ran").exists()


def test_a_name_of_ones_own_may_end_in_anything(tmp_path: Path) -> None:
    mine = put(tmp_path, "vggish-20240131.pth")
    assert told(published(), WeightSettings(vggish=mine)).variant == f"weights {sha256_file(mine)[:8]}"


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match=r"A file of weights must be readable, but .* is not: No such file"):
        digest_of(tmp_path / "gone.pth")


def test_a_digest_is_computed_again_when_the_file_changes(tmp_path: Path) -> None:
    path = put(tmp_path)
    first = digest_of(path)
    path.write_bytes(path.read_bytes() + b"0")
    assert digest_of(path) == sha256_file(path) != first


def test_random_weights_are_said_to_be_random(tmp_path: Path) -> None:
    found = told(published(), WeightSettings(folder=tmp_path, missing="random"))
    assert (found.variant, str(found)) == ("random weights", "random weights: nothing was learned")


def test_random_norms_pass_values_on_and_end_branches_calmly(tmp_path: Path) -> None:
    where = WeightSettings(folder=tmp_path, missing="random")
    plain, calm = (read(published(closing=closing), where, Small) for closing in ("", r"norm\.weight$"))
    assert plain.norm.weight.tolist() == [1.0, 1.0]
    assert calm.norm.weight.tolist() == pytest.approx([0.1, 0.1])
    assert plain.conv.bias.tolist() == plain.norm.running_mean.tolist() == [0.0, 0.0]
    assert plain.norm.running_var.tolist() == [1.0, 1.0]
    assert not plain.norm.num_batches_tracked.is_floating_point()


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 64), st.integers(1, 64), st.text("abc.", min_size=1, max_size=5))
def test_random_parameters_keep_a_signals_size_behind_relu(after: int, before: int, name: str) -> None:
    values = drawn("network", name, (after, before, 3, 3))
    assert values.dtype == torch.float32
    assert torch.equal(values, drawn("network", name, (after, before, 3, 3)))
    assert not torch.equal(values, drawn("another", name, (after, before, 3, 3)))
    bound = (6 / (9 * before)) ** 0.5
    assert values.abs().max() <= bound * 1.0001
    assert values.std() == pytest.approx((2 / (9 * before)) ** 0.5, rel=8 / values.numel() ** 0.5)


def test_random_parameters_are_the_same_on_every_machine() -> None:
    """The digest was computed once: whoever computes another makes other demo features."""
    values = drawn("resnet152", "layer1.0.conv2.weight", (64, 64, 3, 3)).numpy()
    assert hashlib.sha256(values.astype("<f4").tobytes()).hexdigest()[:16] == "9f9f48e03063d793"
    assert np.abs(values).max() < 0.103


@pytest.mark.parametrize("part", [vggish, resnet152, r2plus1d_18])
def test_the_published_files_names_begin_with_their_digests(part: object) -> None:
    known: Published = part.PUBLISHED  # type: ignore[attr-defined]
    for file in (known.file, *known.older):
        assert Path(file).stem.split("-")[1] in known.digests
    assert known.url.startswith("https://")
    assert known.url.endswith(f"/{known.file}")
    assert known.network in WeightSettings.model_fields
