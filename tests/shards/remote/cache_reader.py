"""A reader of a host's cache in a process of its own: follows the plan in its argument, a line on stdout a shard read.

`wait` makes it stop before its first read until a line comes on stdin; `fork` makes it leave a child that only sleeps.
"""

import hashlib
import json
import os
import random
import sys
import time
from pathlib import Path

from shards.manifest import Manifest
from shards.remote.cache import HostCache


def main() -> None:
    """Reads the plan's windows, each in an order of its own."""
    plan = json.loads(sys.argv[1])
    manifest = Manifest.read(Path(plan["set"]))
    cache = HostCache(plan["url"], manifest, Path(plan["root"]), plan["most"], 5, 2)
    for position, window in enumerate(plan["windows"]):
        cache.prepare(window, position)
        if plan.get("wait") and position == 0:
            print("ready", flush=True)
            sys.stdin.readline()
        if plan.get("fork") and os.fork() == 0:
            time.sleep(60)
            os._exit(0)
        for number in random.Random(os.getpid()).sample(window, len(window)):
            with cache.opened(number) as (descriptor, _):
                shard = manifest.shards[number]
                assert hashlib.sha256(os.pread(descriptor, shard.bytes, 0)).hexdigest() == shard.sha256
            print(number, flush=True)
    print("done", flush=True)
    if plan.get("stay"):
        time.sleep(60)


main()
