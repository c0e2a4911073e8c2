"""What both drivers promise about calls that are made a second time because the first is late."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from flagmw._drivers.aio import AsyncDriver
from flagmw._drivers.hedge import Budget
from flagmw.exceptions import TransportError
from flagmw.types import Call, Flow, Reply
from tests.contracts.drivers.conftest import one_call
from tests.contracts.drivers.test_lifecycle import script, soon
from tests.support.authority import Authority
from tests.support.busy import HELD_UP_S
from tests.support.raw_vendor import Connection, RawVendor, always, answer, hang, http, read_request, reset, send, sleep

AFTER_S = 0.03


def plenty() -> Budget:
    """Return a budget that allows the next ten second calls."""
    budget = Budget()
    for _ in range(100):
        budget.earn()
    return budget


def hedged_call(url: str) -> Flow[Reply | TransportError]:
    return one_call(Call(method="GET", url=url, headers={}, hedge_safe=True))


def both_asked(connection: Connection) -> None:
    """Wait until the vendor has both calls."""
    while len(connection.vendor.requests) < 2:
        connection.sleep(0.002)


def hedging(drive: Any, **options: Any) -> Any:
    driver = drive.make(**{"hedge_s": AFTER_S, "hedge_budget": plenty(), **options})
    # The first call must not be late because it imports the library.
    driver.prepare()
    return driver


def test_late_call_is_made_once_more_and_the_first_answer_counts(drive: Any) -> None:
    """A call without an answer is made again on another connection, whose answer is taken."""
    driver = hedging(drive)
    with RawVendor([read_request, hang], always(b"second")) as vendor:
        answered = drive.ask(vendor.url, driver=driver, hedge_safe=True)
        assert answered.body == b"second"
        assert answered.elapsed_s > AFTER_S
        assert [each.connection for each in vendor.requests] == [0, 1]
        assert vendor.requests[0].raw == vendor.requests[1].raw
        assert driver.hedges == 1


def test_loser_is_cut_and_its_connection_is_not_used_again(own: Any) -> None:
    """Of two calls the one that comes too late loses its connection; the winner's serves the next call."""
    driver = hedging(own)
    with RawVendor([read_request, hang], always(b"second")) as vendor:
        assert own.ask(vendor.url, driver=driver, hedge_safe=True).body == b"second"
        assert vendor.wait_open(1)
        assert own.ask(vendor.url, driver=driver, hedge_safe=True).body == b"second"
        assert [each.connection for each in vendor.requests] == [0, 1, 1]


def test_loser_is_cut_over_tls(own: Any, authority: Authority) -> None:
    """TLS changes nothing about it, whichever call loses."""
    own.ca_file = str(authority.ca_file)
    for scripts in ([[read_request, hang], always(b"good")], [always(b"good")]):
        driver = hedging(own)
        with RawVendor(*scripts, tls=authority.context()) as vendor:
            for _ in range(2):
                assert own.ask(vendor.url, driver=driver, hedge_safe=True).body == b"good"
            own.go_on()
            assert vendor.wait_open(1)


def test_first_call_may_still_win(own: Any) -> None:
    """A first call that is answered after all counts, and the second is cut."""
    driver = hedging(own)
    with RawVendor([read_request, sleep(AFTER_S * 8), send(http(b"first")), hang], [read_request, hang]) as vendor:
        assert own.ask(vendor.url, driver=driver, hedge_safe=True).body == b"first"
        assert driver.hedges == 1
        own.go_on()
        assert vendor.wait_open(1)


def test_answer_in_time_is_asked_for_once(drive: Any) -> None:
    """Where the answer is there in time no second call is made."""
    driver = hedging(drive, hedge_s=0.75)
    with RawVendor(always(b"{}")) as vendor:
        for _ in range(5):
            assert drive.ask(vendor.url, driver=driver, hedge_safe=True).body == b"{}"
        time.sleep(0.8)
        assert (len(vendor.requests), vendor.connections, driver.hedges) == (5, 1, 0)


def test_call_that_is_not_hedge_safe_is_made_once(drive: Any) -> None:
    """A late call that may count something at the vendor is waited for."""
    driver = hedging(drive)
    with RawVendor([read_request, sleep(AFTER_S * 3), send(http(b"first"))]) as vendor:
        assert drive.ask(vendor.url, driver=driver, replay_safe=True).body == b"first"
        assert (len(vendor.requests), driver.hedges) == (1, 0)


def test_no_second_call_without_time_left(drive: Any) -> None:
    """A call whose deadline is nearer than the second call would be is made once."""
    driver = hedging(drive, hedge_s=0.25)
    with RawVendor([read_request, hang]) as vendor:
        answered = drive.ask(vendor.url, driver=driver, hedge_safe=True, deadline_s=0.25)
        assert (answered.code, answered.error.sent) == ("DEADLINE", True)
        time.sleep(0.05)
        assert (vendor.connections, driver.hedges) == (1, 0)


def test_both_late_are_cut_at_the_deadline(own: Any) -> None:
    """Two calls end when one would have ended, and both connections are closed."""
    driver = hedging(own)
    with RawVendor([read_request, hang]) as vendor:
        answered = own.ask(vendor.url, driver=driver, hedge_safe=True, deadline_s=0.4)
        assert (answered.code, answered.error.sent) == ("DEADLINE", True)
        assert answered.elapsed_s < HELD_UP_S
        assert len(vendor.requests) == 2
        own.go_on()
        assert vendor.wait_open(0)


