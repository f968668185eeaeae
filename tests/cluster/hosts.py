"""A small cluster on one machine: every host has a network, a name, processes, a /tmp, a home and an sshd of its own.

The hosts hang on a bridge that stands in a network of its own, so nothing leaves them, and nothing of the machine's
network is touched. Everything is held by processes that end with the one that made them, even if it is killed: no
name, no interface and no mount is left behind. What lies in `shared`, and the repository, is the same on every host;
what lies in `site` is each host's own, under one path.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
NEEDED = ("sshd", "ssh", "ssh-keygen", "pdsh", "ip", "unshare", "nsenter", "setpriv", "mount")
"""Programs of Debian's openssh-server, openssh-client, pdsh, iproute2 and util-linux."""
PATH = f"{Path(sys.executable).parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
BORN = """
set -e
mkdir -p "$OWN"/{tmp,site,etc}
mount -t tmpfs hosts /mnt
mkdir /mnt/own && mount --bind "$OWN" /mnt/own
number=0
for path in "$SHARED" "$REPOSITORY" "$PYTHON" "$BASE"; do
  mkdir "/mnt/$number"; mount --bind "$path" "/mnt/$number"; number=$((number + 1))
done
mount --bind /mnt/own/tmp /tmp
number=0
for path in "$SHARED" "$REPOSITORY" "$PYTHON" "$BASE"; do
  if [ ! -e "$path" ]; then mkdir -p "$path"; mount --bind "/mnt/$number" "$path"; fi
  number=$((number + 1))
done
mkdir -p "$SITE" && mount --bind /mnt/own/site "$SITE"
for file in passwd shadow hosts; do mount --bind "/mnt/own/etc/$file" "/etc/$file"; done
mount -t tmpfs shm /dev/shm
mount -t tmpfs run /run
mkdir /run/sshd
hostname "$NAME"
ip link set lo up
echo born
read -r _ < /mnt/own/connected
"$(command -v sshd)" -f /mnt/own/etc/sshd_config -E /mnt/own/sshd.log
while :; do sleep 3600 & wait $! || :; done
"""
"""The first process of a host; as its number 1 it buries those that lost their parents."""
SSHD = """
ListenAddress {address}
HostKey {own}/etc/host_key
AuthorizedKeysFile {home}/.ssh/authorized_keys
PermitRootLogin yes
PasswordAuthentication no
PermitUserEnvironment yes
StrictModes no
UsePAM no
PidFile none
"""
CLIENT = """
Host *
  IdentityFile {home}/.ssh/key
  UserKnownHostsFile {home}/.ssh/known_hosts
  StrictHostKeyChecking yes
  LogLevel ERROR
"""


