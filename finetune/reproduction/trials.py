"""A trial: one row trained with one seed and scored on the test split, by the stages a user would start."""

import csv
import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import torch

from finetune import train
from finetune.parser import SETTINGS
from finetune.recipe import Recipe
from finetune.reproduction.code import code, commit
from finetune.reproduction.results import Flat, Identity, Result
from finetune.reproduction.rows import Row
from finetune.reproduction.sources import Sources, manifests, planted
from finetune.scoring.metrics import LEVELS
from finetune.train import BESIDE_THE_COURSE
from launch.atomic import whole_file
from launch.chain import run, words
from launch.digest import sha256_file, sha256_json
from launch.settings import load
from shards.traced import table_digests

TOLD = {*Recipe.model_fields, "missing"} - {"seed"}
"""Settings of a training that fix what is trained, and on what."""
THEN = " then "
"""Between the codes of a training that went on with other code."""
LEFT_OUT = {*BESIDE_THE_COURSE, "parser.encoder"}
"""Those of them that change nothing, and the folder that a digest stands for."""


@dataclass(frozen=True)
class Bench:
    """What all trials share."""

    sources: Sources
    tables: Path
    missing: str
    over: Sequence[Path]
    """Files of settings that come after each row's own."""
    recipe: Sequence[str]
    """Words of settings that come after those."""
    out: Path
    """Folder for `parsers/` and `scores/`."""
    only: str
    """Digest of the code whose results alone are taken; empty: any."""

    @cached_property
    def digests(self) -> dict[str, str]:
        """File → digest of each annotation table."""
        return table_digests(self.tables)

    def settings(self, row: Row) -> train.Config:
        """The resolved settings of a row."""
        return load(train.Config, [row.config, *self.over], self._inputs(row) + words(out=self.out), "finetune")

    def identity(self, row: Row, seed: int) -> Identity:
        """All that a trial's scores depend on; what the row reads must be there."""
        found = manifests(self.sources.features(row))
        return Identity(
            row.name,
            seed,
            told(self.settings(row)),
            planted(found),
            {split: manifest.digest for split, manifest in found.items()},
            self.digests,
            str(self.sources.about_encoder(row).get("digest", "")),
        )

    def recalled(self, row: Row, results: Sequence[Result]) -> Identity | None:
        """The identity, for seed 0, of the newest result of a row whose encoder is not here; None without any.

        All but that encoder, and the manifests of its embeddings, must be what it would be.
        """
        raw = manifests(self.sources.shards)
        of_raw = {} if row.embeddings else {split: manifest.digest for split, manifest in raw.items()}
        wanted = Identity(row.name, 0, told(self.settings(row)), planted(raw), of_raw, self.digests, "")
        for result in reversed(results):
            theirs = replace(result.identity, seed=0)
            opened = replace(theirs, encoder="", manifests={} if row.embeddings else theirs.manifests)
            if self.only in ("", result.code) and wanted.equals(opened, defaults()):
                return theirs
        return None

    def perform(self, row: Row, identity: Identity, tracking: Sequence[str], holds: Sequence[int]) -> Result:
        """Trains and scores; goes on where an earlier start of the same trial was.

        `tracking`: words of the tracking settings; `holds`: descriptors that the stages keep, such as a lock's.
        """
        name = self._name(identity)
        parser, scored = self.out / "parsers" / name, self.out / "scores" / name
        named = [*tracking, "--tracking.name", f"{row.name} {identity.seed}"]
        seconds: dict[str, float | None] = {"finetune": None, "evaluate": None}
        if not (parser / SETTINGS).exists():
            _note_code(parser)
            files = [str(file) for file in (row.config, *self.over)]
            place = words(seed=identity.seed, out=parser)
            seconds["finetune"] = run("finetune", [*files, *self._inputs(row), *place, *named], holds)
        if not (scored / "scores.json").exists():
            given = words(parser=parser, shards=self.sources.features(row), tables=self.tables, missing=self.missing)
            protocol = _as_words("protocol", self.settings(row).protocol.model_dump(mode="json"))
            seconds["evaluate"] = run("evaluate", [*given, *words(out=scored), *protocol, *named], holds)
        return self._result(row, identity, parser, scored, seconds)

    def lock(self, identity: Identity) -> Path:
        """The file that a process holds while it makes a result."""
        return self.out / "parsers" / f".{self._name(identity)}.lock"

    def _name(self, identity: Identity) -> str:
        return "-".join(filter(None, (identity.short(defaults()), self.only[:8])))

    def _inputs(self, row: Row) -> list[str]:
        given = words(shards=self.sources.features(row), tables=self.tables, missing=self.missing)
        return [*given, *(["--parser.encoder", str(self.sources.encoder(row))] if row.encoder else []), *self.recipe]

    def _result(
        self, row: Row, identity: Identity, parser: Path, scored: Path, seconds: Mapping[str, float | None]
    ) -> Result:
        test, validation = (
            json.loads((scored / "scores.json").read_text()),
            json.loads((parser / "scores.json").read_text()),
        )
        protocol = {name: value for name, value in test["protocol"].items() if name not in ("source", "tables")}
        made_by = json.loads(_note(parser).read_text()) if _note(parser).exists() else {"commit": "", "code": ""}
        return Result(
            identity,
            made_by["commit"],
            made_by["code"],
            protocol,
            {name: value for name, value in test.items() if name not in ("protocol", "videos")},
            _categories(scored / "categories.csv"),
            {level: validation[level] for level in LEVELS},
            json.loads((parser / SETTINGS).read_text())["trained_on"]["epoch"],
            self.sources.about_encoder(row) or None,
            {stage: None if each is None else round(each, 1) for stage, each in seconds.items()},
            machine(),
        )


