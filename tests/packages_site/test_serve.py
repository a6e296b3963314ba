"""Site and gate take their time to stop, so that edges and balancers leave them first."""

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from packages_site import leaving, serve
from packages_site.leaving import Stage

Steps = list[str]


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    """What a server does while it leaves: what it tells its worker, and how long it waits."""
    steps: Steps = []
    monkeypatch.setattr(serve.LeavingServer, "_tell_workers", lambda _: steps.append("tell"))
    monkeypatch.setattr(serve.LeavingServer, "_stop", lambda _: steps.append("stop"))
    monkeypatch.setattr(
        "packages_site.serve.time.sleep", lambda seconds: steps.append(f"wait {seconds:g}")
    )
    return steps


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> serve.LeavingServer:
    monkeypatch.setattr(serve, "_start_thread", lambda target: target())
    monkeypatch.setattr("granian.server.common.configure_logging", lambda *_: None)
    return serve.LeavingServer("nothing:nothing")


@pytest.mark.parametrize(
    ("delay", "expected"),
    [
        (None, ["tell", "wait 4", "tell", "wait 1", "stop"]),
        ("10", ["tell", "wait 9", "tell", "wait 1", "stop"]),
        ("1", ["tell", "wait 0.5", "tell", "wait 0.5", "stop"]),
        ("0", ["stop"]),
    ],
)
def test_a_server_leaves_before_it_stops(
    server: serve.LeavingServer,
    steps: Steps,
    monkeypatch: pytest.MonkeyPatch,
    delay: str | None,
    expected: Steps,
) -> None:
    monkeypatch.delenv("STOP_DELAY_SECONDS", raising=False)
    if delay is not None:
        monkeypatch.setenv("STOP_DELAY_SECONDS", delay)
    server.signal_handler_interrupt(signal.SIGTERM, None)
    assert steps == expected


def test_a_server_that_is_told_twice_stops_at_once(
    server: serve.LeavingServer, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "_start_thread", lambda target: None)
    server.signal_handler_interrupt(signal.SIGTERM, None)
    assert steps == []
    server.signal_handler_interrupt(signal.SIGTERM, None)
    assert steps == ["stop"]


@pytest.fixture
def _signals(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Take the signals of a server, as a worker does."""
    monkeypatch.setattr(leaving, "_signals", [])
    before = signal.getsignal(signal.SIGUSR1)
    leaving.listen()
    yield
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.usefixtures("_signals")
def test_a_worker_is_told_how_far_it_is() -> None:
    stages = [leaving.stage()]
    for _ in range(3):
        os.kill(os.getpid(), signal.SIGUSR1)
        stages.append(leaving.stage())
    assert stages == [Stage.STAYING, Stage.LEAVING, Stage.REFUSING, Stage.REFUSING]


def test_systemd_is_told_when_the_port_is_open(
    server: serve.LeavingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as port,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd,
    ):
        systemd.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        server.bind_port = port.getsockname()[1]
        server._tell_when_listening()
        assert systemd.recv(100) == b"READY=1"
