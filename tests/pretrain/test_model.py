"""The encoder sees what its attention setting says, and its file brings the same encoder back."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from launch.refusal import Refusal
from pretrain import layers, model
from pretrain.model import ModelSettings, Transformer, describe_encoder, load_encoder, save_encoder

WIDTHS = {"vggish": 8, "resnet152": 12, "r2plus1d_18": 6}
TINY = ModelSettings(layers=2, width=16, heads=4)


def videos(count: int, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.rand(count, 10, width, generator=generator).half() for name, width in WIDTHS.items()}


def encoder(settings: ModelSettings) -> Transformer:
    torch.manual_seed(0)
    return Transformer(settings, WIDTHS).eval()


def with_other(features: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    return {**features, name: videos(len(features[name]), seed=9)[name]}


@pytest.mark.parametrize("attention", ["joint", "per_modality"])
def test_a_batch_of_videos_is_the_videos_one_by_one(attention: str) -> None:
    model = encoder(TINY.model_copy(update={"attention": attention}))
    features = videos(3)
    together = torch.stack(model(features), dim=1)
    assert together.shape == (3, 2, 10, 16)
    apart = [torch.stack(model({n: f[i : i + 1] for n, f in features.items()}), dim=1) for i in range(3)]
    torch.testing.assert_close(together, torch.cat(apart))


def test_an_empty_batch_gives_no_embeddings_and_zero_gradients() -> None:
    model = encoder(TINY)
    audio, visual = model(videos(0))
    assert audio.shape == visual.shape == (0, 10, 16)
    (audio.sum() + visual.sum()).backward()
    assert all(bool((weight.grad == 0).all()) for weight in model.parameters() if weight.grad is not None)
    assert all(weight.grad is not None for weight in model.parameters())


def test_an_empty_batch_reaches_no_attention_kernel_since_some_of_cudas_refuse_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refusing(queries: Tensor, *others: Tensor, **settings: float) -> Tensor:
        assert len(queries) > 0, "batch size must be positive"
        return queries

    monkeypatch.setattr(layers, "scaled_dot_product_attention", refusing)
    assert encoder(TINY)(videos(0))[0].shape == (0, 10, 16)


def test_joint_attention_lets_a_snippet_see_the_other_modality() -> None:
    model, features = encoder(TINY), videos(2)
    assert not torch.allclose(model(features)[1], model(with_other(features, "vggish"))[1])


def test_attention_per_modality_keeps_the_modalities_apart() -> None:
    model, features = encoder(TINY.model_copy(update={"attention": "per_modality"})), videos(2)
    audio, visual = model(features)
    torch.testing.assert_close(model(with_other(features, "vggish"))[1], visual)
    torch.testing.assert_close(model(with_other(features, "resnet152"))[0], audio)


def masked(model: Transformer, features: Mapping[str, Tensor], present: Tensor) -> Tensor:
    """The embeddings (video, modality, second, width)."""
    return torch.stack(model(features, present), dim=1)


def some_present() -> Tensor:
    """Of four videos: a whole one, one without sound, one without picture, one of six seconds."""
    present = torch.ones(4, 2, 10, dtype=torch.bool)
    present[1, 0], present[2, 1], present[3, :, 6:] = False, False, False
    return present


@pytest.mark.parametrize("attention", ["joint", "per_modality"])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_what_is_not_there_changes_nothing_else_whatever_stands_in_its_place(
    attention: str, precision: torch.dtype
) -> None:
    model, present = encoder(TINY.model_copy(update={"attention": attention})).to(precision), some_present()
    one = videos(4)
    other = {
        name: array.where(present[:, int(name != "vggish"), :, None], torch.nan if name == "resnet152" else torch.inf)
        for name, array in one.items()
    }
    found = masked(model, other, present)
    assert torch.equal(found, masked(model, one, present))
    assert bool((found[~present] == 0).all())
    assert bool((found[present].norm(dim=-1) > 1).all())


@pytest.mark.parametrize("attention", ["joint", "per_modality"])
def test_a_shorter_video_is_embedded_as_if_its_tokens_were_all_there_are(attention: str) -> None:
    model, present, features = encoder(TINY.model_copy(update={"attention": attention})), some_present(), videos(4)
    short = torch.stack(model({name: array[3:, :6] for name, array in features.items()}), dim=1)
    torch.testing.assert_close(masked(model, features, present)[3:, :, :6], short)


def test_where_all_is_there_a_mask_changes_nothing() -> None:
    model, features = encoder(TINY), videos(3)
    everything = torch.ones(3, 2, 10, dtype=torch.bool)
    torch.testing.assert_close(masked(model, features, everything), torch.stack(model(features), dim=1))


def test_what_is_not_there_has_no_gradient_and_spoils_none() -> None:
    model, present = encoder(TINY), some_present()
    features = {name: array.float() for name, array in videos(4).items()}
    features["vggish"][1] = torch.nan
    inputs = [array.requires_grad_() for array in features.values()]
    masked(model, features, present).square().sum().backward()
    assert all(bool(weight.grad.isfinite().all()) for weight in model.parameters() if weight.grad is not None)
    for array, modality in zip(inputs, (0, 1, 1), strict=True):
        assert array.grad is not None
        reached = array.grad.abs().sum(-1) > 0
        assert torch.equal(reached, present[:, modality])


@pytest.mark.parametrize("present", [None, some_present()], ids=["whole", "masked"])
def test_layers_computed_again_give_the_same_gradients_bit_for_bit_under_dropout(present: Tensor | None) -> None:
    gradients = []
    for recompute in (False, True):
        model = encoder(TINY).train()
        model.recompute = recompute
        torch.manual_seed(5)
        audio, visual = model(videos(4), present)
        (audio.square().sum() + visual.sum()).backward()
        gradients.append({name: weight.grad for name, weight in model.named_parameters()})
    assert all(torch.equal(gradients[0][name], gradients[1][name]) for name in gradients[0])


def test_layers_computed_again_keep_less(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = []
    for recompute in (False, True):
        model, held = encoder(TINY), 0

        def count(tensor: Tensor) -> Tensor:
            nonlocal held
            held += tensor.numel()
            return tensor

        model.recompute = recompute
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            model(videos(8))
        kept.append(held)
    assert kept[1] < 0.5 * kept[0]


def test_every_second_sees_every_other_of_its_video_and_none_of_another() -> None:
    model, features = encoder(TINY), {name: array.float().requires_grad_() for name, array in videos(2).items()}
    audio, _ = model(features)
    reached = torch.autograd.grad(audio[0, 3].square().sum(), list(features.values()))
    for gradient in reached:
        assert bool((gradient[0].abs().sum(-1) > 0).all())
        assert bool((gradient[1] == 0).all())


def test_one_visual_feature_alone_is_enough() -> None:
    model = encoder(TINY.model_copy(update={"visual": ("resnet152",)}))
    assert model.widths == {"vggish": 8, "resnet152": 12}
    torch.testing.assert_close(model(videos(2)), model(with_other(videos(2), "r2plus1d_18")))


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    with pytest.raises(Refusal, match="heads must divide width, but 5 does not divide 16"):
        ModelSettings(width=16, heads=5)


def test_a_saved_encoder_comes_back_as_it_was(tmp_path: Path) -> None:
    model = encoder(TINY)
    save_encoder(tmp_path / "encoder", model.state_dict(), TINY, model.widths, {"steps": 3})
    loaded = load_encoder(tmp_path / "encoder").eval()
    assert loaded.settings == TINY
    assert describe_encoder(tmp_path / "encoder").provenance == {"steps": 3}
    torch.testing.assert_close(loaded(videos(2)), model(videos(2)), rtol=0, atol=0)


def test_an_encoder_is_loaded_without_deepspeed_the_graph_or_what_trained_it(tmp_path: Path) -> None:
    save_encoder(tmp_path, encoder(TINY).state_dict(), TINY, WIDTHS, {})
    code = f"""
