"""An AB test from its audience to its deletion, by command line, in front of a shop.

    python -m tests.cli.acceptance.adobe_loop

runs it with processes of their own for the sandbox, the shop, each command and each visit. `test_adobe_loop.py` runs
the same steps with the commands in its own process.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx2

from tests.support.raw_vendor import free_port

ROOT = Path(__file__).parents[3]
BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
HOST = "www.mysite.com"
# The activity of the scenario that the shop shows otherwise.
SHIPPED = "302740"
WAIT_S = 30.0

# Runs `flagmw` with words and standard input: the exit code and what it printed.
Run = Callable[[Sequence[str], str], tuple[int, str]]
Say = Callable[[str], None]

AUDIENCE = {"name": "Checkout", "targetRule": {"and": [{"page": "path", "equals": ["/checkout"]}]}}


def activity(audience: int, offers: Sequence[int]) -> dict[str, Any]:
    """Return an AB test of two offers for the shop's checkout; an order converts."""
    experiences = [
        {
            "experienceLocalId": number,
            "name": name,
            "visitorPercentage": 50,
            "offerLocations": [{"locationLocalId": 0, "offerId": offer}],
        }
        for number, (name, offer) in enumerate(zip(("red", "blue"), offers, strict=True))
    ]
    goal = {
        "metricLocalId": 32767,
        "name": "Orders",
        "conversion": True,
        "mboxes": [{"name": "orderConfirmPage", "successEvent": "mbox_shown"}],
        "action": {"type": "count_once"},
    }
    return {
        "name": "Red or blue",
        "locations": {"mboxes": [{"locationLocalId": 0, "name": "ta_Checkout", "audienceIds": [audience]}]},
        "experiences": experiences,
        "metrics": [goal],
    }


class Loop:
    """The steps, for one sandbox and one shop.

    Args:
        run: runs `flagmw`.
        folder: for cookies.
        say: takes what happens, line by line.
    """

    def __init__(self, sandbox: str, shop: str, run: Run, folder: Path, say: Say) -> None:
        self._sandbox, self._shop, self._run, self._folder, self._say = sandbox, shop, run, folder, say

    def steps(self) -> None:
        """Walk through everything; an assertion fails where something is not as it should be."""
        assert self.json("activities", "pause", SHIPPED)["state"] == "saved"
        assert self.visit("before") is None

        audience = self.json("audiences", "create", "-", body=AUDIENCE)["id"]
        colors = ({"name": name, "content": {"button": name}} for name in ("red", "blue"))
        offers = [self.json("offers", "create", "-", "--kind", "json", body=offer)["id"] for offer in colors]
        test = str(self.json("activities", "create", "-", body=activity(audience, offers))["id"])
        assert self.visit("inactive") is None

        assert self.json("activities", "state", test, "approved")["state"] == "approved"
        shown = {name: self.visit(name) for name in ("ann", "ben", "cleo")}
        assert set(shown.values()) <= {"red", "blue"}
        assert self.visit("ann") == shown["ann"]
        for name in shown:
            self.buy(name)
        totals = self.reported(test, len(shown))
        assert totals == {"entries": 3, "conversions": 3}
        assert len(self.json("activities", "orders", test)) == 3
        self.flagmw("activities", "report", test)

        assert self.json("activities", "pause", test)["state"] == "saved"
        assert self.visit("later") is None
        self.refused(2, "activities", "delete", test)
        assert self.json("activities", "delete", test, "--yes")["state"] == "deleted"
        self.refused(3, "activities", "get", test)
        for offer in offers:
            self.json("offers", "delete", str(offer), "--kind", "json", "--yes")
        self.json("audiences", "delete", str(audience), "--yes")

    def flagmw(self, *words: str, body: Any = None) -> tuple[int, str]:
        """Run a command on the sandbox and print what it is and what it says."""
        self._say(f"$ flagmw adobe {shlex.join(words)}{f' <<< {json.dumps(body)}' if body else ''}")
        stdin = json.dumps(body) if body else ""
        code, out = self._run(["adobe", *words, "--sandbox", self._sandbox], stdin)
        self._say(out.rstrip() + (f"\n(exit code {code})" if code else ""))
        return code, out

    def json(self, *words: str, body: Any = None) -> Any:
        """Run a command that must succeed, and return what it prints as JSON."""
        code, out = self.flagmw(*words, "--json", body=body)
        assert code == 0, out
        return json.loads(out)

    def refused(self, code: int, *words: str) -> None:
        assert self.flagmw(*words)[0] == code

    def reported(self, test: str, visitors: int) -> Any:
        """Return the counts of visitors, once the shop has delivered what they did."""
        until = time.monotonic() + WAIT_S
        while True:
            words = ["adobe", "activities", "report", test, "--json", "--sandbox", self._sandbox]
            code, out = self._run(words, "")
            assert code == 0, out
            counts = json.loads(out)["report"]["statistics"]["totals"]["visitor"]["totals"]
            if counts["conversions"] >= visitors or time.monotonic() > until:
                return counts
            time.sleep(0.2)

    def visit(self, name: str) -> str | None:
        """Open the checkout as somebody; return the variant, None for the default."""
        page = self.curl(name, "/checkout")
        found = re.search(r'data-vendor="adobe" data-reason="(\w*)" data-code="(\w*)">([^<]*)<', page)
        assert found is not None, page
        self._say(f"  {name} sees {found[3]!r} ({found[1]}{' ' + found[2] if found[2] else ''})")
        return found[3] if found[1] in ("SPLIT", "CACHED") else None

    def buy(self, name: str) -> None:
        """Buy as somebody."""
        assert re.search(r'id="track">\w', self.curl(name, "/buy", "-X", "POST"))

    def curl(self, name: str, path: str, *more: str) -> str:
        """Ask the shop, with the cookies of somebody."""
        port = self._shop.rpartition(":")[2]
        jar = str(self._folder / f"{name}.cookies")
        address = f"http://{HOST}:{port}{path}"
        command = ["curl", "-sS", "-b", jar, "-c", jar, "-A", BROWSER, *more, address]
        self._say(f"$ curl -b {name}.cookies -c {name}.cookies {' '.join([*more, address])}")
        command[1:1] = ["--noproxy", "*", "--resolve", f"{HOST}:{port}:127.0.0.1", "--max-time", "30"]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


