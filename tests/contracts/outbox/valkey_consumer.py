"""A process that delivers from a Valkey server.

python -m tests.contracts.outbox.valkey_consumer SERVER-URL VENDOR-PORT
"""

from __future__ import annotations

import http.client
import signal
import sys
import threading
from collections.abc import Sequence

from flagmw._support.deadline import Deadline
from flagmw.codes import ErrorCode
from flagmw.outbox.memory import MemoryOutbox
from flagmw.outbox.valkey import LocalPolicy, ValkeyOutbox
from flagmw.outbox.worker import Worker
from flagmw.types import Call, Delivered, Event, Flow, Outcome, Reply, Retry

LEASE_S = 3.0


class Posting:
    """A vendor that takes an event's id in a POST."""

    def deliver(self, batch: Sequence[Event]) -> Flow[Sequence[Outcome]]:
        reply = yield Call(method="POST", url="/track", headers={}, body=" ".join(event.id for event in batch).encode())
        return [Delivered() if reply.status == 200 else Retry(ErrorCode.HTTP_STATUS)] * len(batch)


def main(url: str, port: int) -> None:
    def run(vendor: str, flow: Flow[Sequence[Outcome]], deadline: Deadline) -> Sequence[Outcome]:
        call = next(flow)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        connection.request(call.method, call.url, call.body)
        status = connection.getresponse().status
        connection.close()
        try:
            flow.send(Reply(status=status, headers={}))
        except StopIteration as end:
            return end.value
        raise AssertionError("one call was expected")

    outbox = ValkeyOutbox(url, MemoryOutbox(LocalPolicy()))
    worker = Worker(outbox, {"wt": Posting()}, run, max_rate=2_000, attempt_timeout_s=2.0, lease_s=LEASE_S)
    outbox.on_work = worker.wake
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    worker.start()
    print("ready", flush=True)
    over.wait()
    worker.close()
    outbox.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
