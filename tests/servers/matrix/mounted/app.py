"""One application below a mount point, as ASGI and as WSGI: a page, a 404, a redirect, a cookie, a stream."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from flagmw import Flags
from flagmw.asgi import FlagsMiddleware as AsgiMiddleware
from flagmw.asgi import flags_from as flags_of_scope
from flagmw.wsgi import FlagsMiddleware as WsgiMiddleware
from flagmw.wsgi import flags_from as flags_of_environ

sys.path.append(str(Path(__file__).parents[4] / "integrations"))

import common

fm = common.flagmw(exclude=["/shop/health"])
Answer = tuple[int, list[tuple[str, str]], list[bytes]]


def answer(path: str, flags: Callable[[], Flags]) -> Answer:
    if path == "/health":
        return 200, [], [b"well"]
    if path == "/redirect":
        return 302, [("location", "/shop/page"), ("x-variant", flags()["ta_Project1"])], [b""]
    if path not in ("/page", "/cookie", "/stream"):
        return 404, [], [flags()["ta_Project1"].encode()]
    uid = flags().variant("ta_Project1").ids.get("system_uid", "").encode()
    headers = [("set-cookie", "site=1; Path=/")] if path == "/cookie" else []
    return 200, headers, [uid, b"\n", uid] if path == "/stream" else [uid]


async def asgi(scope: dict[str, Any], receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return
    path = scope["path"].removeprefix(scope.get("root_path", ""))
    status, headers, pieces = answer(path, lambda: flags_of_scope(scope))
    raw = [(name.encode(), value.encode()) for name, value in headers]
    raw += [] if path == "/stream" else [(b"content-length", b"%d" % sum(map(len, pieces)))]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    for piece in pieces:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes] | Iterator[bytes]:
    path = environ["PATH_INFO"].removeprefix("/shop")
    status, headers, pieces = answer(path, lambda: flags_of_environ(environ))
    length = [] if path == "/stream" else [("content-length", str(sum(map(len, pieces))))]
    start_response(f"{status} Answer", [*headers, *length])
    return iter(pieces) if path == "/stream" else pieces


asgi_app = AsgiMiddleware(asgi, flagmw=fm)
wsgi_app = WsgiMiddleware(wsgi, flagmw=fm)
