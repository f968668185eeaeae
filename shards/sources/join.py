"""Which videos there are, and what each is called in each source: the features of several sources joined by key."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from launch.refusal import Refusal
from shards.schema import SECONDS, check_key
from shards.sources import Source
from shards.tables import feature_id


@dataclass(frozen=True)
class Selection:
    """The videos of each shard set: those that have every feature, and those that do not."""

    sets: Mapping[str, Mapping[str, tuple[str, ...]]]
    """Set → key → the video's name in each source."""
    missing: Mapping[str, Mapping[str, str]]
    """Set → key of a video that is left out → where the first feature it lacks would be."""


def check_distinct(sources: Sequence[Source]) -> None:
    """Raises Refusal when two sources hold one feature: they may be two variants, and which is read must be said."""
    seen: dict[str, Source] = {}
    for source in sources:
        feature = source.reader.feature
        if feature.name in seen:
            other = seen[feature.name].reader.feature
            raise Refusal(
                f"A feature must come from one source, but '{feature.name}' comes from {other.source}"
                f"{_variant(other.variant)}, and from {feature.source}{_variant(feature.variant)}: leave one out."
            )
        seen[feature.name] = source


def join(
    sources: Sequence[Source], wanted: Mapping[str, Sequence[str]] | None, missing: Literal["stop", "skip"]
) -> Selection:
    """The name of each video in each source: of the wanted keys of each set, in their order, or of all, sorted.

    A video of a table is known to a source by its key or, as LLP's files are, by its id. Without tables (None) all
    videos are one set called "", a name that reads `<id>_<start>_<end>` is a key, and any other starts at 0. Raises
    Refusal for two names of one key, two keys of one name, a set that is left without videos, and, unless `missing` is
    `skip`, for a video that lacks a feature.
    """
    if wanted is None:
        called = [_keys_of(source) for source in sources]
        wanted = {"": sorted({key for names in called for key in names})}
    else:
        every = [key for keys in wanted.values() for key in keys]
        called = [_names_of(source, every) for source in sources]
    sets: dict[str, dict[str, tuple[str, ...]]] = {}
    absent: dict[str, dict[str, str]] = {}
    for title, keys in wanted.items():
        names = {key: tuple(each.get(key, "") for each in called) for key in keys}
        lacking = {key: _lacking(sources, found) for key, found in names.items()}
        absent[title] = {key: where for key, where in lacking.items() if where}
        sets[title] = {key: found for key, found in names.items() if not lacking[key]}
    _check(sets, absent, missing)
    return Selection(sets, absent)


def _lacking(sources: Sequence[Source], found: Sequence[str]) -> str:
    """Where the first feature that a video lacks would be; "" when it has all."""
    for source, name in zip(sources, found, strict=True):
        if name not in source.places:
            return source.reader.where(name or next(filter(None, found)))
    return ""


def _check(sets: Mapping[str, Mapping], absent: Mapping[str, Mapping[str, str]], missing: str) -> None:
    lacking = [where for each in absent.values() for where in each.values()]
    count = len(lacking) + sum(map(len, sets.values()))
    if lacking and missing == "stop":
        raise Refusal(
            f"Every video must have every feature, but '{lacking[0]}' is missing ({len(lacking)} of {count} are): "
            "extract it, or leave its video out (--missing skip leaves out all of these)."
        )
    for title, videos in sets.items():
        if not videos:
            found = f"the first lacks '{next(iter(absent[title].values()))}'" if absent[title] else "there are none"
            raise Refusal(
                f"A shard set must hold videos that have every feature, but{f' {title!r}' if title else ''} has none "
                f"({found}): give sources that name the same videos."
            )


def _names_of(source: Source, keys: Sequence[str]) -> dict[str, str]:
    """Key → what a table's video is called in a source, whether or not the source has it."""
    names: dict[str, str] = {}
    seen: dict[str, str] = {}
    for key in keys:
        name = key if key in source.places else feature_id(key)
        if name in seen:
            raise Refusal(
                f"Every video must have features of its own, but '{seen[name]}' and '{key}' in the tables "
                f"would both read '{source.reader.where(name)}': take one of them out of the tables."
            )
        names[key], seen[name] = name, key
    return names


def _keys_of(source: Source) -> dict[str, str]:
    """Key → name of every video of a source that no table names."""
    keys: dict[str, str] = {}
    for name in source.places:
        key = _key_of(name)
        check_key(key, f"'{source.reader.where(name)}'")
        if key in keys:
            first, second = source.reader.where(keys[key]), source.reader.where(name)
            raise Refusal(f"A key must be unique, but '{first}' and '{second}' both stand for '{key}': rename one.")
        keys[key] = name
    return keys


def _key_of(name: str) -> str:
    try:
        feature_id(name)
    except Refusal:
        return f"{name}_0_{SECONDS}"
    return name


def _variant(variant: str) -> str:
    return f" ({variant})" if variant else ""
