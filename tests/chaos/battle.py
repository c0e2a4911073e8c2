"""A run: two shops sell while attacks go on at once, then everything is put right and each order accounted for."""

from __future__ import annotations

import random
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.attacks import ATTACKS, EXCLUSIVE, ON_FILES, ON_SERVER, Field, NotNow, small_disk
from tests.chaos.keeper import Keeper
from tests.chaos.shop import Shop, Visitors, is_end
from tests.chaos.vendor import Vendor

# What an operator can act on, for an honest visitor's order that the vendor may not have: sent, and no answer known.
# The events of those for whom the vendor fails may end by any code that says so.
KNOWN_HONEST = frozenset({"AMBIGUOUS"})


@dataclass
class Report:
    """What came of a run.

    Attributes:
        trouble: everything that must not be; empty for a run that held.
    """

    seed: int
    attacks: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    promised: int = 0
    arrived: int = 0
    poisoned: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    repeats: int = 0
    pages: int = 0
    decided: int = 0
    load_s: float = 0.0
    settled_s: float = 0.0
    trouble: list[str] = field(default_factory=list)

    def text(self) -> str:
        attacks = ", ".join(f"{name} {n}" for name, n in sorted(self.attacks.items()))
        reasons = ", ".join(f"{reason} {n}" for reason, n in sorted(self.reasons.items()) if n) or "none"
        left_out = "".join(f"; left out: {name} {n}" for name, n in sorted(self.left_out.items()))
        lines = [
            f"chaos run, --seed {self.seed}: {sum(self.attacks.values())} attacks in {self.load_s:.0f} s "
            f"({attacks}{left_out})",
            f"  {self.promised} orders promised, {self.arrived} at the vendor, {self.repeats} of them again; "
            f"ended otherwise: {reasons}; settled {self.settled_s:.0f} s after the load",
            f"  {self.pages} pages of honest visitors, {self.decided} with the vendor's decision",
        ]
        lines += [f"  BROKEN: {each}" for each in self.trouble] or ["  held"]
        return "\n".join(lines)


def run(
    seed: int,
    seconds: float,
    *,
    only: Sequence[str] = (),
    server: bool = True,
    settle_s: float = 90.0,
    sweep_s: float = 90.0,
    visitors: int = 3,
    at_once: int = 3,
    vendors: Sequence[str] = ("wt", "wt", "monetate"),
) -> Report:
    """Attack for *seconds*, put everything right, and compare what was promised with what the vendor got.

    Args:
        only: the attacks to choose from; all where empty.
        server: have a second shop, whose events go through a Valkey server.
        settle_s: how long the shops have at most to deliver what is left when the attacks are over: longer than a lease
            lasts, since what a killed process had is free only then.
        sweep_s: how long the operator's `flagmw deliver --once` then has at most for what ended processes left.
        at_once: how many attacks go on at a time, on each shop.
        vendors: to which vendor each order goes, in turn.
    """
    report, names = Report(seed), list(only) or list(ATTACKS)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="flagmw-chaos-")))
        vendor = stack.enter_context(closing(Vendor(seed)))
        disk = stack.enter_context(small_disk(folder)) if "fill-disk" in names else None
        shops = [Shop("files", folder / "files", f"sqlite://{(disk or folder) / 'outbox'}", vendor)]
        keeper = stack.enter_context(Keeper()) if server else None
        if keeper is not None:
            near = folder / "near"
            shops.append(
                Shop("server", folder / "server", f"valkey://127.0.0.1:{keeper.port}/0?replicas=1&dir={near}", vendor)
            )
        with ExitStack() as running:
            for shop in shops:
                running.enter_context(shop)
            begun = time.monotonic()
            fields = _attacked(shops, vendor, keeper, disk, seed, seconds, names, report, visitors, at_once, vendors)
            report.load_s = time.monotonic() - begun
            _put_right(shops, vendor)
            _settle(shops, settle_s, report)
        for each in fields:
            report.trouble += each.trouble
        _sweep(shops, sweep_s)
        for shop in shops:
            _account(shop, vendor, report)
    return report


def _attacked(
    shops: Sequence[Shop],
    vendor: Vendor,
    keeper: Keeper | None,
    disk: Path | None,
    seed: int,
    seconds: float,
    names: Sequence[str],
    report: Report,
    visitors: int,
    at_once: int,
    vendors: Sequence[str],
) -> list[Field]:
    """Sell and attack; return the fields, with what the attacks themselves found broken."""
    fields, threads, end = [], [], time.monotonic() + seconds
    # One attack that needs the processes or the vendor to itself waits for the others, of both shops.
    gate = _Gate()
    with ExitStack() as load:
        for shop in shops:
            load.enter_context(Visitors(shop, visitors, 0.02, vendors))
            of_files = shop.name == "files"
            fit = [name for name in names if name not in (ON_SERVER if of_files else ON_FILES)]
            for n in range(at_once):
                dice = random.Random(f"{seed} {shop.name} {n}")
                each = Field(shop, vendor, dice, None if of_files else keeper, disk if of_files else None, seconds)
                fields.append(each)
                threads.append(threading.Thread(target=_one_after_the_other, args=(each, fit, end, gate, report)))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return fields


