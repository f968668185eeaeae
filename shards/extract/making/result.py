"""What lies beside the shards of an extraction: what was made of what, so that a later start knows it again."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from launch.atomic import check_target, whole_file
from launch.refusal import Refusal
from shards.extract.making import failures
from shards.extract.making.assembly import Told
from shards.extract.making.failures import Failure, printable
from shards.extract.making.plan import Plan
from shards.manifest import Manifest

CLIPS = "clips.json"
"""Key → where the clip lies in which file, and what is to be known of it."""
PLAN = "plan.json"
"""What all was made from, in named parts: see `is_finished`."""
MISSING = "missing.csv"
"""The parts of a list that no file is for."""


def write(
    folder: Path, plan: Plan, told: Told, given: Mapping[str, str], faults: Sequence[Failure], missing: Sequence[str]
) -> None:
    """Writes all of it into the folder, beside the shards."""
    texts = {
        CLIPS: _json({"clips": _clips(plan, told)}),
        PLAN: _json(dict(given)),
        failures.NAME: failures.table(faults),
    }
    if missing:
        texts[MISSING] = "".join(f"{printable(key)}\n" for key in ("key", *missing))
    for name, text in texts.items():
        with whole_file(folder / name) as temporary:
            temporary.write_text(text)


def is_finished(out: Path, given: Mapping[str, str], replace: bool) -> bool:
    """Whether `out` holds an extraction of the same already; False where it may be made.

    Raises Refusal where it holds another, or anything else, that may not be replaced.
    """
    try:
        before = dict(json.loads((out / PLAN).read_text()))
        Manifest.read(out)
    except (OSError, ValueError, TypeError, Refusal):
        check_target(out, replace)
        return False
    changed = [name for name in {**before, **given} if before.get(name) != given.get(name)]
    if changed and not replace:
        raise Refusal(
            f"An output folder must be new, or hold an extraction of the same, but '{out}' holds one with another "
            f"{', '.join(changed)}: give another --out, or --replace True to extract again."
        )
    return not changed


def _clips(plan: Plan, told: Told) -> dict[str, Any]:
    """Of each clip that was extracted."""
    return {
        each.clip.key: {
            "file": str(each.of.file.path),
            "start": each.clip.start,
            "end": each.clip.end,
            "seconds": each.of.seconds,
            "notes": list(dict.fromkeys([*each.of.notes, *told.notes[each.clip.key]])),
        }
        for each in plan.clips
        if each.clip.key in told.notes
    }


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=1) + "\n"
