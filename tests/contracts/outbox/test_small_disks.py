"""Volumes of a few MiB: full, they deliver what they hold, and afterwards they take events again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contracts.outbox.test_slots import script

BODY = """
import json, signal
from pathlib import Path

folder = Path(sys.argv[1])
files = lambda: {path.suffix: path.stat().st_size for path in folder.iterdir()}

def fill():
    with open(folder.parent / "filler", "wb", buffering=0) as filler:
        try:
            while filler.write(bytes(4096)):
                pass
        except OSError:
            pass

def full(store):
    return not store.put_many([event(f"more-{time.time()}-{n}") for n in range(3)], time.time())

def large(id):
    track = Track(id=id, metric="m", data={"text": "x" * 900})
    return Event(id=id, vendor="wt", kind="track", track=track, aliases=(),
                 visit=Visit(url="https://shop.example/"), visitor_key=id)

store.open()
while not (folder / "slot-0.reserve").exists():
    time.sleep(0.01)
time.sleep(0.1)
accepted, n, log = 0, 0, 0
while accepted == 5 * n and n < 20_000:
    accepted += len(store.put_many([large(f"{n}-{m}") for m in range(5)], time.time()))
    n += 1
    log = max(log, files()[".db-wal"])
    if how == "by others" and n == 100:
        fill()
if how == "restarted":
    store.close()
    fill()
    store = SqliteOutbox(folder)
delivered = 0
while lease := store.claim(time.time(), 20, 60):
    store.ack(lease, [Delivered()] * len(lease.rows), time.time())
    delivered += len(lease.rows)
stats, log = store.stats(time.time()), max(log, files().get(".db-wal", 0))
left = accepted - delivered
(folder.parent / "filler").unlink(missing_ok=True)
end = time.monotonic() + 20
while full(store) and time.monotonic() < end:
    time.sleep(0.1)
again = len(store.put_many([event("again")], time.time()))
print(json.dumps([accepted > 50, left, stats.balanced(), log, again, store.trouble]))
store.close()
"""


@pytest.mark.parametrize(("mib", "how"), [(8, "by itself"), (12, "by others"), (16, "restarted")])
def test_P6_a_small_volume_that_was_full_goes_on(tmp_path, mib, how):
    """All that was accepted is delivered on the full disk, with a log below the reserve, and then there is room.

    Where no file system can be mounted the database is kept as small as on such a volume instead.
    """
    disk = tmp_path / "disk"
    disk.mkdir()
    body = f"how = {how!r}\n{BODY}"
    command = [sys.executable, "-c", script(body), str(disk / "outbox")]
    mount = f'mount -t tmpfs -o size={mib}m tmpfs "{disk}"'
    shell = ["unshare", "--mount", "--map-root-user", "sh", "-c"]
    if subprocess.run([*shell, mount], capture_output=True, check=False).returncode == 0:
        command = [*shell, f'{mount} && exec "$@"', "sh", *command]
    else:
        print("no file system can be mounted here: the database is limited instead")
        command[2] = script(_limited(body, mib))
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    enough, left, balanced, log, again, trouble = json.loads(done.stdout)
    print(f"{mib} MiB, filled {how}: log at most {log} bytes")
    assert (enough, left, balanced, again, trouble) == (True, 0, True, 1, None)
    assert log <= 3 << 20


def _limited(body: str, mib: int) -> str:
    """Return *body* with a limit of pages, which SQLite answers as it does a full disk."""
    pages = (mib << 20) // 4096 // 4
    limit = f"""
inner = store._stores.get()
store.open()
inner.writer.ask(lambda: inner.files.own().connection.execute("PRAGMA max_page_count = {pages}").fetchall())
"""
    return limit + body.replace("fill()\n    store =", "store =").replace("        fill()", "        pass")


def test_P6_where_nothing_can_be_mounted_the_database_is_limited(tmp_path):
    """The other way to a full disk works as well, so that no machine tests nothing."""
    folder = Path(tmp_path) / "outbox"
    body = _limited(f"how = 'by itself'\n{BODY}", 8)
    done = subprocess.run(
        [sys.executable, "-c", script(body), str(folder)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    enough, left, balanced, *_ = json.loads(done.stdout)
    assert (enough, left, balanced) == (True, 0, True)
