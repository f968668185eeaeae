"""What lies beside the shards of an extraction: what was made of what, so that a later start knows it again."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from launch.atomic import whole_file
from launch.progress import say
from launch.refusal import Refusal
from launch.target import check_target
from shards.extract.making import failures
from shards.extract.making.assembly import Told
from shards.extract.making.failures import Failure, printable
from shards.extract.making.plan import Plan
from shards.manifest import Manifest
from shards.tars.index import index_name

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
    """Whether `out` holds an extraction of the same already; False where it may be made, which is said if it is again.

    Raises Refusal where it holds another, half of one, or anything else, that may not be replaced.
    """
    try:
        before = dict(json.loads((out / PLAN).read_text()))
        manifest = Manifest.read(out)
    except (OSError, ValueError, TypeError, Refusal):
        check_target(out, replace)
        return False
    changed = [name for name in {**before, **given} if before.get(name) != given.get(name)]
    if changed:
        found, rule = f"holds one with another {', '.join(changed)}", "be new, or hold an extraction of the same"
    elif lost := _lost(out, manifest):
        found, rule = f"lacks '{lost}', or has it in another size", "be new, or hold a whole extraction"
    else:
        return True
    if not replace:
        raise Refusal(
            f"An output folder must {rule}, but '{out}' {found}: give another --out, or --replace True to extract "
            "again."
        )
    check_target(out, replace)
    say(f"Extracting again, for '{out}' {found}.")
    return False


def _lost(out: Path, manifest: Manifest) -> str:
    """The first file of an extraction that is not there as it was written; "" where all are."""
    sizes = {shard.file: shard.bytes for shard in manifest.shards}
    beside = [*map(index_name, sizes), CLIPS, failures.NAME]
    gone = [name for name, size in sizes.items() if not (out / name).is_file() or (out / name).stat().st_size != size]
    return next(iter([*gone, *(name for name in beside if not (out / name).is_file())]), "")


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
