"""What all tests share: a state folder, the same Hypothesis examples in every run, an account of events at each end."""

from __future__ import annotations

import gc
import uuid
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from flagmw import ErrorCode
from flagmw._delivery.delivery import Delivery
from flagmw.exceptions import OutboxError

settings.register_profile("flagmw", derandomize=True, deadline=None, max_examples=100, print_blob=False)
settings.load_profile("flagmw")

_CODES = frozenset(ErrorCode) | {""}

# Files that take ten seconds and more, the longest first. They begin first: what is left at the end is short then, and
# no worker is alone with a long one. (A file stays with one worker, for its servers are started once.)
LONG = (
    "servers/test_outbox_processes.py",
    "project/test_benchmarks.py",
    "contracts/outbox/test_faults.py",
    "servers/matrix/test_matrix.py",
    "faults/soak/test_soak.py",
    "contracts/outbox/test_state_machine.py",
    "faults/leaks/test_leaks.py",
    "faults/load/test_faults.py",
    "faults/catalogue/test_upstream.py",
    "contracts/drivers/test_contract.py",
    "contracts/drivers/test_hedging.py",
    "cli/test_outbox.py",
    "contracts/outbox/test_valkey_faults.py",
    "servers/test_monetate_shop.py",
    "contracts/drivers/test_lifecycle.py",
    "faults/fuzz/test_fuzz.py",
    "servers/test_killed_worker.py",
    "faults/isolation/test_isolation.py",
    "contracts/edges/test_reuse.py",
    "faults/catalogue/test_transport.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put what takes long first; with `--no-loadscope-reorder` files go out in this order."""
    ranks = {Path(__file__).parent / name: rank for rank, name in enumerate(LONG)}
    items.sort(key=lambda item: ranks.get(item.path, len(LONG)))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Put aside what is there already: what can be found afterwards is the test's own, and that is little."""
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Look at every delivery that the test used and did not close: no event is lost, no counter is made up.

    (A delivery that has run outlives its `Flagmw`, which the test may have dropped already.)
    """
    result = yield
    for delivery in [thing for thing in gc.get_objects() if type(thing) is Delivery]:
        account(delivery)
    return result


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    gc.unfreeze()


def account(delivery: Delivery) -> None:
    """Fail unless all that *delivery*, and the `Flagmw` that it belongs to, have counted adds up."""
    names = {vendor.name for vendor in delivery._config.vendors} | {""}
    counted = delivery._counts.snapshot()
    odd = {label: n for label, n in counted.items() if n < 1 or label[1] not in names or label[2] not in _CODES}
    assert odd == {}, f"labels come from closed sets, and what is counted happened: {odd}"
    if delivery.health()["delivery"] is None:
        return  # never used, or closed: closing says itself what was lost
    try:
        stats = delivery.stats()
    except OutboxError:
        return  # an outbox that is broken or closed on purpose has no counts to tell
    assert stats.balanced(), f"events are unaccounted for: {stats}"
    assert stats.leased <= stats.queued and stats.duplicates <= stats.delivered, stats


@pytest.fixture(autouse=True, scope="session")
def _state_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Let applications without an `outbox` of their own keep their events in the tests' folder, servers' too."""
    folder = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder))
        yield folder


@pytest.fixture(autouse=True)
def _own_state_folder(_state_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what one test leaves behind from the next one."""
    monkeypatch.setenv("XDG_STATE_HOME", str(_state_folder / uuid.uuid4().hex))
