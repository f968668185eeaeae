"""Network: what stands in this machine's own settings and keeps ranks from finding one another."""

import os
import socket

from launch.doctor.finding import Finding, doubtful, failed, fine

VARIABLES = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")


def check(interface: str = "", several: bool = False) -> list[Finding]:
    """This machine's interfaces, the one that is asked for, and what its own name means among several."""
    return [_interfaces(interface), _own_name(several and not interface)]


def _interfaces(asked: str) -> Finding:
    there = [name for _, name in socket.if_nameindex()]
    chosen = {variable: value for variable in VARIABLES if (value := os.environ.get(variable))}
    chosen |= {"--interface": asked} if asked else {}
    missing = [f"{name}={value}" for name, value in chosen.items() if not _exists(value, there)]
    if missing:
        found = f"{' and '.join(missing)}, but there are {', '.join(there)}"
        return failed("interfaces", found, "name one of those, or none: ranks could not meet")
    told = ", ".join(f"{name}={value}" for name, value in chosen.items())
    return fine("interfaces", ", ".join(there) + (f"; {told}" if told else ""))


def _exists(value: str, there: list[str]) -> bool:
    """Whether an interface is there; NCCL takes beginnings, a list, `=` for a whole name and `^` for all others."""
    if value.startswith("^"):
        return True
    names = value.removeprefix("=").split(",")
    return any(name.startswith(each) for each in names if each for name in there)


def _own_name(led_by: bool) -> Finding:
    """`led_by`: whether ranks of other hosts are led here by it, as they are where no interface is chosen."""
    name = socket.gethostname()
    try:
        addresses = sorted({str(each[4][0]) for each in socket.getaddrinfo(name, None, socket.AF_INET)})
    except OSError:
        if not led_by:
            return fine("host name", f"'{name}', without an address")
        remedy = "add it to /etc/hosts or to DNS: ranks are told to meet where a host's name leads"
        return doubtful("host name", f"'{name}' has no address", remedy)
    if led_by and all(address.startswith("127.") for address in addresses):
        remedy = "name --job.interface, or give the name's line in /etc/hosts the network's address"
        return doubtful("host name", f"'{name}' is {', '.join(addresses)}, which is this machine alone", remedy)
    return fine("host name", f"'{name}' is {', '.join(addresses)}")