@contextlib.contextmanager
def shop_before(sandbox: str, folder: Path) -> Iterator[str]:
    """Run the FastAPI shop with Adobe Target as its only vendor; give its address."""
    port = free_port()
    environ = {name: value for name, value in os.environ.items() if not name.startswith("FLAGMW_")}
    environ |= {
        "PYTHONPATH": str(ROOT),
        "VENDORS": "adobe",
        "FLAGMW_DEADLINE_MS": "10000",
        "FLAGMW_VENDORS__ADOBE__BASE_URL": sandbox,
    }
    command = [sys.executable, "-m", "uvicorn", "app:app", "--log-level", "warning", "--port", str(port)]
    with serving(command, f"http://127.0.0.1:{port}/health", folder / "shop.log", environ, "fastapi_shop"):
        yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def serving(command: Sequence[str], url: str, log: Path, environ: dict[str, str], folder: str = "") -> Iterator[None]:
    """Run a server until the end of the block; *url* answers once it has started."""
    with log.open("w") as output:
        where = ROOT / "integrations" / folder
        process = subprocess.Popen(command, cwd=where, env=environ, stdout=output, stderr=subprocess.STDOUT)
    try:
        until = time.monotonic() + WAIT_S
        while True:
            with contextlib.suppress(httpx2.TransportError):
                if httpx2.get(url, timeout=5).status_code < 500:
                    break
            assert process.poll() is None and time.monotonic() < until, log.read_text()
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)


def main() -> None:
    """Run everything as processes, and print it."""
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder, port = Path(name), free_port()
        environ = {**os.environ, "HOME": name, "COLUMNS": "100"}
        url = f"http://127.0.0.1:{port}"
        command = [
            sys.executable,
            "-m",
            "flagmw.cli",
            "sandbox",
            "--scenario",
            "shop",
            "--port",
            str(port),
            "--seed",
            "7",
        ]
        stack.enter_context(serving(command, f"{url}/openapi", folder / "sandbox.log", environ))
        shop = stack.enter_context(shop_before(url, folder))

        def run(words: Sequence[str], stdin: str) -> tuple[int, str]:
            command = [sys.executable, "-m", "flagmw.cli", *words]
            done = subprocess.run(
                command, input=stdin, capture_output=True, text=True, env=environ, cwd=ROOT, check=False
            )
            return done.returncode, done.stdout + done.stderr if done.returncode else done.stdout

        Loop(url, shop, run, folder, lambda line: print(line, flush=True)).steps()


if __name__ == "__main__":
    main()
