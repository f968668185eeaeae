"""Whether a parser reads what an extraction will make, said before minutes are spent on making it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from finetune.batches import Traits
from launch.refusal import Refusal
from pretrain.model import Description, describe_encoder
from shards.extract.networks.weights import RANDOM
from shards.extract.recipes import RecipeSettings, settings_of
from shards.schema import Feature

EMBEDDED = ("pretrained_audio", "pretrained_visual")
"""What `export` calls an encoder's embeddings."""
SCALES = ("layer_norm", "unit")
"""How `export` can scale them."""


def check_fits(expected: Mapping[str, Traits], features: Sequence[Feature], recipe: str, encoder: Path | None) -> str:
    """The scale in which embeddings are to be exported for a parser; "" where it reads features as they are.

    `expected` is what the parser was trained on, by name. Raises Refusal where it is not what the recipe's features
    are, or what an encoder makes of them.
    """
    if encoder is None:
        made = {each.name: _traits(each.width, each.variant, "") for each in features}
        _check(expected, made, f"the recipe {recipe} makes", "another recipe or weights, or an encoder (--encoder)")
        return ""
    described = describe_encoder(encoder)
    _check_encoder(described, features, encoder)
    scale = _scale(expected)
    variant, width = f"{scale}-{described.digest[:12]}", described.model.width
    made = {name: _traits(width, variant, described.digest) for name in EMBEDDED}
    _check(expected, made, f"the encoder in '{encoder}' makes", "the encoder whose embeddings it was trained on")
    return scale


def _remedy(name: str, made: str, trained: str, usual: str) -> str:
    """How a feature becomes the one of the training: the settings that differ by its variants, `usual` if none do."""
    ours, theirs = settings_of(made), settings_of(trained)
    found = [
        f"--extract.{each} {theirs.get(each, f'{RecipeSettings.model_fields[each].default:g}')}"
        for each in ("hop", "images_per_second")
        if ours.get(each) != theirs.get(each)
    ]
    weights = theirs.get("weights", "")
    if ours.get("weights", "") != weights:
        place = f"--extract.weights.{name}"
        no_file = "--extract.weights.missing random, and no file of weights where they are looked for"
        named = f"the {weights} that its training had ({place})" if weights else f"the published weights ({place})"
        found.append(no_file if weights == RANDOM else named)
    return " and ".join(found) or usual


def _traits(width: int, variant: str, encoder: str) -> Traits:
    return {"width": width, "variant": variant, "encoder": encoder}


def _scale(expected: Mapping[str, Traits]) -> str:
    """The one in the variant that the parser was trained on: `<scale>-<digest>`."""
    variants = [str(traits["variant"]) for traits in expected.values()]
    return next((scale for scale in SCALES for variant in variants if variant.startswith(f"{scale}-")), SCALES[0])


def _check(expected: Mapping[str, Traits], made: Mapping[str, Traits], maker: str, remedy: str) -> None:
    for name, traits in expected.items():
        if name not in made:
            raise Refusal(
                f"A parser needs the features it was trained on, but '{name}' is none of those that {maker} "
                f"({', '.join(made)}): give {remedy}."
            )
        for trait, value in traits.items():
            if made[name][trait] != value:
                found = str(made[name][trait])
                better = _remedy(name, found, str(value), remedy) if trait == "variant" else remedy
                raise Refusal(
                    f"A parser needs the features it was trained on, but '{name}', which {maker}, has the {trait} "
                    f"{made[name][trait]!r} where its training had {value!r}: give {better}, or another parser."
                )


def _check_encoder(described: Description, features: Sequence[Feature], place: Path) -> None:
    made, variants = {each.name: each for each in features}, described.provenance.get("variants", {})
    for name, width in described.widths.items():
        found = made.get(name)
        variant = variants.get(name, found.variant if found else "")
        if found is None or (found.width, found.variant) != (width, variant):
            said = f"{found.width} wide and '{found.variant}'" if found else "not extracted"
            remedy = _remedy(name, found.variant if found else variant, variant, "another --extract.recipe or weights")
            raise Refusal(
                f"An encoder reads the features it was trained on, but '{name}' will be {said}, and is {width} wide "
                f"and '{variant}' in the encoder in '{place}': give {remedy}, or another encoder."
            )
