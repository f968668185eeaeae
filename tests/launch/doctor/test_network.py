"""Interfaces that are asked for and are not there; a host's name that leads others to themselves."""

import socket

import pytest

from launch.doctor.finding import Finding
from launch.doctor.network import VARIABLES, check


@pytest.fixture(autouse=True)
def _no_interface(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def interfaces(asked: str = "") -> Finding:
    return check(asked)[0]


def test_an_interface_that_is_there_is_fine() -> None:
    assert interfaces("lo").state == "fine"
    assert interfaces().state == "fine"


def test_an_interface_that_is_not_there_is_a_fault_that_names_those_that_are() -> None:
    found = interfaces("ib7")
    assert found.state == "failed"
    assert found.found.startswith("--interface=ib7, but there are ")
    assert "lo" in found.found


@pytest.mark.parametrize("variable", VARIABLES)
def test_a_variable_that_names_no_interface_is_a_fault(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "ib7")
    assert interfaces().state == "failed"
    assert interfaces().found.startswith(f"{variable}=ib7, but")


@pytest.mark.parametrize("value", ["lo", "=lo", "ib7,lo", "l", "^docker"])
def test_what_nccl_takes_for_an_interface_is_fine(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NCCL_SOCKET_IFNAME", value)
    assert interfaces().state == "fine"


def test_a_name_that_means_the_machine_itself_is_doubtful_among_several_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "localhost")
    assert check(several=False)[1].state == "fine"
    found = check(several=True)[1]
    assert (found.state, found.found) == ("doubtful", "'localhost' is 127.0.0.1, which is this machine alone")
    assert check("lo", several=True)[1].state == "fine"
