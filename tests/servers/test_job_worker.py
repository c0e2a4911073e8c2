"""Jobs that convert later, in a worker that forks for each of them and ends the child without exit hooks."""

from __future__ import annotations

import os

from flagmw import Flagmw, Visit, Webtrends, current
from flagmw.sandbox import SandboxServer


def test_saved_visitor_converts_in_a_forked_job(flagmw_sandbox: SandboxServer) -> None:
    """The worker's child has no request, but the saved visitor, and its conversion arrives before it is gone."""
    vendor = Webtrends(
        2490593,
        "7a32f9364bd1ea68668a0e50bd815e79109a03720951",
        "https://www.mysite.com",
        base_url=flagmw_sandbox.webtrends_url,
    )
    fm = Flagmw(vendors=[vendor], deadline_ms=5000)
    saved = fm.decide(Visit(url="https://www.mysite.com/checkout")).save()
    for order in ("order-1", "order-2"):
        child = os.fork()
        if child == 0:
            good = current().variant("ta_Project1").error_code == "NO_REQUEST"
            good &= fm.track("purchase", visitor=saved, key=order, aliases=["ta_Project1"]) is not None
            good &= fm.flush(10)
            os._exit(0 if good else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    fm.close()
    ledger = flagmw_sandbox.ledger()
    assert [c["metric"] for c in ledger["conversions"]] == ["purchase", "purchase"]
    assert len({c["system_uid"] for c in ledger["conversions"]}) == 1
