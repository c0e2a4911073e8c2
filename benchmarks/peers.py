"""Other vendors' SDKs on the same stub: what a remote decision costs, and what each does when nobody answers.

They are installed into a venv of their own (`.venv-peers`), by pip; what cannot be installed is left out and named.
"""

from __future__ import annotations

import json
import subprocess
import time
import venv
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from benchmarks import visitor
from benchmarks.clients import FLOOR, NAIVE, bare_aiohttp, deciding, deciding_threads, looped, naive, request
from benchmarks.harness import ROOT, Settings, Stub
from benchmarks.table import Column, Goal, Section, Table, interleave

PLACE = ROOT / ".venv-peers"
PYTHON = PLACE / "bin" / "python"
# By the name in `peer_probe.py`: what the table calls it, and the package.
PEERS = {
    "amplitude": ("Amplitude fetch_v2, as delivered", "amplitude-experiment"),
    "amplitude-pool-16": ("Amplitude fetch_v2, pool of 16", "amplitude-experiment"),
    "flagsmith": ("Flagsmith get_identity_flags", "flagsmith"),
    "growthbook": ("GrowthBook remote evaluation (async)", "growthbook"),
    "ofrep": ("OpenFeature + OFREP provider", "openfeature-provider-ofrep"),
    "posthog": ("PostHog get_feature_flag", "posthog"),
    "target": ("Adobe Target get_offers", "target-python-sdk"),
}
COLUMNS = [Column("cpu", "us"), Column("p50", "ms", 2), Column("p99", "ms", 2), Column("rate", "/s", 0)]
# What a package needs and does not ask for.
ALSO = {"target-python-sdk": ["json-logic", "python-dateutil", "six", "tld", "tzlocal", "user-agents"]}
OURS = {"httpx2": "flagmw async, httpx2", "httptools": "flagmw async, httptools"}


def run(settings: Settings, stub: Stub) -> Section:
    section = Section("peers: a remote decision for a visitor seen for the first time")
    missing = install()
    if missing:
        section.notes.append(f"Not installed, so left out: {', '.join(sorted(missing))}.")
    stub.mode()
    usable = {name: title for name, (title, package) in PEERS.items() if package not in missing}
    broken = {name: why for name in usable if (why := refused(name, stub)) is not None}
    section.notes += [f"{usable[name]} is left out: {why}" for name, why in broken.items()]
    usable = {name: title for name, title in usable.items() if name not in broken}
    for callers in (1, 16):
        calls = settings.n(1000, 32)
        cases = ours(stub, calls, callers)
        cases.update({title: partial(probe, name, stub, calls, callers) for name, title in usable.items()})
        table = Table(f"{callers} at once, 0 ms", COLUMNS, interleave(cases, settings.rounds), FLOOR, ["cpu", "rate"])
        section.tables.append(table)
        if usable and callers == 16:
            least = min(usable.values(), key=lambda title: table.median(title, "cpu"))
            for row in OURS.values():
                goal = f"CPU of {row} over the cheapest peer ({least})"
                section.goals.append(Goal("G5", goal, table.ratio(row, least, "cpu"), at_most=1.0))
    section.notes += hung(usable, stub, settings.n(15, 1))
    stub.mode()
    return section


def install() -> set[str]:
    """Make the venv and return the packages that could not be put into it."""
    if not PYTHON.exists():
        venv.create(PLACE, with_pip=True)
    missing = set()
    for package in sorted({package for _, package in PEERS.values()}):
        known = subprocess.run([PYTHON, "-m", "pip", "show", "--quiet", package], capture_output=True, check=False)
        if known.returncode == 0:
            continue
        command = [PYTHON, "-m", "pip", "install", "--quiet", package, *ALSO.get(package, [])]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            missing.add(package)
    return missing


def ours(stub: Stub, calls: int, callers: int) -> dict[str, Callable[[], Mapping[str, float]]]:
    sample = request(stub.url)
    cases: dict[str, Callable[[], Mapping[str, float]]] = {
        FLOOR: lambda: looped(lambda: bare_aiohttp(sample))(calls, callers),
        NAIVE: lambda: looped(lambda: naive(sample))(calls, callers),
    }
    for name, row in OURS.items():
        cases[row] = lambda name=name: looped(lambda: deciding(stub.url, transport=name))(calls, callers)
        threaded = row.replace("async", "blocking")
        cases[threaded] = lambda name=name: deciding_threads(stub.url, calls, callers, name)
    return cases


def probe(name: str, stub: Stub, calls: int, callers: int) -> Mapping[str, float]:
    figures: Mapping[str, float] = _probe(name, stub, "--calls", str(calls), "--callers", str(callers))
    return figures


def refused(name: str, stub: Stub) -> str | None:
    """Return why a peer does not work with the stub, or None."""
    try:
        probe(name, stub, 1, 1)
    except subprocess.CalledProcessError as error:
        return str(error.stderr).strip().splitlines()[-1]
    return None


def hung(usable: Mapping[str, str], stub: Stub, patience_s: int) -> list[str]:
    """Say how long each waits for a vendor that never answers, flagmw with its default deadline among them."""
    stub.mode(hang=1)
    lines = []
    for name, title in usable.items():
        found = _probe(name, stub, "--hung", str(patience_s))
        lines.append(f"Hung vendor: {title}: {found['end']} after {found['waited_s']:.1f} s.")
    fm = visitor.flagmw(stub.url, deadline_ms=300, **visitor.asking())
    started = time.perf_counter()
    fm.decide(visitor.visit())
    lines.append(f"Hung vendor: flagmw: a default after {time.perf_counter() - started:.1f} s.")
    fm.close()
    return lines


def _probe(name: str, stub: Stub, *more: str) -> dict[str, Any]:
    command = [PYTHON, "-m", "benchmarks.peer_probe", name, stub.url, *more]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=300)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