class _Gate:
    """Let many in at once, or one alone."""

    def __init__(self) -> None:
        self._condition, self._inside, self._alone = threading.Condition(), 0, False

    def enter(self, *, alone: bool) -> None:
        with self._condition:
            while self._alone:
                self._condition.wait()
            if alone:
                self._alone = True
                while self._inside:
                    self._condition.wait()
            else:
                self._inside += 1

    def leave(self, *, alone: bool) -> None:
        with self._condition:
            if alone:
                self._alone = False
            else:
                self._inside -= 1
            self._condition.notify_all()


def _one_after_the_other(field: Field, names: Sequence[str], end: float, gate: _Gate, report: Report) -> None:
    """Attack in random order, the same for the same seed, until the time is over."""
    # Every attack comes once before any comes again.
    order: list[str] = []
    while names:
        order = order or field.dice.sample(list(names), len(names))
        name, alone = order[-1], order[-1] in EXCLUSIVE
        order.pop()
        time.sleep(field.dice.uniform(0.0, 0.6))
        gate.enter(alone=alone)
        try:
            field.left_s = end - time.monotonic()
            if field.left_s <= 0:
                return
            ATTACKS[name](field)
            report.attacks[name] += 1
        except NotNow:
            report.left_out[name] += 1
        except Exception as error:
            field.trouble.append(f"the attack {name} itself failed: {type(error).__name__}: {error}")
        finally:
            gate.leave(alone=alone)


def _put_right(shops: Sequence[Shop], vendor: Vendor) -> None:
    vendor.mood = "well"
    for shop in shops:
        shop.set_clock(0)
        shop.thaw()


def _settle(shops: Sequence[Shop], settle_s: float, report: Report) -> None:
    """Wait until every promised order of an honest visitor is at the vendor, or at an end that has a reason."""
    begun = time.monotonic()
    left = list(shops)
    while left and time.monotonic() - begun < settle_s:
        time.sleep(1.0)
        left = [shop for shop in left if not shop.settled()]
    report.settled_s = max(report.settled_s, time.monotonic() - begun)


def _sweep(shops: Sequence[Shop], sweep_s: float) -> None:
    """Deliver, as the operator does, what ended processes left."""
    sweeps = [threading.Thread(target=shop.sweep, args=(sweep_s,)) for shop in shops if not shop.settled()]
    for each in sweeps:
        each.start()
    for each in sweeps:
        each.join()


def _account(shop: Shop, vendor: Vendor, report: Report) -> None:
    """Compare, when the shop's processes have ended, what was promised with what the vendor got and the files say."""
    letters, parts, ended = shop.letters(), shop.parts(), shop.outcomes()
    lanes = [lane for part in parts for lane in part["vendors"].values()]
    accepted, queued, leased = (sum(lane[name] for lane in lanes) for name in ("accepted", "queued", "in_flight"))
    report.pages += shop.honest[0]
    report.decided += shop.honest[1]
    promised = shop.promised
    missing, poisoned = [], []
    for order, track in promised.items():
        report.promised += 1
        if order in vendor.took:
            report.arrived += 1
            continue
        kind, code = ended.get(track, ("", ""))
        reason = letters.get(track) or (code if is_end(order in shop.at_most_once, kind, code) else "")
        is_poison = order.startswith("p-")
        if reason and (is_poison or reason in KNOWN_HONEST):
            report.reasons[reason] += 1
        else:
            (poisoned if is_poison else missing).append(f"{order} ({reason or kind or 'nothing is known of it'})")
    # What the store ended because the process that had it was gone is counted, by reason; so is what a full disk
    # refuses, whose page had its answer before that. Which events those were nobody knows.
    in_doubt = shop.ended_in_doubt(parts)
    unknown = [each for each in missing if each.partition(" ")[0] in shop.at_most_once][:in_doubt]
    missing = [each for each in missing if each not in unknown]
    report.reasons["AMBIGUOUS, as its process was gone"] += len(unknown)
    waiting = poisoned[:queued]
    report.reasons["waits, the vendor fails for it"] += len(waiting)
    missing += poisoned[queued:]
    refused = Counter[str]()
    for part in parts:
        refused.update(part["refused"])
    if missing and len(missing) <= refused.total():
        report.reasons[f"refused ({', '.join(sorted(refused))})"] += len(missing)
        missing = []
    if missing:
        report.trouble.append(
            f"{shop.name}: {len(missing)} orders of {len(promised)} are nowhere: {', '.join(missing[:5])}; "
            f"{queued} events wait in the outbox, {leased} of them in flight"
        )
    for part in parts:
        if not part["balanced"]:
            report.trouble.append(f"{shop.name}: the account of {part['part']} does not balance")
    # The counts of dead processes go with their files.
    if not shop.directory_removed and accepted + refused.total() < len(promised):
        known = f"{accepted} accepted and {refused.total()} refused"
        report.trouble.append(f"{shop.name}: {len(promised)} orders promised, but {known}")
    again = {order: n - 1 for order, n in vendor.took.items() if n > 1 and f"-{shop.name}-" in order}
    report.repeats += sum(again.values())
    # At Monetate an event counts once at most.
    twice = [order for order in again if order in shop.at_most_once]
    if twice:
        report.trouble.append(f"{shop.name}: {len(twice)} at-most-once orders were sent again: {', '.join(twice[:5])}")