import sys
from pathlib import Path
from pretrain.model import load_encoder
load_encoder(Path({str(tmp_path)!r})).eval()
print(*sorted(name for name in sys.modules if name.split(".")[0] in ("deepspeed", "graph", "pretrain")))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["pretrain", "pretrain.layers", "pretrain.model"]


def test_a_folder_without_an_encoder_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match=r"settings\.json' is missing: give the `encoder` folder"):
        load_encoder(tmp_path)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    model = encoder(TINY)
    save_encoder(tmp_path, model.state_dict(), TINY, model.widths, {"steps": 3})
    return tmp_path


def test_damaged_weights_are_refused_with_what_is_wrong(saved: Path) -> None:
    weights = saved / "encoder.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(Refusal, match=r"encoder\.safetensors is not the file that settings\.json was sealed with"):
        load_encoder(saved)


@pytest.mark.parametrize(
    "change",
    [
        {"model": TINY.model_copy(update={"heads": 2}).model_dump(mode="json")},
        {"model": TINY.model_copy(update={"attention": "per_modality"}).model_dump(mode="json")},
        {"widths": {"vggish": 8, "resnet152": 12, "r2plus1d_18": 7}},
        {"provenance": {"steps": 4}},
        {"weights": "0" * 64},
        {"digest": "0" * 64},
        {"more": 1},
    ],
    ids=lambda change: next(iter(change)),
)
def test_settings_that_were_edited_are_refused(saved: Path, change: dict[str, Any]) -> None:
    described = json.loads((saved / "settings.json").read_text())
    (saved / "settings.json").write_text(json.dumps(described | change))
    with pytest.raises(Refusal, match=r"settings\.json was changed after it was sealed"):
        load_encoder(saved)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"model": {}}'])
