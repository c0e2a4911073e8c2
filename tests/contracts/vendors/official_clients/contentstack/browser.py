"""Contentstack's own client in a real browser, behind pages that flagmw has decided for.

Run by `make browser-test`, which needs Chromium (Debian: apt-get install chromium); it is no part of `make test`.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from html import unescape
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from flagmw import Contentstack, Flagmw
from flagmw.asgi import FlagsMiddleware, flags_from
from flagmw.sandbox import SandboxServer
from tests.support.raw_vendor import free_port

HERE = Path(__file__).parent
SDK = HERE / "node_modules/@contentstack/personalize-edge-sdk/dist/personalize-edge-sdk.min.js"
PICTURE = HERE.parents[2] / "build" / "browser-test.png"
PROJECT = "64c7787b333555469a861224"

# What a site's page does; it tells its frame's parent, so that one document holds what all pages had.
PAGE = """<!doctype html><meta charset="utf-8"><title>Shop</title>
<body style="font: 16px sans-serif"><h1>%(path)s</h1><p>decided on the server: <b>%(variant)s</b></p>
<div id="told"></div>
<script type="application/json" id="bootstrap">%(bootstrap)s</script><script src="/sdk.js"></script><script>
const tell = (told) => {
  const line = document.createElement("pre");
  line.textContent = JSON.stringify(told);
  document.getElementById("told").append(line);
};
addEventListener("message", (event) => tell(event.data));
(async () => {
  const mine = JSON.parse(document.getElementById("bootstrap").textContent) ?? {cookies: {}};
  for (const [name, value] of Object.entries(mine.cookies))
    if (!document.cookie.includes(name + "=")) document.cookie = `${name}=${value}; path=/; samesite=lax`;
  personalize.setEdgeApiUrl("%(edge)s");
  const sdk = await personalize.init("%(project)s");
  await sdk.triggerImpression("0");
  const told = {path: location.pathname, param: sdk.getVariantParam(), uid: sdk.getUserId(), server: "%(param)s"};
  if (parent === window) tell(told); else parent.postMessage(told, "*");
  if (location.pathname === "/first") {
    const frame = document.createElement("iframe");
    frame.src = "/second";
    document.body.append(frame);
  }
})().catch((error) => tell({error: String(error)}));
</script>"""


@pytest.fixture
def sandbox() -> Iterator[SandboxServer]:
    with SandboxServer("shop", seed=3) as server:
        yield server


@contextmanager
def shop(sandbox: SandboxServer, *, told: bool) -> Iterator[str]:
    """Serve pages; where they are not *told*, the browser has neither bootstrap nor readable cookies."""
    vendor = Contentstack(PROJECT, base_url=sandbox.contentstack_url, decides_by="site", exposure="off")
    fm = Flagmw(vendors=[vendor], deadline_ms=5000, hybrid=told, bots=False)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        kind, body, status = "text/html; charset=utf-8", "", 200
        if scope["path"] == "/sdk.js":
            kind, body = "text/javascript", SDK.read_text("utf-8")
        elif scope["path"] in ("/first", "/second"):
            flags = flags_from(scope)
            body = PAGE % {
                "path": scope["path"],
                "variant": flags["exp:0"],
                "param": flags.contentstack.variant_param,
                "bootstrap": flags.bootstrap("contentstack") if told else "null",
                "edge": sandbox.contentstack_url,
                "project": PROJECT,
            }
        else:
            status = 404
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", kind.encode())]})
        await send({"type": "http.response.body", "body": body.encode()})

    port = free_port()
    served = FlagsMiddleware(app, flagmw=fm)
    server = uvicorn.Server(uvicorn.Config(served, port=port, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    end = time.monotonic() + 10
    while not server.started and time.monotonic() < end:
        time.sleep(0.02)
    try:
        yield f"http://localhost:{port}"
    finally:
        server.should_exit = True
        thread.join(10)
        fm.close(1)


def browse(url: str, profile: Path, *more: str) -> str:
    """Open *url* in a browser that keeps its cookies in *profile*; return what it prints."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert chromium is not None, "no Chromium here; on Debian: apt-get install chromium"
    command = [chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    command += [f"--user-data-dir={profile}", "--virtual-time-budget=10000", *more, url]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def said(document: str) -> list[dict[str, Any]]:
    """Return what the pages in *document* told."""
    return [json.loads(unescape(text)) for text in re.findall(r"<pre>(.*?)</pre>", document)]


def manifests(sandbox: SandboxServer) -> int:
    return len([request for request in sandbox.ledger()["requests"] if request["action"] == "manifest"])


def test_the_page_does_not_decide_again(sandbox: SandboxServer, tmp_path: Path) -> None:
    """The client in the page has the server's variants and visitor, reports under that name, and asks for nothing."""
    with shop(sandbox, told=True) as url:
        pages = said(browse(f"{url}/first", tmp_path, "--dump-dom"))
        assert sorted(page["path"] for page in pages) == ["/first", "/second"]
        assert all(page["param"] == page["server"] != "" for page in pages)
        assert len({page["uid"] for page in pages}) == 1
        assert manifests(sandbox) == 1, "the server's own, for the first page"
        # Closed and opened again: the manifest was the session's, the visitor is the same.
        PICTURE.parent.mkdir(exist_ok=True)
        browse(f"{url}/first", tmp_path, f"--screenshot={PICTURE}", "--window-size=640,480")
    uids = {request["system_uid"] for request in sandbox.ledger()["requests"]}
    assert uids == {pages[0]["uid"]}
    views = sandbox.ledger()["views"]
    assert [(view["alias"], view["system_uid"]) for view in views] == [("0", pages[0]["uid"])]


def test_without_being_told_it_decides_itself(sandbox: SandboxServer, tmp_path: Path) -> None:
    """What the other test shows is not so by itself: without cookies and bootstrap, the page asks, as somebody new."""
    with shop(sandbox, told=False) as url:
        pages = said(browse(f"{url}/first", tmp_path, "--dump-dom"))
        assert len(pages) == 2 and manifests(sandbox) > 1
        assert len({request["system_uid"] for request in sandbox.ledger()["requests"]}) > 1
