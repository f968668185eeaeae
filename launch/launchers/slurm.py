"""A Slurm job: an sbatch script that runs `srun python -m launch STAGE …`, and goes on after preemption and deaths.

    python -m launch pretrain pretrain/configs/base.toml … --on slurm --job.hosts 2 --job.processes 8
    python -m launch pretrain … --on slurm --dry-run > job.sh        # to read it, or to submit it by hand

The command is given where the nodes' shared disk is mounted: the job runs in the same folder, with the same Python.
"""

import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template

from launch.job import Job
from launch.launchers.submission import check_secrets, check_size
from launch.place import PORTS
from launch.progress import say
from launch.refusal import Refusal
from launch.stage import find

SCRIPT = Path(__file__).with_name("slurm.sh")
HOUSE = Path(__file__).parents[2]
"""The folder that holds the five packages."""
WAIT = 120
"""Seconds that the other ranks get to end after the first one, before srun kills them."""
SECRETS = (
    "export it in the shell that submits, whose variables the job inherits (MLFLOW_TRACKING_PASSWORD for MLflow's), "
    "or read it from a file of yours."
)
PATIENCE = 60.0
"""Seconds that sbatch gets to answer."""


class _Script(Template):
    """The script with `@{names}` to be filled in, since `$` is the shell's."""

    delimiter = "@"
    idpattern = None  # type: ignore[assignment]  # only names in braces
    braceidpattern = r"[a-z_]+"


@dataclass(frozen=True)
class Where:
    """The folder that the job runs in, the house's code, and the Python that runs it; all on the shared disk."""

    folder: Path
    house: Path = HOUSE
    python: str = sys.executable


def submit(stage: str, arguments: Sequence[str], job: Job, dry_run: bool) -> int:
    """0 once the job is in the queue, or its script is printed. Raises Refusal when Slurm does not take it."""
    script = render(stage, arguments, job, Where(Path.cwd()))
    if dry_run:
        print(script, end="")
        return 0
    logs = job.slurm.logs.absolute()
    logs.mkdir(parents=True, exist_ok=True)
    number = _sbatch(script)
    log = logs / f"{_name(stage, job)}-{number}.log"
    asked = f"`scancel --signal=TERM {number}` lets it write a checkpoint and queue again, "
    say(
        f"Submitted as Slurm job {number}; what it says goes to '{log}'. `squeue --job {number}` shows where it is, "
        f"{asked if find(stage).stops else ''}`scancel {number}` ends it."
    )
    return 0


def render(stage: str, arguments: Sequence[str], job: Job, where: Where) -> str:
    """The sbatch script. Raises Refusal for what cannot stand in one, and for a stage that is one process only."""
    check_size(stage, job)
    check_secrets([*arguments, *job.slurm.options, job.slurm.setup], "A Slurm script", SECRETS)
    chosen = find(stage)
    return _Script(SCRIPT.read_text()).substitute(
        stage=stage,
        size=_size(job),
        options="\n".join(f"#SBATCH --{option}" for option in _options(stage, job, where)),
        folder=shlex.quote(str(where.folder)),
        house=shlex.quote(str(where.house)),
        variables="\n".join(_variables(job)),
        setup=f"\n{job.slurm.setup}\n" if job.slurm.setup else "",
        step=" ".join(_step(job)),
        command=shlex.join([where.python, "-m", "launch", stage, *arguments]),
        requeues=str(job.slurm.requeues if chosen.stops else 0),
        max_restarts=str(job.max_restarts if chosen.resumes else 0),
    )