def why_not() -> str:
    """Why there can be no hosts here; empty when there can."""
    if os.geteuid() != 0:
        return "hosts are made of namespaces and mounts, which takes root"
    missing = [name for name in NEEDED if not shutil.which(name, path=PATH)]
    if missing:
        return f"{', '.join(missing)} are not installed (apt-get install openssh-server pdsh iproute2)"
    trial = "ip link add one type veth peer name two && mount -t tmpfs none /mnt"
    tried = subprocess.run(
        ["unshare", "--net", "--uts", "--mount", "--pid", "--fork", "--mount-proc", "sh", "-c", trial],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return f"this machine does not let root make namespaces: {tried.stderr.strip()}" if tried.returncode else ""


@dataclass(frozen=True)
class Host:
    """One host, seen from outside."""

    name: str
    address: str
    pid: int
    """Of its first process, as the machine counts."""
    own: Path
    """What is its own, seen from the machine: `own/site` is the cluster's `site` there, `own/tmp` its /tmp."""
    home: Path

    def command(self, words: Sequence[str | Path], folder: Path = ROOT, **variables: str) -> list[str]:
        """The machine's command that runs a command on this host, in a folder, in a login's plain environment."""
        known = {"PATH": PATH, "HOME": str(self.home), "LANG": "C.UTF-8", "OMP_NUM_THREADS": "1"} | variables
        inside = ["nsenter", "--target", str(self.pid), "--mount", "--uts", "--net", "--pid"]
        return [*inside, "env", "-i", "-C", str(folder), *(f"{k}={v}" for k, v in known.items()), *map(str, words)]

    def run(
        self, words: Sequence[str | Path], folder: Path = ROOT, timeout: float = 300, **variables: str
    ) -> "subprocess.CompletedProcess[str]":
        """What a command on this host said, and its exit code; stdout and stderr are one."""
        with self.started(words, folder, **variables) as process:
            said = process.communicate(timeout=timeout)[0]
        return subprocess.CompletedProcess([*map(str, words)], process.returncode, said)

    @contextmanager
    def started(
        self, words: Sequence[str | Path], folder: Path = ROOT, **variables: str
    ) -> Iterator["subprocess.Popen[str]"]:
        """A command while it runs on this host; it is killed at the end of the block."""
        with subprocess.Popen(
            self.command(words, folder, **variables), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as process:
            try:
                yield process
            finally:
                if process.poll() is None:
                    signalled(process, signal.SIGKILL)

    def running(self, part: str) -> list[str]:
        """The command lines of this host's processes that hold `part`; a zombie has none."""
        listed = self.run(["ps", "-eo", "args="]).stdout.splitlines()
        return [line for line in listed if part in line and not line.startswith(("ps ", "env "))]


def signalled(process: "subprocess.Popen[str]", number: signal.Signals) -> None:
    """Sends a signal to a host's command itself, not to the `nsenter` that waits for it."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for pid in children or [str(process.pid)]:
        os.kill(int(pid), number)


class Cluster:
    """Hosts that reach one another by name, over ssh too; `host1` to `hostN`."""

    def __init__(self, count: int, folder: Path) -> None:
        self.shared, self.site = folder / "shared", folder / "site"
        self.shared.mkdir(parents=True)
        self.site.mkdir()
        self._folder = folder
        self._holders: list[subprocess.Popen[str]] = []
        self._switch = self._hold(["unshare", "--net", "sh", "-c", "echo born; exec sleep infinity"])
        self._on_switch("ip", "link", "add", "bridge", "type", "bridge")
        self._on_switch("ip", "link", "set", "bridge", "up")
        names = {f"host{number}": f"10.77.0.{number}" for number in range(1, count + 1)}
        _make_keys(folder, names)
        self.hosts = tuple(self._add(name, address, names) for name, address in names.items())
        self._wait_for_ssh()

    def hostfile(self, *hosts: Host, slots: int = 1, name: str = "hosts") -> Path:
        """A file that names these hosts (all when none is named), the same on every host."""
        file = self.shared / name
        file.write_text("".join(f"{host.name}\tslots={slots}\n" for host in hosts or self.hosts))
        return file

    def link_down(self, host: Host) -> None:
        """Takes a host's cable out: it reaches nobody, and nobody reaches it."""
        self._on_switch("ip", "link", "set", f"to-{host.name}", "down")

    def link_up(self, host: Host) -> None:
        """Puts the cable in again."""
        self._on_switch("ip", "link", "set", f"to-{host.name}", "up")

    def variables(self, host: Host, values: Mapping[str, str]) -> None:
        """What every login over ssh finds in its environment on a host from now on."""
        (host.own / "home" / ".ssh" / "environment").write_text("".join(f"{k}={v}\n" for k, v in values.items()))

    def close(self) -> None:
        """Ends every process of every host, and with them their networks and mounts."""
        for holder in reversed(self._holders):
            holder.kill()
            holder.wait()

    def _hold(self, command: Sequence[str], **variables: str) -> int:
        """The pid of a process that has said `born`, which ends with this one."""
        holder = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *command],
            env={"PATH": PATH} | variables,
            text=True,
            stdout=subprocess.PIPE,
        )
        self._holders.append(holder)
        assert holder.stdout is not None
        said = holder.stdout.readline()
        assert said == "born\n", f"{command[0]} did not begin: it said {said!r}"
        children = Path(f"/proc/{holder.pid}/task/{holder.pid}/children").read_text().split()
        return int(children[0]) if children and "--fork" in command else holder.pid

    def _on_switch(self, *command: str) -> None:
        subprocess.run(["nsenter", "--target", str(self._switch), "--net", *command], check=True, timeout=30)

    def _add(self, name: str, address: str, names: Mapping[str, str]) -> Host:
        own, home = self._folder / name, self.site / "home"
        _furnish(own, home, address, names, self._folder)
        spaces = ["--net", "--uts", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        told = {"OWN": own, "SITE": self.site, "SHARED": self.shared, "REPOSITORY": ROOT, "PYTHON": sys.prefix}
        told["BASE"] = sys.base_prefix
        pid = self._hold(["unshare", *spaces, "bash", "-c", BORN], NAME=name, **{k: str(v) for k, v in told.items()})
        port = f"to-{name}"
        self._on_switch("ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", str(pid))
        self._on_switch("ip", "link", "set", port, "master", "bridge", "up")
        host = Host(name, address, pid, own, home)
        for words in (["addr", "add", f"{address}/24", "dev", "eth0"], ["link", "set", "eth0", "up"]):
            assert host.run(["ip", *words], Path("/")).returncode == 0
        # If the host's shell has died nobody reads, and this would wait for ever.
        subprocess.run(["sh", "-c", 'echo > "$0"', own / "connected"], check=True, timeout=60)
        return host

    def _wait_for_ssh(self) -> None:
        end = time.monotonic() + 60
        for host in self.hosts:
            said = None
            while said is None or said.returncode:
                assert time.monotonic() < end, f"{host.name} does not answer: {said}"
                said = self.hosts[0].run(["ssh", "-o", "ConnectTimeout=2", host.name, "true"])


def _make_keys(folder: Path, names: Mapping[str, str]) -> None:
    for name in ("key", *(f"{host}.key" for host in names)):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True, timeout=60)


def _furnish(own: Path, home: Path, address: str, names: Mapping[str, str], folder: Path) -> None:
    """The files that make a host: who it is, whom it knows, and a home for root."""
    etc, ssh = own / "etc", own / "site" / "home" / ".ssh"
    etc.mkdir(parents=True)
    ssh.mkdir(parents=True)
    (own / "home").symlink_to(own / "site" / "home")
    os.mkfifo(own / "connected")
    (etc / "passwd").write_text(f"root:x:0:0:root:{home}:/bin/bash\nsshd:x:74:74::/run/sshd:/usr/sbin/nologin\n")
    (etc / "shadow").write_text("root:*:19000:0:99999:7:::\n")
    (etc / "hosts").write_text(
        "127.0.0.1 localhost\n::1 localhost\n" + "".join(f"{ip} {name}\n" for name, ip in names.items())
    )
    (etc / "sshd_config").write_text(SSHD.format(address=address, own="/mnt/own", home=home))
    shutil.copy(folder / f"{own.name}.key", etc / "host_key")
    shutil.copy(folder / "key", ssh / "key")
    shutil.copy(folder / "key.pub", ssh / "authorized_keys")
    known = (f"{name},{ip} {(folder / f'{name}.key.pub').read_text()}" for name, ip in names.items())
    (ssh / "known_hosts").write_text("".join(known))
    (ssh / "config").write_text(CLIENT.format(home=home))
