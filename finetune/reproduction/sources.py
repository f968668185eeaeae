"""What the rows read: raw features as they are, and the encoders and embeddings that are made of them on the way.

Each step is a stage of the house as a user would start it: graph, pretrain, export. What is there already, given or
from an earlier start, is taken, once its digests say that it was made of these very shards.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from safetensors import safe_open

from finetune.reproduction.rows import Row
from launch.atomic import whole_file
from launch.chain import run, words
from launch.digest import sha256_file
from launch.lock import held
from launch.refusal import Refusal
from pretrain.model import SETTINGS, WEIGHTS, describe_encoder
from shards.labels import SPLITS
from shards.manifest import NAME, Manifest
from shards.read import ReadSettings
from shards.sets import find_sets

PRETRAINING = Path(__file__).parents[2] / "pretrain" / "configs"
PLAN = "plan.json"
TRIES = ReadSettings().tries


@dataclass(frozen=True)
class Sources:
    """Where the features of every row are, or are to be made."""

    shards: str
    """Folder or URL of raw features: sets train, validation and test."""
    unlabelled: str
    """Folder or URL of the one set that graph and encoders learn from."""
    out: Path
    embeddings: Path | None
    """Folder of embeddings that are there: `<mode>/train` and so on."""
    encoders: Path | None
    """Folder of encoders that are there: `<mode>/encoder`."""
    pretraining: Path
    """The encoder's settings, a TOML file of pretrain."""
    processes: int
    """That pre-train together."""
    tracking: Sequence[str]
    """Words of the tracking settings, for every stage."""

    def features(self, row: Row) -> str:
        """The shards that a row reads."""
        return str((self.embeddings or self.out / "embeddings") / row.embeddings) if row.embeddings else self.shards

    def encoder(self, row: Row) -> Path | None:
        """The folder of the encoder behind a row's features, or of the one it trains along; None without any."""
        mode = row.embeddings or row.encoder
        return (self.encoders or self.out / "encoders") / mode / "encoder" if mode else None

    def ready(self, row: Row) -> bool:
        """Whether all that a row reads is there."""
        if row.embeddings:
            return all((Path(self.features(row)) / split / NAME).exists() for split in SPLITS)
        return not row.encoder or (_folder(self.encoder(row)) / SETTINGS).exists()

    def check(self, rows: Sequence[Row], making: bool = True) -> None:
        """Raises Refusal for what can be known of the inputs before any work; `making`: whether any is to be done."""
        manifests(self.shards)
        if making and any(self._are_own(row) for row in rows):
            self._check_plan()
        for row in rows:
            if row.embeddings and self.ready(row):
                self._check_embeddings(row)
            self._check_given(row, making)

    def _check_given(self, row: Row, making: bool) -> None:
        """Refuses embeddings or encoders that were given but lack what a row needs."""
        if self.embeddings and not self.encoders and row.encoder:
            raise Refusal(
                f"A row that trains an encoder must be given the one that made the other rows' embeddings, but "
                f"'{row.name}' has --embeddings '{self.embeddings}' only: give --encoders, or leave it out of --rows."
            )
        if row.embeddings and self.embeddings and not self.ready(row):
            raise Refusal(
                f"Where --embeddings is given, every row's must be there, but '{self.features(row)}' lacks a set "
                f"of {', '.join(SPLITS)} for row '{row.name}': export it, or leave the row out of --rows."
            )
        if making and self.encoders and not self.ready(row) and not (_folder(self.encoder(row)) / SETTINGS).exists():
            raise Refusal(
                f"Where --encoders is given, every row's must be there, but '{self.encoder(row)}' holds none for row "
                f"'{row.name}': pre-train it, or leave the row out of --rows."
            )

    def make(self, row: Row, patient: bool = True) -> bool:
        """Whether all that a row reads is there, made if need be.

        While another process makes any of it, it is waited for, or left to it unless `patient`.
        """
        if self._are_own(row):
            self._check_plan()
        if not self.ready(row):
            with held(self.out / ".sources.lock", f"the embeddings in '{self.out}'", patient) as lock:
                if lock is None:
                    return False
                self._make(row, (lock,))
        if row.embeddings:
            self._check_embeddings(row)
        return True

    def _make(self, row: Row, holds: Sequence[int]) -> None:
        encoder = _folder(self.encoder(row))
        if self._are_own(row):
            self._note_plan()
            self._pretrain(encoder, holds)
        if row.embeddings and not self.ready(row):
            place = words(encoder=encoder, shards=self.shards, out=self.features(row))
            run("export", [*place, *self.tracking, "--tracking.name", row.embeddings], holds)

    def _are_own(self, row: Row) -> bool:
        """Whether a row's encoder is one that is made here."""
        return not self.encoders and bool(row.encoder or (row.embeddings and not self.embeddings))

    def about_encoder(self, row: Row) -> dict[str, Any]:
        """What is known of the encoder behind a row: its digest at the least; empty without one."""
        folder = self.encoder(row)
        if folder is None:
            return {}
        known = about(folder) if (folder / SETTINGS).exists() else {}
        return known if not row.embeddings else known or {"digest": _encoder_of(self.features(row))}

    def _pretrain(self, encoder: Path, holds: Sequence[int]) -> None:
        if (encoder / SETTINGS).exists():
            return
        graph, mode = self.out / "graph", encoder.parent.name
        if not (graph / "graph.json").exists():
            run("graph", [*words(shards=self.unlabelled, out=graph), *self.tracking], holds)
        place = words(shards=self.unlabelled, components=graph, out=encoder.parent)
        job = ["--loss.mode", mode, "--job.processes", str(self.processes)]
        run("pretrain", [str(self.pretraining), *place, *job, *self.tracking, "--tracking.name", mode], holds)

    def _check_embeddings(self, row: Row) -> None:
        """Refuses embeddings of other features than the raw rows read, and those of another encoder than is there."""
        place, raw, encoder = self.features(row), manifests(self.shards), _folder(self.encoder(row))
        for split, manifest in manifests(place).items():
            made_of = str(manifest.source.get("manifest"))
            if made_of != raw[split].digest:
                raise Refusal(
                    f"Embeddings must be made of the shards that the other rows read, but set '{split}' of '{place}' "
                    f"is of manifest {made_of[:12]} and that of '{self.shards}' is {raw[split].digest[:12]}: export "
                    "these shards, or give the others."
                )
        if (encoder / SETTINGS).exists() and describe_encoder(encoder).digest != _encoder_of(place):
            raise Refusal(
                f"Embeddings must be those of the encoder beside them, but '{place}' are of {_encoder_of(place)[:12]} "
                f"and '{encoder}' is {describe_encoder(encoder).digest[:12]}: export that one, or give the other."
            )

    def _check_plan(self) -> None:
        """Refuses what encoders cannot be made of, and a folder of encoders that were made of something else."""
        plan, file = self._plan(), self.out / PLAN
        before = json.loads(file.read_text()) if file.exists() else plan
        changed = [name for name in plan if plan[name] != before.get(name)]
        if changed:
            raise Refusal(
                f"A folder holds the encoders of one pre-training, but those in '{self.out}' were made with another "
                f"{' and '.join(changed)}: give another --out."
            )

    def _note_plan(self) -> None:
        self._check_plan()
        with whole_file(self.out / PLAN) as temporary:
            temporary.write_text(json.dumps(self._plan(), indent=1) + "\n")

    def _plan(self) -> dict[str, str]:
        """What the encoders are made of, by digests."""
        if not self.pretraining.is_file():
            raise Refusal(
                f"Encoders must be pre-trained with a settings file, but '{self.pretraining}' is none: give another "
                "--pretraining."
            )
        return {"--unlabelled": self._unlabelled().digest, "--pretraining": sha256_file(self.pretraining)}

    def _unlabelled(self) -> Manifest:
        """Of the set that encoders learn from; Refusal where it is not one, or is that of the test videos too."""
        whole = "" in find_sets(self.shards, TRIES)
        if whole and self.unlabelled in (self.shards, f"{self.shards}/train"):
            raise Refusal(
                f"Encoders must not learn from test videos, but '{self.shards}' is one set of all splits: give the set "
                "of other videos as --unlabelled."
            )
        sets = find_sets(self.unlabelled, TRIES)
        if len(sets) > 1:
            raise Refusal(
                f"Encoders learn from one set, but '{self.unlabelled}' holds {', '.join(sets)}: give one of them as "
                "--unlabelled."
            )
        ((_, manifest),) = sets.values()
        return manifest


