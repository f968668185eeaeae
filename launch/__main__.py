"""python -m launch STAGE [FILE.toml …] [--dotted.key value …] [--on PLACE] [--dry-run]

python -m launch                      # the stages
python -m launch parse my.mp4 …       # the files that parse is about stand by themselves
python -m launch graph --help         # every setting of one, with meaning, unit and default

--on local (this machine), hostfile (the hosts of --job.hostfile), slurm or kubernetes; --dry-run only prints.
"""

import contextlib
import os
import shlex
import sys
import traceback
from collections.abc import Sequence
from typing import Any

from launch import stage, start, tracking
from launch.job import Job
from launch.place import launched, take_place
from launch.preemption import Stopped, listening
from launch.progress import keep_log, speak_any_encoding
from launch.ranks import watch
from launch.ranks.roster import Roster
from launch.refusal import Refusal
from launch.settings import load
from launch.tracking.redact import redacted
from launch.unread import UNREAD, is_unread, unread_in_silence
from launch.words import Words


def main(arguments: Sequence[str]) -> int:
    """The exit code of one stage: 0 at its end, 2 when an input or a setting was refused, 1 when a process it shared
    its work with died, 75 when it stopped as it was asked to and goes on when started again, 130 when interrupted,
    141 when nobody reads what it says any more."""
    speak_any_encoding()
    arguments = [word for word in arguments if not word.startswith("--local_rank")]  # deepspeed's, if it stands by hand
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview())
        return 0
    try:
        roster = Roster.of_environment()
    except ChildProcessError as end:
        return _given_up(end)[0]
    code = _noted(arguments, roster) if roster else _outcome(arguments)[0]
    watch.depart(code)
    return code


def _noted(arguments: Sequence[str], roster: Roster) -> int:
    """The exit code of a rank, noted for the command that started it."""
    roster.join()
    try:
        with watch.last_words(roster.leave):
            code, sentence = _outcome(arguments)
    except SystemExit as leaving:
        roster.leave(int(leaving.code or 0), "")
        raise
    roster.leave(code, sentence)
    return code


def _outcome(arguments: Sequence[str]) -> tuple[int, str]:
    """The exit code and what was said; the other ranks, if there are any, hear of an end that is not theirs."""
    try:
        return _run(Words.of(arguments)), ""
    except Stopped as stopped:
        watch.close()
        return _said("Stopped", stopped.sentence, os.EX_TEMPFAIL)
    except (Refusal, ChildProcessError, KeyboardInterrupt) as end:
        return _given_up(end)
    except Exception as error:
        if is_unread(error):
            watch.tell(UNREAD, "Nobody reads any more what is said.")
            return UNREAD, ""
        others = watch.blame(error)
        if others:
            return _said("Failed", others[1], others[0])
        traceback.print_exc()
        sentence = f"Rank {os.environ.get('RANK', '0')} failed with {type(error).__name__}: {error}"
        watch.tell(1, sentence)
        return 1, sentence


def _given_up(end: BaseException) -> tuple[int, str]:
    rank = os.environ.get("RANK", "0")
    if isinstance(end, Refusal):
        watch.tell(2, f"Rank {rank} refused: {end}")
        return _said(f"Refused{'' if rank == '0' else f' on rank {rank}'}", str(end), 2)
    if isinstance(end, ChildProcessError):
        watch.tell(1, f"On rank {rank}: {end}")
        return _said("Failed", str(end), 1)
    watch.tell(130, f"Rank {rank} was interrupted.")
    return _said("Interrupted", "", 130)


def _said(how: str, sentence: str, code: int) -> tuple[int, str]:
    print(f"{how}: {sentence}" if sentence else f"{how}.", file=sys.stderr, flush=True)
    return code, sentence


def _run(words: Words) -> int:
    chosen = stage.find(words.stage)
    _, ranks, _ = take_place()
    if ranks > 1 and not chosen.distributed:
        raise Refusal(f"The stage '{words.stage}' must be one process, but {ranks} of it were started: start one.")
    if words.on != "local" and launched():
        raise Refusal(
            f"Processes of a launcher must be the ranks of a stage, but these would start others (--on {words.on}): "
            "leave the launcher, or --on, out."
        )
    with listening() if chosen.stops else contextlib.nullcontext():  # it may be asked before its first step
        return _run_stage(chosen, words)


def _run_stage(chosen: stage.Stage, words: Words) -> int:
    config_class, run = chosen.load()
    words = words.about(chosen.subject, config_class)
    own = "job" in config_class.model_fields
    words, job = (words, Job()) if own or words.on == "local" else words.without_job()
    config: Any = load(config_class, words.files, words.options, f"python -m launch {chosen.name}", chosen.subject)
    job = config.job if own else job
    if not launched():  # ranks get the words of the command that started them
        start.check_read(job, words.on)
    here = words.on == "local" and (launched() or not chosen.distributed or job.processes == 1)
    if words.dry_run or not here:
        if chosen.distributed and words.on != "kubernetes":  # a pod's disks are not here
            chosen.check(config)
        if here:
            print(redacted(shlex.join([sys.executable, "-m", start.MODULE, chosen.name, *words.arguments])))
            return 0
        if chosen.distributed and words.on in ("local", "hostfile") and not words.dry_run:
            tracking.prepare(config.tracking)
        return start.start(chosen.name, words.arguments, job, words.on, words.dry_run)
    keep_log(job.logs if chosen.distributed else None)
    run(config)
    return 0


def _overview() -> str:
    width = max(map(len, stage.STAGES))
    lines = [f"  {each.name:{width}}  {each.summary}" for each in stage.STAGES.values()]
    return "\n".join([(__doc__ or "").strip(), "", "stages:", *lines])


if __name__ == "__main__":
    with unread_in_silence():
        sys.exit(main(sys.argv[1:]))
