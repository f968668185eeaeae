"""Which videos there are, and what each is called in each source: the features of several sources joined by key."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from launch.refusal import Refusal
from shards.schema import SECONDS, check_key
from shards.sources import Place, Source
from shards.tables import feature_id

FROM_START = f"_0_{SECONDS}"
"""What a name without times lacks to be a key."""


@dataclass(frozen=True)
class Selection:
    """The videos of each shard set: those that have every feature, and those that do not."""

    sources: tuple[Source, ...]
    sets: Mapping[str, Sequence[str]]
    """Set → keys, in order."""
    missing: Mapping[str, Mapping[str, str]]
    """Set → key of a video that is left out → where the first feature it lacks would be."""
    by_table: bool
    """Whether the keys are those of tables."""

    def places(self, key: str) -> tuple[tuple[str, Place], ...]:
        """What a video of a set is called in each source, and where it is there."""
        names = ((source, _name(source, key, self.by_table)) for source in self.sources)
        return tuple((name, source.places[name]) for source, name in names)


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
    """The wanted keys of each set, in their order, or all there are, sorted; less those that lack a feature.

    A video of a table is known to a source by its key or, as LLP's files are, by its id. Without tables (None) all
    videos are one set called "", a name that reads `<id>_<start>_<end>` is a key, and any other starts at 0. Raises
    Refusal for two names of one key, two keys of one name, a set that is left without videos, and, unless `missing` is
    `skip`, for a video that lacks a feature.
    """
    by_table = wanted is not None
    if wanted is None:
        wanted = {"": sorted({key for source in sources for key in _keys(source)})}
    else:
        for source in sources:
            _check_own(source, [key for keys in wanted.values() for key in keys])
    absent = {
        title: {key: where for key in keys if (where := _lacking(sources, key, by_table))}
        for title, keys in wanted.items()
    }
    sets = {title: [key for key in keys if key not in absent[title]] for title, keys in wanted.items()}
    if missing == "skip" and any(sets.values()):
        sets = {title: keys for title, keys in sets.items() if keys}
    _check(sets, absent, missing)
    return Selection(tuple(sources), sets, absent, by_table)


def _name(source: Source, key: str, by_table: bool) -> str:
    """What a video is called in a source, or would be if it had it."""
    if key in source.places:
        return key
    name = feature_id(key) if by_table else key.removesuffix(FROM_START)
    return name if by_table or _key(name) == key else key


def _key(name: str) -> str:
    """The key that a name stands for where there are no tables."""
    try:
        feature_id(name)
    except Refusal:
        return f"{name}{FROM_START}"
    return name


def _keys(source: Source) -> Iterator[str]:
    """The keys of all videos of a source that no table names."""
    for name in source.places:
        key = _key(name)
        check_key(key, f"'{source.reader.where(name)}'")
        if key != name and key in source.places:
            first, second = source.reader.where(name), source.reader.where(key)
            raise Refusal(f"A key must be unique, but '{first}' and '{second}' both stand for '{key}': rename one.")
        yield key


def _check_own(source: Source, keys: Sequence[str]) -> None:
    """Raises Refusal when two keys of tables stand for one name in a source."""
    seen: dict[str, str] = {}
    for key in keys:
        name = _name(source, key, by_table=True)
        if name in seen:
            raise Refusal(
                f"Every video must have features of its own, but '{seen[name]}' and '{key}' in the tables "
                f"would both read '{source.reader.where(name)}': take one of them out of the tables."
            )
        seen[name] = key


def _lacking(sources: Sequence[Source], key: str, by_table: bool) -> str:
    """Where the first feature that a video lacks would be; "" when it has all."""
    for source in sources:
        name = _name(source, key, by_table)
        if name not in source.places:
            return source.reader.where(name)
    return ""


def _check(sets: Mapping[str, Sequence[str]], absent: Mapping[str, Mapping[str, str]], missing: str) -> None:
    lacking = [where for each in absent.values() for where in each.values()]
    count = len(lacking) + sum(map(len, sets.values()))
    if lacking and missing == "stop":
        other = "give the tables of these features, or the features of these tables"
        remedy = "extract it, or leave its video out (--missing skip leaves out all of these)"
        raise Refusal(
            f"Every video must have every feature, but '{lacking[0]}' is missing ({len(lacking)} of {count} are): "
            f"{other if len(lacking) == count else remedy}."
        )
    for title, keys in sets.items():
        if not keys:
            found = f"the first lacks '{next(iter(absent[title].values()))}'" if absent[title] else "there are none"
            raise Refusal(
                f"A shard set must hold videos that have every feature, but{f' {title!r}' if title else ' it'} has "
                f"none ({found}): give sources that name the same videos."
            )


def _variant(variant: str) -> str:
    return f" ({variant})" if variant else ""
