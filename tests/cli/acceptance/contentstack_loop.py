"""An A/B test from its attribute to its deletion, by command line, in front of a shop.

    python -m tests.cli.acceptance.contentstack_loop

runs it with a process for each command, and prints it. `test_contentstack_loop.py` runs the same steps with the
commands in its own process.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import httpx2

from flagmw import Contentstack, Flagmw
from flagmw.admin.contentstack.rules import Custom
from flagmw.cli.contentstack.connect import SANDBOX
from flagmw.sandbox import SandboxServer
from flagmw.wsgi import FlagsMiddleware, flags_from

BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
VISITORS, BUYERS, WAIT_S = 8, 3, 20.0

# Runs `flagmw` with words and standard input: the exit code and what it printed.
Run = Callable[[Sequence[str], str], tuple[int, str]]
Say = Callable[[str], None]


class Quiet(WSGIRequestHandler):
    """A handler that prints nothing."""

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def shop_before(edge: str, short_uid: str) -> Iterator[tuple[str, Flagmw]]:
    """Serve a shop whose button the experience changes; give its address and what decides in it."""
    vendor = Contentstack(SANDBOX["project_uid"], base_url=edge, aliases={short_uid: "button"}, data={"tier": "gold"})
    fm = Flagmw(vendors=[vendor], defaults={"button": "default"}, deadline_ms=5000)

    def app(environ: Any, start_response: Any) -> list[bytes]:
        flags = flags_from(environ)
        if environ["PATH_INFO"] == "/buy":
            flags.track("buy")
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [str(flags["button"]).encode()]

    server = make_server("127.0.0.1", 0, FlagsMiddleware(app, flagmw=fm), handler_class=Quiet)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", fm
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        fm.close()


class Loop:
    """The steps, on one sandbox.

    Args:
        run: runs `flagmw`.
        say: takes what happens, line by line.
    """

    def __init__(self, box: SandboxServer, run: Run, say: Say) -> None:
        self._box, self._run, self._say = box, run, say

    def steps(self) -> None:
        """Walk through everything; an assertion fails where something is not as it should be."""
        attribute = self.json("attributes", "create", "Plan", "loop-plan")["uid"]
        attribute = self.json("attributes", "create", "Tier of the member", "tier")["uid"]
        rules = Custom(attribute).equals("gold").to_json()
        audience = self.json("audiences", "create", "Gold members", "-", body=rules)["uid"]
        event = self.json("events", "create", "buy")["uid"]
        made = self.json("experiences", "create", "Button", "--kind", "AB_TEST")
        experience = made["uid"]
        with shop_before(self._box.contentstack_url, made["shortUid"]) as (shop, fm):
            self._shop = shop
            assert self.visit("nobody yet") == "default"
            test = ["versions", "ab-test", experience, "Control", "Purple", "--metric", event, "--metric-name", "Buy"]
            draft = self.json(*test, "--audience", audience, "--update-draft")
            version = draft["uid"]
            assert draft["status"] == "DRAFT" and self.visit("a draft shows nothing") == "default"
            self.refused(7, *test)

            assert self.json("versions", "activate", experience)["status"] == "ACTIVE"
            shown = [self.visit(f"visitor {number}", buys=number < BUYERS) for number in range(VISITORS)]
            assert set(shown) <= {"0", "1"}
            assert fm.flush(10)
            counts = self.counted(experience, version)
            seen, bought = Counter(shown), Counter(shown[:BUYERS])
            assert counts == {short: (seen[short], bought[short]) for short in ("0", "1")}
            self.flagmw("analytics", "summary", experience, version)
            hours = self.json("analytics", "time-series", experience, version)["series"]
            by_hour = [one for hour in hours for one in hour["variants"]]
            assert sum(one["impressions"] for one in by_hour) == VISITORS
            assert sum(one["conversions"] for one in by_hour) == BUYERS

            assert self.json("versions", "pause", experience)["status"] == "PAUSED"
            assert self.visit("after the pause") == "default"
            assert self.json("versions", "resume", experience)["status"] == "ACTIVE"
            assert self.visit("after it was resumed") in ("0", "1")
            self.flagmw("versions", "list", experience)
            self.refused(2, "experiences", "delete", experience)
            assert self.json("experiences", "delete", experience, "--yes") == {"deleted": experience}
            assert self.visit("after it was deleted") == "default"
            self.refused(3, "experiences", "get", experience)

    def counted(self, experience: str, version: str) -> dict[str, tuple[int, int]]:
        """Return impressions and conversions by variant, once they have arrived."""
        until = time.monotonic() + WAIT_S
        while True:
            code, out = self._run(self._words("analytics", "summary", experience, version, "--json"), "")
            assert code == 0, out
            rows = json.loads(out)["variants"]
            if sum(one["impressions"] for one in rows) >= VISITORS or time.monotonic() > until:
                return {one["shortUid"]: (one["impressions"], one["conversions"]) for one in rows}
            time.sleep(0.1)

    def flagmw(self, *words: str, body: Any = None) -> tuple[int, str]:
        """Run a command on the sandbox and print what it is and what it says."""
        self._say(f"$ flagmw contentstack {shlex.join(words)}{f' <<< {json.dumps(body)}' if body else ''}")
        code, out = self._run(self._words(*words), json.dumps(body) if body else "")
        self._say(out.rstrip() + (f"\n(exit code {code})" if code else ""))
        return code, out

    def json(self, *words: str, body: Any = None) -> Any:
        """Run a command that must succeed, and return what it prints as JSON."""
        code, out = self.flagmw(*words, "--json", body=body)
        assert code == 0, out
        return json.loads(out)

    def refused(self, code: int, *words: str) -> None:
        assert self.flagmw(*words)[0] == code

    def visit(self, who: str, *, buys: bool = False) -> str:
        """Open the shop as a new visitor, perhaps buy, and return what the button is."""
        with httpx2.Client(headers={"user-agent": BROWSER}, timeout=20) as browser:
            shown = browser.get(f"{self._shop}/").text
            if buys:
                assert browser.get(f"{self._shop}/buy").text == shown
        self._say(f"  {who}: sees {shown!r}{' and buys' if buys else ''}")
        return shown

    def _words(self, *words: str) -> list[str]:
        return ["contentstack", *words, "--sandbox", self._box.url]


def main() -> None:
    """Run everything, each command as a process, and print it."""

    def run(words: Sequence[str], stdin: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "flagmw.cli", *words]
        environ = {**os.environ, "COLUMNS": "100"}
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, env=environ, check=False)
        return done.returncode, done.stdout + done.stderr if done.returncode else done.stdout

    with SandboxServer("contentstack", seed=7) as box:
        Loop(box, run, lambda line: print(line, flush=True)).steps()


if __name__ == "__main__":
    main()
