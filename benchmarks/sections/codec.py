"""What it costs to read a vendor's answer: decode and normalise two projects, against decoders with a map by hand."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import orjson

from benchmarks.support import visitor
from benchmarks.support.answers import webtrends
from benchmarks.support.codec_probe import mapped
from benchmarks.support.harness import PEERS_PYTHON, ROOT, Settings, Stub, timed
from benchmarks.support.table import Column, Goal, Section, Table, interleave
from flagmw.types import Decision, Reply, VisitorState

OURS = "flagmw: decode, check, normalise"
JSON, ORJSON = "json.loads + map", "orjson.loads + map"
TYPED, UNTYPED = "msgspec typed + map", "msgspec untyped + map"
# Flows are begun ahead: their requests are no part of it.
AHEAD = 100


def run(settings: Settings, stub: Stub) -> Section:
    section = Section("codec: the answer of a decision, two projects")
    body = json.dumps(webtrends(11)).encode()
    calls = settings.n(4000, 200)
    cases: dict[str, Callable[[], Mapping[str, float]]] = {
        OURS: partial(normalised, body, calls),
        ORJSON: lambda: timed(lambda: mapped(orjson.loads(body)), calls),
        JSON: lambda: timed(lambda: mapped(json.loads(body)), calls),
    }
    if probe(1) is None:
        section.notes.append("msgspec is not among the peers, so its rows are left out.")
    else:
        cases[TYPED] = lambda: {"time": (probe(calls) or {})["typed"]}
        cases[UNTYPED] = lambda: {"time": (probe(calls) or {})["untyped"]}
    rounds = interleave(cases, settings.rounds)
    note = f"{len(body):,} bytes. A map by hand picks variants and cookies and checks nothing."
    section.tables.append(Table("decode and normalise", [Column("time", "us", 2)], rounds, ORJSON, note=note))
    for row in (TYPED, JSON):
        if section.tables[0].has(row):
            ratio = section.tables[0].ratio(OURS, row, "time")
            section.goals.append(Goal("G4", f"an answer of two projects over {row}", ratio, at_most=1.5))
    return section


def normalised(body: bytes, calls: int) -> Mapping[str, float]:
    """Return what our half of the flow takes, from the vendor's answer to the decision."""
    vendor, state, visit = visitor.webtrends("https://example.test"), VisitorState(), visitor.visit()
    reply, taken, left = Reply(status=200, headers={}, body=body), 0.0, calls
    while left:
        flows = [vendor.decide(visit, state) for _ in range(min(left, AHEAD))]
        for flow in flows:
            next(flow)
        started = time.process_time()
        for flow in flows:
            decision = answered(flow, reply)
        taken += time.process_time() - started
        left -= len(flows)
    assert sorted(decision.variants) == ["ta_A", "ta_B"] and len(decision.cookies) >= 4
    return {"time": taken / calls * 1e6}


def answered(flow: Any, reply: Reply) -> Decision:
    try:
        flow.send(reply)
    except StopIteration as end:
        decision: Decision = end.value
        return decision
    raise AssertionError("more than one call")


def probe(calls: int) -> dict[str, float] | None:
    """Return what msgspec takes in the venv of the peers; None where it is not there."""
    if not PEERS_PYTHON.exists():
        return None
    command = [PEERS_PYTHON, "-m", "benchmarks.support.codec_probe", str(calls)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        return None
    found: dict[str, float] = json.loads(done.stdout)
    return found
