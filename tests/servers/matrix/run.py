"""Print which shop works under which server: `make matrix`."""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor

from flagmw.sandbox import SandboxServer
from tests.servers.matrix.servers import ASGI_APPS, CELLS, SERVERS, WSGI_APPS, Cell
from tests.servers.matrix.visit import run


def main() -> int:
    with SandboxServer(seed=1) as vendor, ThreadPoolExecutor(3) as pool:
        results = dict(zip(CELLS, pool.map(lambda cell: tried(cell, vendor), CELLS), strict=True))
    shops = list(dict.fromkeys([*ASGI_APPS, *WSGI_APPS]))
    print(f"{'':<20}" + "".join(f"{shop:<16}" for shop in shops))
    for server in SERVERS:
        row = [results.get(Cell(server, shop), "-") for shop in shops]
        print(f"{server:<20}" + "".join(f"{outcome.splitlines()[0][:14]:<16}" for outcome in row))
    failures = {cell: outcome for cell, outcome in results.items() if not outcome.startswith("ok")}
    for cell, outcome in failures.items():
        print(f"\n{cell.name}: {outcome}")
    print(f"\n{len(results) - len(failures)} passed, {len(failures)} failed")
    return 1 if failures else 0


def tried(cell: Cell, vendor: SandboxServer) -> str:
    started = time.monotonic()
    try:
        run(cell, vendor)
    except Exception as error:
        return f"FAILED: {error}"
    return f"ok {time.monotonic() - started:.1f} s"


if __name__ == "__main__":
    sys.exit(main())
