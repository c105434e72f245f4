"""The ports that processes of the sandbox get."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from fleet.sandbox import processes
from fleet.sandbox.processes import free_port, free_ports

RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


@pytest.fixture
def taken() -> Iterator[int]:
    """Return a port that somebody listens on."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        yield server.getsockname()[1]


def test_ports_chosen_together_are_different(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes that were given the same port once do not get it again and again."""
    monkeypatch.setattr(processes, "PORT_SECONDS", 0.0)
    known = free_port()

    found = free_ports({"etcd": known, "peer": known, "apiserver": 0})

    assert found["etcd"] == known
    assert len(set(found.values())) == 3
    assert free_port(known) == known


def test_a_port_that_somebody_listens_on_is_not_chosen(taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much it is preferred."""
    monkeypatch.setattr(processes, "PORT_SECONDS", 0.0)
    monkeypatch.setattr(processes, "PORTS", range(taken, taken + 1))
    monkeypatch.setattr(processes, "PORT_ATTEMPTS", 1)

    with pytest.raises(processes.SandboxError, match="cannot find a free port"):
        free_port(taken)


@pytest.mark.skipif(not RANGE.exists(), reason=f"needs {RANGE}")
def test_no_outgoing_connection_gets_a_port_before_its_process_does() -> None:
    """The system gives those from another range."""
    first, last = map(int, RANGE.read_text().split())

    assert free_port() not in range(first, last + 1)
