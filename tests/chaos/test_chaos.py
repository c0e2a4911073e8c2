"""The chaos run in its short form; `make chaos` runs all attacks for longer, on two shops."""

from __future__ import annotations

import random

from tests.chaos import battle

ATTACKS = ("kill-one", "freeze", "fork", "strange-slot", "odd-text", "bad-cookies", "fresh-identities", "host-flood")


def test_every_order_is_accounted_for_whatever_happens_at_once() -> None:
    """What was promised while workers were killed, stopped and forked, under hostile visitors, is at the vendor."""
    report = battle.run(
        random.randrange(1_000_000),
        2.0,
        only=ATTACKS,
        server=False,
        settle_s=20.0,
        sweep_s=10.0,
        vendors=("wt",),
    )
    print(report.text())
    assert report.trouble == []
    assert report.promised > 10
    assert report.arrived == report.promised
    assert sum(report.attacks.values()) >= 3