def test_settings_that_are_none_are_refused(saved: Path, content: str) -> None:
    (saved / "settings.json").write_text(content)
    with pytest.raises(Refusal, match="An encoder must be as pretrain wrote it"):
        load_encoder(saved)


def test_encoders_of_the_same_weights_and_other_settings_are_two_encoders(tmp_path: Path) -> None:
    model, digests = encoder(TINY), set()
    for heads, steps in ((4, 3), (2, 3), (4, 5), (4, 3)):
        settings = TINY.model_copy(update={"heads": heads})
        save_encoder(tmp_path, model.state_dict(), settings, model.widths, {"steps": steps})
        digests.add(describe_encoder(tmp_path).digest)
    assert len(digests) == 3


THREE_LINES = """
import sys
from pathlib import Path
import torch
from torch.nn.functional import normalize
from pretrain.model import load_encoder
features = {"vggish": torch.rand(3, 10, 8), "resnet152": torch.rand(3, 10, 12), "r2plus1d_18": torch.rand(3, 10, 6)}

encoder = load_encoder(Path(sys.argv[1])).eval()
audio, visual = encoder(features)
cosines = normalize(audio, dim=-1) @ normalize(visual, dim=-1).mT

assert cosines.shape == (3, 10, 10), cosines.shape
print(*sorted({"deepspeed", "mlflow", "faiss", "webdataset", "torch"} & set(sys.modules)))
"""


def test_three_lines_use_an_encoder_in_a_fresh_process_without_deepspeed_and_the_rest_of_training(
    tmp_path: Path,
) -> None:
    save_encoder(tmp_path, encoder(TINY).state_dict(), TINY, WIDTHS, {})
    command = [sys.executable, "-c", THREE_LINES, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout.split()) == (0, ["torch"]), done.stderr


def test_the_three_lines_are_those_of_the_modules_description() -> None:
    shown = [line.split("  #")[0].strip() for line in (model.__doc__ or "").splitlines() if line.startswith("    ")]
    tried = [line.replace('Path("pretrained/encoder")', "Path(sys.argv[1])") for line in shown]
    assert len(tried) == 3
    assert "\n".join(tried) in THREE_LINES
