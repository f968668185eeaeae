"""What an extraction says beside its shards."""

import csv
import json
from pathlib import Path
from typing import Any


def failures(out: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((out / "failures.csv").open()))


def clips(out: Path) -> dict[str, Any]:
    return dict(json.loads((out / "clips.json").read_text())["clips"])
