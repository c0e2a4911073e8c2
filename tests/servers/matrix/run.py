"""Which shop works under which server, with the newest and the lowest servers: `make matrix`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from flagmw.sandbox import SandboxServer
from tests.servers.matrix import visit, visit_mounted
from tests.servers.matrix.servers import ASGI_APPS, CELLS, MOUNTED, MOUNTED_CELLS, SERVERS, WSGI_APPS, Cell
from tests.versions.run import ROOT, call, resolver

FOLDER = ROOT / "build" / "matrix"
NAMES = ("gevent", "granian", "gunicorn", "hypercorn", "pyuwsgi", "uvloop", "waitress")


def main() -> int:
    if "MATRIX_BIN" in os.environ:
        return matrix()
    print("the servers of this environment", flush=True)
    failed = matrix()
    python = lowest()
    print("\nthe lowest versions of the servers that are allowed", flush=True)
    environ = {**os.environ, "MATRIX_BIN": str(python.parent)}
    return (
        subprocess.run([sys.executable, "-m", "tests.servers.matrix.run"], env=environ, check=False).returncode
        or failed
    )


def lowest() -> Path:
    """Return the Python of an environment with the lowest servers, made where it is missing."""
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    python, stamp = FOLDER / "lowest" / "bin" / "python", FOLDER / "lowest" / "stamp"
    if stamp.is_file() and stamp.read_text() == project:
        return python
    tables = tomllib.loads(project)
    wanted = [*tables["dependency-groups"]["dev"], *tables["project"]["optional-dependencies"]["sandbox"]]
    servers = [line for line in wanted if re.split(r"[^\w-]", line)[0] in (*NAMES, "uvicorn")]
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "project.in").write_text("-e .[cli,django,fastapi,flask,sandbox,valkey]\nhttptools\n")
    uv, output = resolver(sys.stderr.fileno()), sys.stderr.fileno()
    call([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(FOLDER / "lowest")], output)
    install = [uv, "pip", "install", "--quiet", "--python", str(python)]
    call([*install, "-r", str(FOLDER / "project.in")], output)
    call([*install, "--upgrade", "--resolution", "lowest-direct", "--no-build", *servers], output)
    stamp.write_text(project)
    return python


def matrix() -> int:
    with SandboxServer(seed=1) as vendor, ThreadPoolExecutor(3) as pool:
        cells = [*CELLS, *MOUNTED_CELLS]
        results = dict(zip(cells, pool.map(lambda cell: tried(cell, vendor), cells), strict=True))
    shops = list(dict.fromkeys([*ASGI_APPS, *WSGI_APPS, MOUNTED]))
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
        (visit_mounted if cell.shop == MOUNTED else visit).run(cell, vendor)
    except Exception as error:
        return f"FAILED: {error}"
    return f"ok {time.monotonic() - started:.1f} s"


if __name__ == "__main__":
    sys.exit(main())
