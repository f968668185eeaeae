"""python -m launch verify --shards data/shards [--statistics]

Checks shard sets against their manifests, byte by byte and value by value, and names every fault; with faults it ends
with exit code 2. `--statistics` also tells what the values of each feature look like.
"""

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import Field

from launch.crew import share_out
from launch.progress import say, track
from launch.refusal import Refusal
from launch.settings import Settings
from shards.files import check_size
from shards.location import Location, check_environment, is_remote
from shards.manifest import Manifest, Shard
from shards.read import ReadSettings
from shards.remote.cache import HostCache
from shards.schema import check_features, seconds_of
from shards.sets import find_sets
from shards.statistics import Looks, table, together
from shards.tars.index import Index, check_digest, index_name, key_of_member, member_digest
from shards.tars.layout import Layout
from shards.tars.member import decode
from shards.tars.walk import walk


class Config(Settings):
    """Checks shard sets against their manifests and names every fault; exit code 2 when there is one."""

    shards: Location = Field(description="folder or URL of shards: one set, or a folder of sets")
    statistics: bool = Field(False, description="whether mean, deviation, zeros and range of each feature are shown")
    processes: int = Field(0, ge=0, description="processes that share out the shards; 0: one a core")
    reading: ReadSettings = ReadSettings()


def main(config: Config) -> None:
    """Checks every set; raises Refusal, after all faults have been said, when there is one."""
    check_environment()
    faults = 0
    for name, (location, manifest) in find_sets(config.shards, config.reading.tries).items():
        checked = _check_set(config, location, manifest, f"verify {name}".strip())
        found = [fault for each in checked for fault in each.faults] + _across(location, manifest, checked)
        for fault in found:
            say(f"Fault: {fault}")
        say(
            f"Checked '{location}': {manifest.videos:,} videos in {len(manifest.shards)} shards, manifest "
            f"{manifest.digest[:12]}, {len(found) or 'no'} fault{'s' if len(found) != 1 else ''}."
        )
        if config.statistics:
            declared = {feature.name: feature.variant for feature in manifest.features.values()}
            for line in table(together([each.looks for each in checked if each.looks]), declared):
                say(line)
        faults += len(found)
    if faults:
        raise Refusal(f"Shards must be as their manifests say, but {faults} fault(s) were found in '{config.shards}'.")


TRIES = 5
"""Times a fetched shard is checked that other readers of the cache do not leave there."""


@dataclass
class Checked:
    """What was found in the shard `number`."""

    number: int
    keys: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    looks: dict[str, Looks] = field(default_factory=dict)
    lost: bool = False
    """Whether a fetched shard made way for another reader's before the check was done."""

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Notes a refusal, or an error of the disk, inside as a fault, and goes on after the block."""
        try:
            yield
        except Refusal as refusal:
            self.faults.append(str(refusal))
        except OSError as error:
            self.faults.append(
                f"A shard must be readable, but '{error.filename or 'the disk'}' is not: {error.strerror}."
            )


@dataclass(frozen=True)
class Check:
    """The check of any one shard of a set; a copy of it goes to every process."""

    location: str
    manifest: Manifest
    statistics: bool
    cache: HostCache | None
    """Where a remote set's shards are fetched to."""

    def __call__(self, number: int) -> Checked:
        """Every fault of the shard, each as a sentence."""
        for _ in range(TRIES):
            found = Checked(number)
            with found.noting():
                self._check(number, found)
            if not found.lost:
                break
        return found

    def _check(self, number: int, found: Checked) -> None:
        shard = self.manifest.shards[number]
        with self._at(number) as path:
            try:
                size = path.stat().st_size if path.is_file() else None
                with found.noting():
                    check_size(path, size, shard)
                    check_digest(path, shard)
                if size is not None:
                    self._check_members(path, shard, found)
            finally:
                found.lost = self.cache is not None and not path.exists()

    @contextmanager
    def _at(self, number: int) -> Iterator[Path]:
        if self.cache is None:
            yield Path(self.location) / self.manifest.shards[number].file
            return
        self.cache.prepare((number,), 0)  # so that it stays there while it is checked
        with self.cache.opened(number) as (_, path):
            self.cache.index(number)
            yield path

    def _check_members(self, path: Path, shard: Shard, found: Checked) -> None:
        layout, listed, parts = Layout.of(self.manifest.features), dict[str, tuple[int, int, bytes]](), []
        with found.noting():
            listed = _listed(path, shard)
        with path.open("rb", buffering=0) as file:
            for member in walk(path, layout.most):
                file.seek(member.start)
                payload = file.read(member.size)
                with found.noting():
                    key = key_of_member(path, member.name)
                    found.keys.append(key)
                    if listed:
                        _check_place(path, key, listed.get(key), (member.start, member.size, member_digest(payload)))
                    parts.append(self._check_values(path, key, payload, layout))
        if len(found.keys) != shard.videos:
            raise Refusal(
                f"A shard must hold as many videos as its manifest says, but '{path}' holds {len(found.keys)} instead "
                f"of {shard.videos}: copy it again, or pack again."
            )
        found.looks = together(parts) if self.statistics else {}

    def _check_values(self, path: Path, key: str, payload: bytes, layout: Layout) -> dict[str, Looks]:
        video = decode(key, path, payload, layout)
        check_features(video, self.manifest.features)
        if not self.statistics:
            return {}
        seconds = seconds_of(key)  # what follows them is no silence
        return {name: Looks.of(name, video.features[name][:seconds]) for name in self.manifest.features}


def _check_set(config: Config, location: str, manifest: Manifest, what: str) -> list[Checked]:
    processes = min(config.processes or os.cpu_count() or 1, len(manifest.shards))
    reading = config.reading
    cache = (
        HostCache(location, manifest, reading.cache, processes + 1, reading.tries, reading.connections)
        if is_remote(location)
        else None
    )
    check = Check(location, manifest, config.statistics, cache)
    with share_out(check, range(len(manifest.shards)), processes) as results:
        found = track(results, what, len(manifest.shards), "shards")
        return sorted(found, key=lambda each: each.number)


def _listed(path: Path, shard: Shard) -> dict[str, tuple[int, int, bytes]]:
    """Key → start, size and digest, as the index has them; nothing when there is no index of this shard."""
    index = Index.load(path.parent / index_name(shard.file), shard)
    if index is None:
        return {}
    places = zip(index.start.tolist(), index.size.tolist(), (row.tobytes() for row in index.digest), strict=True)
    return dict(zip(index.keys, places, strict=True))


def _check_place(path: Path, key: str, listed: tuple[int, int, bytes] | None, found: tuple[int, int, bytes]) -> None:
    if listed != found:
        raise Refusal(
            f"A member must be where its index says and have its digest, but '{key}' in '{path}' does not: the shard "
            "was damaged since it was written; copy it again, or pack again."
        )


def _across(location: str, manifest: Manifest, checked: list[Checked]) -> list[str]:
    """Faults that no shard shows by itself: keys in two of them, and tars that the manifest does not name."""
    counts = Counter(key for each in checked for key in each.keys)
    faults = [
        f"A key must be unique in a shard set, but '{key}' is {count} times in '{location}': pack again."
        for key, count in counts.items()
        if count > 1
    ]
    if not is_remote(location):
        named = {shard.file for shard in manifest.shards}
        extra = sorted(path for path in Path(location).glob("*.tar") if path.name not in named)
        faults += [
            f"Every tar must be in the manifest, but '{path}' is not: remove it, or pack again." for path in extra
        ]
    return faults
