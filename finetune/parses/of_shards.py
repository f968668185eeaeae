"""Videos to parse that are in shards: all of a set, or those that are named."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from finetune.batches import Traits, check_same, traits
from finetune.parses.videos import Few, Videos, check_wanted, described
from launch.refusal import Refusal
from launch.tracking import Thing
from shards.location import Location
from shards.present import as_told, told_by
from shards.read import ReadSettings, Shards, open_sets
from shards.schema import PRESENT
from shards.traced import shard_set


@dataclass(frozen=True)
class OfShards:
    """Videos of a shard set."""

    name: str
    shards: Shards
    features: tuple[str, ...]
    keys: tuple[str, ...]
    places: tuple[int, ...]

    def told(self) -> dict[str, Any]:
        """The set's name, manifest and origin."""
        manifest = self.shards.manifest
        told = described({name: manifest.features[name] for name in self.features})
        return {
            "set": self.name,
            "videos": len(self.keys),
            "manifest": manifest.digest,
            "features": told,
            "source": dict(manifest.source),
        }

    def things(self) -> list[Thing]:
        """The set."""
        return [shard_set(self.shards, self.name)]

    def few(self, first: int, count: int) -> Few:
        """Reads them straight into arrays."""
        asked = self.places[first : first + count]
        rows = self.shards.batch(asked, (*self.features, *told_by(self.shards.manifest.features)))
        named = dict(zip(asked, self.keys[first : first + count], strict=True))
        read = {name: rows.features[name] for name in self.features}
        present = as_told(rows.features[PRESENT], self.shards.location) if PRESENT in rows.features else None
        return Few(tuple(named[place] for place in rows.places.tolist()), read, rows.faults, present)


def from_shards(
    location: Location,
    expected: Mapping[str, Traits],
    wanted: Sequence[str],
    sets: Sequence[str],
    reading: ReadSettings,
) -> list[Videos]:
    """The wanted videos (`ALL`, or by key) of the named sets (all when none is named).

    Raises Refusal for a set that is not there, features other than the `expected`, a wanted key that no set holds, and
    a key that two sets hold.
    """
    found = open_sets(location, reading)
    unknown = [name for name in sets if name not in found]
    if unknown:
        names = ", ".join(repr(name) for name in found if name) or "one set without a name"
        raise Refusal(f"A set to parse must be there, but '{unknown[0]}' is not in '{location}', which has {names}.")
    chosen = {name: shards for name, shards in found.items() if name in sets or not sets}
    holder = dict[str, str]()
    for name, shards in chosen.items():
        check_same(expected, traits(shards, tuple(expected)), shards.location)
        for key in shards.keys:
            if key in holder:
                raise Refusal(
                    f"A video must be in one set, but '{key}' is in '{holder[key]}' and '{name}' of '{location}': "
                    "name the sets to parse (--sets)."
                )
            holder[key] = name
    check_wanted(wanted, holder, str(location))
    return [_of_set(name, shards, tuple(expected), wanted) for name, shards in chosen.items()]


def _of_set(name: str, shards: Shards, features: tuple[str, ...], wanted: Sequence[str]) -> OfShards:
    place = {key: index for index, key in enumerate(shards.keys)}
    keys = tuple(key for key in wanted if key in place) if wanted else shards.keys
    return OfShards(name, shards, features, keys, tuple(place[key] for key in keys))