def _options(stage: str, job: Job, where: Where) -> list[str]:
    """What the job asks of Slurm, and how Slurm is to treat it."""
    asked, resumes = job.slurm, find(stage).resumes
    chosen = {"partition": asked.partition, "account": asked.account, "qos": asked.qos, "time": asked.time}
    chosen |= {"mem": asked.memory, "cpus-per-task": str(asked.cpus or "")}
    chosen |= {"gpus-per-node": str(asked.gpus * job.processes or "")}
    return [
        f"job-name={_name(stage, job)}",
        f"nodes={job.hosts}",
        f"ntasks-per-node={job.processes}",
        *(f"{name}={value}" for name, value in chosen.items() if value),
        "requeue" if resumes else "no-requeue",
        f"signal=TERM@{asked.notice}",
        "open-mode=append",
        f'output={_quoted(asked.logs, where)}/%x-%j.log"',
        *asked.options,
    ]


def _quoted(logs: Path, where: Where) -> str:
    """A folder in sbatch's words, up to the file's name, which follows: it replaces what stands behind `%`."""
    folder = str(where.folder / logs)
    if wrong := sorted(set(folder) & set('"\\\n')):
        raise Refusal(f"A folder for a Slurm job's output must be free of {wrong}, but is {folder!r}: take another.")
    return '"' + folder.replace("%", "%%")


def _variables(job: Job) -> list[str]:
    """What every rank finds in its environment: where all meet, and what it computes with."""
    threads = job.threads or job.slurm.cpus or 1
    port = str(job.port) if job.port else f"$(({PORTS[0]} + SLURM_JOB_ID % {PORTS[1]}))"
    address, interface = '"$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)"', job.interface
    if job.hosts == 1:
        address, interface = "127.0.0.1", interface or ("" if job.slurm.gpus else "lo")
    lines = [f"export OMP_NUM_THREADS={threads} TORCH_CPP_LOG_LEVEL=ERROR"]
    lines += [] if job.slurm.gpus else ["export CUDA_VISIBLE_DEVICES= DS_ACCELERATOR=cpu"]
    lines += [f"export GLOO_SOCKET_IFNAME={interface} NCCL_SOCKET_IFNAME={interface}"] if interface else []
    return [
        *lines,
        "# The ranks meet on the first node, at a port that this job's neighbours in the queue do not have.",
        f"MASTER_ADDR={address}",
        f"MASTER_PORT={port}",
        "export MASTER_ADDR MASTER_PORT",
    ]


def _step(job: Job) -> list[str]:
    """srun's own options: it takes nodes and tasks from the job, but not the cores of each, and may not hide GPUs."""
    cores = [f"--cpus-per-task={job.slurm.cpus}"] if job.slurm.cpus else []
    return [*cores, *(["--gpu-bind=none"] if job.slurm.gpus else []), f"--wait={WAIT}", "--kill-on-bad-exit=0"]


def _sbatch(script: str) -> str:
    """The job's number."""
    try:
        done = subprocess.run(
            ["sbatch", "--parsable"], input=script, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except FileNotFoundError:
        raise Refusal(
            "A Slurm job must be submitted where Slurm is installed, but there is no `sbatch` here: submit it from a "
            "login node, or write the script with --dry-run and carry it there."
        ) from None
    except subprocess.TimeoutExpired:
        raise Refusal(
            f"Slurm must answer, but `sbatch` gave no answer for {PATIENCE:g} s: ask `scontrol ping` whether its "
            "controller lives."
        ) from None
    if done.returncode:
        reason = " ".join(line.removeprefix("sbatch: error: ") for line in done.stderr.splitlines())
        raise Refusal(
            f"Slurm must take the job, but `sbatch` says '{reason}': change job.slurm.… (where there are no GPUs, "
            "job.slurm.gpus is 0), job.hosts or job.processes."
        )
    return done.stdout.strip().split(";")[0]


def _name(stage: str, job: Job) -> str:
    return job.slurm.name or f"soundsight-{stage}"


def _size(job: Job) -> str:
    nodes = "1 node" if job.hosts == 1 else f"{job.hosts} nodes"
    processes = "1 process" if job.processes == 1 else f"{job.processes} processes"
    return f"{nodes} with {processes}{' each' if job.hosts > 1 else ''}"
