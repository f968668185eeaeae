"""What must hold before a job is handed to a scheduler.

Scripts and manifests are stored, printed and shared, so no secret is written into them; and a stage that is one process
is not asked for as several.
"""

import re
from collections.abc import Sequence

from launch.job import Job
from launch.refusal import Refusal
from launch.stage import find
from launch.tracking.redact import redacted

_USER = re.compile(r"://[^\s/?#@]*:[^\s]*@")
"""A name with its password before an address's host."""
_QUERY = re.compile(r"://\S*[?&][^\s=&]*(sig|token|pass|pwd|secret|key|credential)[^\s=&]*=[^\s&]", re.IGNORECASE)
"""A part of an address's query that is called after a secret, as in signed addresses."""
_VARIABLE = re.compile(r"\b([A-Z0-9_]*(?:PASSWORD|PASSWD|TOKEN|SECRET|ACCESS_KEY)[A-Z0-9_]*)=[\"']?[^\s$\"']")
"""A variable that is given a value which is not read from elsewhere."""


def check_size(stage: str, job: Job) -> None:
    """Raises Refusal for several processes of a stage that is one."""
    if not find(stage).distributed and job.hosts * job.processes > 1:
        raise Refusal(
            f"The stage '{stage}' must be one process, but job.hosts {job.hosts} and job.processes {job.processes} ask "
            "for several: leave them at 1."
        )


def check_secrets(words: Sequence[str], place: str, remedy: str) -> None:
    """Raises Refusal where a word holds a password or a signed address, or sets a variable that is called after one.

    `place`: what the words would be written into. `remedy`: how a secret gets into the job instead.
    """
    for word in words:
        if _USER.search(word) or _QUERY.search(word):
            raise Refusal(
                f"{place} must hold no secret, since it is stored and shown, but {redacted(word)!r} does: {remedy}"
            )
        if named := _VARIABLE.search(word):
            raise Refusal(f"{place} must hold no secret, since it is stored and shown, but sets {named[1]}: {remedy}")
