"""Other vendors' SDKs in a venv of their own (`.venv-peers`): install them, ask them, leave out what does not work."""

from __future__ import annotations

import json
import math
import subprocess
import venv
from collections.abc import Iterable, Mapping
from typing import Any

from benchmarks.support.harness import PEERS_PLACE, PEERS_PYTHON, ROOT, Stub

# By the name in `peer_probe.py`: what the table calls it, and the package.
PEERS = {
    "amplitude": ("Amplitude fetch_v2, as delivered", "amplitude-experiment"),
    "amplitude-pool-16": ("Amplitude fetch_v2, pool of 16", "amplitude-experiment"),
    "devcycle": ("DevCycle cloud variable_value", "devcycle-python-server-sdk"),
    "flagsmith": ("Flagsmith get_identity_flags", "flagsmith"),
    "growthbook": ("GrowthBook remote evaluation (async)", "growthbook"),
    "ofrep": ("OpenFeature + OFREP provider", "openfeature-provider-ofrep"),
    "ofrep-async": ("OpenFeature async + OFREP provider", "openfeature-provider-ofrep"),
    "posthog": ("PostHog get_feature_flag", "posthog"),
    "posthog-async": ("PostHog AsyncPosthog.evaluate_flags", "posthog"),
    "target": ("Adobe Target get_offers", "target-python-sdk"),
}
WARM = {"growthbook-cached": ("GrowthBook remote evaluation, cached", "growthbook")}
# What is measured there beside vendors: a decoder, and the import of OpenFeature, which the provider brings.
TOOLS = ("msgspec",)
FIGURES = ("cpu", "p50", "p99", "p99.9", "rate")
# What a package needs and does not ask for.
ALSO = {
    "posthog": ["httpx"],
    "target-python-sdk": ["json-logic", "python-dateutil", "six", "tld", "tzlocal", "user-agents"],
}


def install() -> set[str]:
    """Make the venv and return the packages that could not be put into it."""
    if not PEERS_PYTHON.exists():
        venv.create(PEERS_PLACE, with_pip=True)
    wanted = {package for _, package in PEERS.values()} | {*TOOLS}
    missing = set()
    for package in sorted(wanted - present().keys()):
        command = [PEERS_PYTHON, "-m", "pip", "install", "--quiet", package, *ALSO.get(package, [])]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            missing.add(package)
    return missing


def present() -> dict[str, str]:
    """Return the packages that are in the venv, and their versions."""
    if not PEERS_PYTHON.exists():
        return {}
    command = [PEERS_PYTHON, "-m", "pip", "list", "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return {}
    return {entry["name"].lower(): entry["version"] for entry in json.loads(done.stdout)}


def ready(names: Iterable[str], stub: Stub) -> list[tuple[str, str]]:
    """Return (name, title) of those of *names* that are installed and work with the stub. Installs nothing."""
    here = present()
    known = {**PEERS, **WARM}
    installed = [(name, known[name][0]) for name in names if known[name][1] in here]
    return [(name, title) for name, title in installed if refused(name, stub) is None]


def refused(name: str, stub: Stub) -> str | None:
    """Return the reason why a peer does not work with the stub, or None."""
    try:
        ask(name, stub, "--calls", "1", "--callers", "1")
    except subprocess.CalledProcessError as error:
        return ([*str(error.stderr).strip().splitlines(), "it ended without a word"])[-1]
    except subprocess.TimeoutExpired:
        return "it did not end"
    return None


def probe(name: str, stub: Stub, calls: int, callers: int) -> Mapping[str, float]:
    """Measure a peer; no figures where it ends badly."""
    try:
        figures: Mapping[str, float] = ask(name, stub, "--calls", str(calls), "--callers", str(callers))
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        return dict.fromkeys(FIGURES, math.nan)
    return figures


def ask(name: str, stub: Stub, *more: str) -> dict[str, Any]:
    command = [PEERS_PYTHON, "-m", "benchmarks.support.peer_probe", name, stub.url, *more]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=300)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
