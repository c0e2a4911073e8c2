"""What must hold of an application at a mount point, under every interface of every server."""

from __future__ import annotations

import http.client
import uuid
from urllib.parse import urlsplit

from flagmw.sandbox import SandboxServer
from tests.servers.matrix.servers import Cell, running
from tests.servers.matrix.visit import BROWSER, end, expect


class Visitor:
    """A browser with its own cookies; the connection may be another's too."""

    def __init__(self, cell: Cell) -> None:
        # uvicorn puts the mount point before what arrives: its proxy has taken it away.
        self.prefix = "" if cell.server.startswith(("uvicorn", "gunicorn asgi")) else "/shop"
        # uWSGI closes connections without saying so.
        self.stays = cell.server != "uwsgi"
        self.cookies: dict[str, str] = {}
        self.agent = BROWSER + uuid.uuid4().hex

    def get(self, connection: http.client.HTTPConnection, path: str) -> tuple[int, dict[str, list[str]], str]:
        sent = {"user-agent": self.agent}
        if self.cookies:
            sent["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        if not self.stays:
            connection.close()
        connection.request("GET", self.prefix + path, headers=sent)
        response = connection.getresponse()
        headers: dict[str, list[str]] = {}
        for name, value in response.getheaders():
            headers.setdefault(name.lower(), []).append(value)
        for line in headers.get("set-cookie", ()):
            name, _, value = line.partition(";")[0].partition("=")
            self.cookies[name] = value
        return response.status, headers, response.read().decode()


def run(cell: Cell, vendor: SandboxServer) -> None:
    """Start *cell*, ask for each kind of answer, and end the server.

    Raises:
        Failed, RuntimeError: what was wrong.
    """
    with running(cell, vendor.webtrends_url) as (url, process):
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
        first, second = Visitor(cell), Visitor(cell)
        status, headers, uid = first.get(connection, "/page")
        expect(status == 200 and uid.isdigit(), f"the page: {status} {uid[:200]}")
        expect("private" in headers.get("cache-control", [""])[0], f"a page that caches may keep: {headers}")
        other = second.get(connection, "/page")[2]
        expect(other.isdigit() and other != uid, "two visitors on one connection are one")
        expect(first.get(connection, "/page")[2] == uid, "the first visitor is another after the second")
        expect(second.get(connection, "/page")[2] == other, "the second visitor is another after the first")
        status, headers, _ = first.get(connection, "/redirect")
        expect((status, headers.get("location")) == (302, ["/shop/page"]), f"the redirect: {status} {headers}")
        status, _, text = first.get(connection, "/nowhere")
        expect(status == 404 and text != "", f"the 404: {status} {text!r}")
        headers = Visitor(cell).get(connection, "/cookie")[1]
        names = [line.partition("=")[0] for line in headers["set-cookie"]]
        expect("site" in names and "_wt.user-2490593" in names, f"cookies beside the site's: {names}")
        expect(first.get(connection, "/stream")[2] == f"{uid}\n{uid}", "a stream that differs")
        status, headers, _ = Visitor(cell).get(connection, "/health")
        expect(status == 200 and "set-cookie" not in headers, "cookies on a path that is excluded with its mount point")
        connection.close()
        end(process)
    told = [r for r in vendor.ledger()["requests"] if r["headers"].get("user-agent") == first.agent]
    expect(bool(told), "the vendor was not asked")
    addresses = {r["url"] for r in told}
    expect(all("/shop/" in url for url in addresses), f"addresses without the mount point: {addresses}")