def manifests(location: str) -> dict[str, Manifest]:
    """The manifest of each split's shards; Refusal where a split has none."""
    sets = {name: manifest for name, (_, manifest) in find_sets(location, TRIES).items()}
    found = {split: sets.get(split, sets.get("")) for split in SPLITS}
    absent = [split for split, manifest in found.items() if manifest is None]
    if absent:
        raise Refusal(
            f"The shards must have the sets {', '.join(SPLITS)}, but '{location}' has no '{absent[0]}': give the "
            "folder that pack or export wrote for these tables."
        )
    return {split: manifest for split, manifest in found.items() if manifest is not None}


def about(encoder: Path) -> dict[str, Any]:
    """The facts of an encoder that go with every score on its embeddings."""
    described = describe_encoder(encoder)
    with safe_open(encoder / WEIGHTS, "numpy") as file:
        sizes = [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118
    origin = described.provenance
    return {
        "digest": described.digest,
        "weights": sum(map(prod, sizes)),
        **{name: getattr(described.model, name) for name in ("layers", "width", "heads", "attention")},
        "mode": origin.get("loss", {}).get("mode"),
        "steps": origin.get("steps"),
        "manifest": origin.get("manifest"),
    }


def _encoder_of(location: str) -> str:
    return str(manifests(location)["test"].source.get("encoder", ""))


def _folder(path: Path | None) -> Path:
    assert path is not None
    return path


def planted(found: Mapping[str, Manifest]) -> int | None:
    """The version of the generator that planted the features; None for real ones."""
    corpus = found["test"].source.get("corpus")
    return corpus.get("version") if isinstance(corpus, Mapping) else None
