"""The same small shop, several ways: the environment says which (`BENCH_MODE`) and where the vendor is (`BENCH_STUB`).

BENCH_MODE=naive uvicorn --factory benchmarks.support.shops:fastapi_shop
BENCH_MODE=naive gunicorn -k gthread 'benchmarks.support.shops:flask_shop()'
"""

from __future__ import annotations

import os
from typing import Any

import orjson
from fastapi import FastAPI, Request

from benchmarks.support import visitor
from benchmarks.support.clients import request

BARE, NAIVE, CACHED, COLD = "bare", "naive", "naive + cache", "flagmw, every request asks"


def warm() -> tuple[str, ...]:
    """Return the modes in which decisions are reused."""
    return tuple(f"flagmw, {name}" for name in visitor.reuses())


def options(mode: str) -> dict[str, Any]:
    """Return flagmw's options for *mode*, with a page's deadline and the transport of `BENCH_TRANSPORT`."""
    reused = visitor.reuses().get(mode.removeprefix("flagmw, "), visitor.asking())
    return {"deadline_ms": 150, "pool_size": 16, "transport": os.environ.get("BENCH_TRANSPORT"), **reused}


class Naive:
    """What one writes by hand: read the visitor's cookies, ask with httpx, set the cookies that come back."""

    def __init__(self, url: str, cached: bool) -> None:
        from cachetools import TTLCache

        self.call = request(url)
        self.cache: TTLCache[str, Any] | None = TTLCache(100_000, 300) if cached else None

    def read(self, body: bytes) -> tuple[str, list[str]]:
        variant, cookies = "control", []
        for project in orjson.loads(body):
            if project["params"]["testAlias"] == "ta_A":
                variant = project["body"]["factors"][0]["value"]
            for name, cookie in project["body"]["cookies"].items():
                cookies.append(f"{name}={cookie['value']}; Max-Age={cookie['timeout'] // 1000}; Path=/")
        return variant, cookies


def fastapi_shop() -> Any:
    mode, url = os.environ["BENCH_MODE"], os.environ["BENCH_STUB"]
    app = FastAPI()
    if mode in (NAIVE, CACHED):
        _naive_asgi(app, Naive(url, mode == CACHED))
    elif mode != BARE:
        from flagmw.fastapi import FlagsMiddleware

        app.add_middleware(FlagsMiddleware, flagmw=visitor.flagmw(url, **options(mode)))

    @app.get("/")
    async def home(request: Request) -> dict[str, str]:
        flags = getattr(request.state, "flags", None)
        return {"variant": "control" if flags is None else flags.get("11/ta_A", "control")}

    return app


def _naive_asgi(app: Any, shop: Naive) -> None:
    import httpx

    client = httpx.AsyncClient()

    @app.middleware("http")
    async def decide(request: Request, call_next: Any) -> Any:
        key = request.cookies.get("_wt.user-11", "")
        known = None if shop.cache is None else shop.cache.get(key)
        if known is None:
            reply = await client.post(shop.call.url, content=shop.call.body, headers=shop.call.headers)
            known = shop.read(reply.content)
            if shop.cache is not None:
                shop.cache[key] = known
        request.state.flags = {"11/ta_A": known[0]}
        response = await call_next(request)
        for line in known[1]:
            response.headers.append("set-cookie", line)
        return response


def flask_shop() -> Any:
    from flask import Flask
    from flask import request as flask_request

    mode, url = os.environ["BENCH_MODE"], os.environ["BENCH_STUB"]
    app = Flask(__name__)
    if mode in (NAIVE, CACHED):
        _naive_wsgi(app, Naive(url, mode == CACHED))
    elif mode != BARE:
        from flagmw.wsgi import FlagsMiddleware

        app.wsgi_app = FlagsMiddleware(app.wsgi_app, flagmw=visitor.flagmw(url, **options(mode)))  # type: ignore[method-assign]

    @app.get("/")
    def home() -> dict[str, str]:
        flags = flask_request.environ.get("flagmw.flags") or {}
        return {"variant": flags.get("11/ta_A", "control")}

    return app


def _naive_wsgi(app: Any, shop: Naive) -> None:
    import threading

    import httpx
    from flask import g
    from flask import request as flask_request

    client, lock = httpx.Client(), threading.Lock()

    @app.before_request
    def decide() -> None:
        key = flask_request.cookies.get("_wt.user-11", "")
        known = None
        if shop.cache is not None:
            with lock:
                known = shop.cache.get(key)
        if known is None:
            known = shop.read(client.post(shop.call.url, content=shop.call.body, headers=shop.call.headers).content)
            if shop.cache is not None:
                with lock:
                    shop.cache[key] = known
        flask_request.environ["flagmw.flags"] = {"11/ta_A": known[0]}
        g.lines = known[1]

    @app.after_request
    def write(response: Any) -> Any:
        for line in g.lines:
            response.headers.add("Set-Cookie", line)
        return response