def test_failure_of_one_leaves_the_other(own: Any) -> None:
    """A call that breaks while the other is under way does not decide; the good answer does."""
    late = [read_request, both_asked, sleep(AFTER_S * 2), send(http(b"late"))]
    breaks = [read_request, both_asked, reset]
    for scripts in ([breaks, late], [late, breaks]):
        driver = hedging(own)
        with RawVendor(*scripts) as vendor:
            assert own.ask(vendor.url, driver=driver, hedge_safe=True).body == b"late"
            assert driver.hedges == 1


@pytest.mark.parametrize("status", [500, 503, 429])
def test_refusal_of_one_leaves_the_other(own: Any, status: int) -> None:
    """An overloaded vendor's refusal is taken only if the other call brings nothing better."""
    refusal = [read_request, both_asked, send(http(b"no", status))]
    late = [read_request, both_asked, sleep(AFTER_S), send(http(b"late"))]
    with RawVendor(refusal, late) as vendor:
        assert own.ask(vendor.url, driver=hedging(own), hedge_safe=True).body == b"late"
    with RawVendor(refusal, refusal) as vendor:
        assert own.ask(vendor.url, driver=hedging(own), hedge_safe=True).reply.status == status


def test_failure_before_the_second_call_is_final(drive: Any) -> None:
    """A call that fails early is not made again by hedging: that is no matter of being late."""
    driver = hedging(drive, hedge_s=0.2)
    with RawVendor([read_request, reset], always(b"{}")) as vendor:
        assert drive.ask(vendor.url, driver=driver, hedge_safe=True).code == "RESET"
        time.sleep(0.25)
        assert (vendor.connections, driver.hedges) == (1, 0)


def test_second_calls_are_at_most_a_tenth(plain: Any) -> None:
    """With a vendor that is always late one call in ten is made twice."""
    driver = plain.make(hedge_s=0.005)
    with RawVendor([read_request, hang]) as vendor:
        for _ in range(40):
            assert plain.ask(vendor.url, driver=driver, hedge_safe=True, deadline_s=0.02).code == "DEADLINE"
        assert 0 < driver.hedges <= 4  # where a call was cut before its second was due, its token is left


def test_budget() -> None:
    """Ten calls earn one second call, no more than ten are saved, and each is counted."""
    budget = Budget()
    assert not budget.spend()
    for _ in range(9):
        budget.earn()
    assert not budget.spend()
    budget.earn()
    assert (budget.spend(), budget.spend(), budget.spent) == (True, False, 1)
    for _ in range(1000):
        budget.earn()
    assert [budget.spend() for _ in range(11)] == [True] * 10 + [False]


def test_budget_is_exact_among_threads() -> None:
    """Threads that earn and spend at once share what was earned, to the token."""
    budget, won = Budget(), []

    def work() -> None:
        for _ in range(1000):
            budget.earn()
            if budget.spend():
                won.append(1)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == budget.spent == 800


def test_cancellation_ends_both_calls() -> None:
    """A task that is cancelled takes its second call along."""
    with RawVendor([read_request, hang]) as vendor:

        async def main() -> None:
            driver = AsyncDriver(hedge_s=AFTER_S, hedge_budget=plenty())
            task = asyncio.create_task(driver.run(hedged_call(vendor.url), soon()))
            while len(vendor.requests) < 2:
                await asyncio.sleep(0.005)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await asyncio.to_thread(vendor.wait_open, 0)

        asyncio.run(main())


def test_second_call_never_exceeds_the_connections() -> None:
    """Where all connections are in use the first call is waited for."""

    async def main(url: str) -> int:
        driver = AsyncDriver(max_connections=1, hedge_s=AFTER_S, hedge_budget=plenty())
        await driver.run(hedged_call(url), soon())
        await driver.aclose()
        return driver.hedges

    with RawVendor([read_request, sleep(AFTER_S * 3), send(http(b"first"))], answer(b"second")) as vendor:
        assert asyncio.run(main(vendor.url)) == 0


def test_fork_in_the_middle_of_a_hedged_call() -> None:
    """A child that is forked while its parent hedges makes hedged calls of its own."""
    with RawVendor(always(b"{}")) as vendor, RawVendor([read_request, hang]) as slow:
        results = script(
            """
            from flagmw._drivers.blocking import BlockingDriver
            url, slow, driver = sys.argv[1], sys.argv[2], BlockingDriver(hedge_s=0.05)
            def hedged(url):
                reply = yield Call(method="GET", url=url, headers={}, hedge_safe=True)
                return reply.body.decode()
            driver.prepare()
            driver.submit(hedged(slow), soon(1))
            time.sleep(0.02)
            child = os.fork()
            if not child:
                os._exit(0 if driver.run(hedged(url), soon()) == "{}" else 1)
            print(json.dumps([os.waitpid(child, 0)[1], driver.run(hedged(url), soon())]))
            """,
            vendor.url,
            slow.url,
        )
    assert results == [0, "{}"]