def told(config: train.Config) -> Flat:
    """The settings that fix a training and its scores, by dotted names in alphabetical order; folders by digest."""
    flat = _flat(config.model_dump(mode="json", include=TOLD))
    if config.cleaning.pseudo:
        files = sorted(file for file in config.cleaning.pseudo.rglob("*") if file.is_file())
        named = {str(file.relative_to(config.cleaning.pseudo)): sha256_file(file) for file in files}
        flat["cleaning.pseudo"] = sha256_json(named)
    return {name: flat[name] for name in sorted(flat) if name not in LEFT_OUT}


@cache
def defaults() -> Flat:
    """The same of a config without any settings of its own."""
    return told(load(train.Config, [], words(shards="-", tables="-", out="-"), "finetune"))


def machine() -> dict[str, Any]:
    """What a duration depends on, without anything that names the machine."""
    return {
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def _note(parser: Path) -> Path:
    return parser.with_name(f"{parser.name}.code.json")


def _note_code(parser: Path) -> None:
    """Writes down which code trains, before it does; the one, then the other, where a training goes on with another."""
    here = {"commit": commit(), "code": code()}
    before = json.loads(_note(parser).read_text()) if _note(parser).exists() else here
    if before["code"].split(THEN)[-1] != here["code"]:
        here = {name: THEN.join(filter(None, (before[name], now))) for name, now in here.items()}
    else:
        here = before
    with whole_file(_note(parser)) as temporary:
        temporary.write_text(json.dumps(here) + "\n")


def _categories(file: Path) -> dict[str, list[float | None]]:
    with file.open(newline="") as text:
        rows = list(csv.DictReader(text))
    modalities = [name for name in rows[0] if name != "category"]
    return {name: [round(float(row[name]), 2) if row[name] else None for row in rows] for name in modalities}


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return found


def _as_words(prefix: str, values: Mapping[str, Any]) -> list[str]:
    return [word for name, value in values.items() if value is not None for word in (f"--{prefix}.{name}", str(value))]
