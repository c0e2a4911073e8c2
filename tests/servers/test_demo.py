"""`make demo SERVE=1`: how it ends, and how it does not begin."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

DEMO = Path(__file__).parents[2] / "integrations" / "demo.py"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def begun(**ports: int) -> subprocess.Popen[str]:
    environ = {**os.environ, **{name: str(port) for name, port in ports.items()}, "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, str(DEMO), "--serve"]
    # A suite that runs in the background ignores SIGINT, which its children would inherit.
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    return subprocess.Popen(
        command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heard
    )


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 0.5).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_F9_a_signal_ends_shop_and_sandbox(sent: signal.Signals) -> None:
    """Both ports are free afterwards, nothing is printed but that it has ended."""
    ports = {"SHOP_PORT": free_port(), "SANDBOX_PORT": free_port()}
    process = begun(**ports)
    assert process.stdout is not None
    for line in process.stdout:
        if "faults:" in line:
            break
    assert all(map(listens, ports.values()))
    process.send_signal(sent)
    rest, errors = process.communicate(timeout=20)
    assert (process.returncode, rest.split(), errors) == (0, ["ended"], "")
    end = time.monotonic() + 5
    while any(map(listens, ports.values())) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(map(listens, ports.values()))


@pytest.mark.parametrize("name", ["SHOP_PORT", "SANDBOX_PORT"])
def test_F9_a_port_in_use(name: str) -> None:
    """One line says which port it is and what to do; there is neither a banner nor a traceback."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = begun(**{"SHOP_PORT": free_port(), "SANDBOX_PORT": free_port(), name: port})
        printed, errors = process.communicate(timeout=30)
    assert (process.returncode, printed) == (1, "")
    assert errors.count("\n") == 1 and f"port {port} is in use" in errors and f"{name}=" in errors
