"""Flask: `init_app`, and what an application does around a request."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
from flask import Blueprint, Flask, Request, Response, g, render_template_string, request, stream_with_context
from werkzeug.middleware.proxy_fix import ProxyFix

import flagmw.flask
from flagmw import Flagmw, Static, current, wsgi
from flagmw.codes import ErrorCode
from flagmw.flask import FlagsMiddleware, flags_from, init_app
from flagmw.sandbox import SandboxServer
from tests.contracts.edges.driver import Make, Sent, environ, webtrends, wsgi_call


def test_A24_test_client(make: Make, vendor: SandboxServer) -> None:
    """Flask's test client keeps our cookies and sends them back, and a purchase counts for that visitor."""
    app = Flask("shop")
    fm = make(vendors=[webtrends(vendor.webtrends_url)])
    init_app(app, fm)

    @app.get("/")
    def home() -> str:
        return str(request.flags["ta_Project1"])

    @app.post("/buy")
    def buy() -> str:
        return str(request.flags.track("purchase", aliases=["ta_Project1"]))

    with app.test_client() as browser:
        first, second = browser.get("/"), browser.get("/")
        assert first.text == second.text
        assert first.headers["Cache-Control"] == "private"
        assert len(first.headers.getlist("Set-Cookie")) == 6
        assert browser.post("/buy").text != "None"
    assert fm.flush(5)
    assert len(vendor.ledger(metric="purchase")["conversions"]) == 1


def test_A24_hooks_around_a_request(make: Make, vendor: SandboxServer) -> None:
    """Flags work before the view, after it, and at teardown; all that is tracked there counts."""
    app, seen = Flask("shop"), list[Any]()
    fm = make(vendors=[webtrends(vendor.webtrends_url)])
    init_app(app, fm)

    @app.before_request
    def before() -> None:
        g.variant = request.flags["ta_Project1"]

    @app.get("/")
    def view() -> str:
        assert current() is request.flags is flags_from(request)
        return str(g.variant)

    @app.after_request
    def after(response: Response) -> Response:
        request.flags.track("after", aliases=["ta_Project1"])
        response.headers["X-Variant"] = request.flags["ta_Project1"]
        return response

    @app.teardown_request
    def teardown(error: BaseException | None) -> None:
        seen.append(request.flags.track("teardown", aliases=["ta_Project1"]))

    page = wsgi_call(app, environ(Sent()))
    assert page.values("x-variant") == [page.body.decode()]
    assert page.values("cache-control") == ["private"]
    assert len(seen) == 1
    assert fm.flush(5)
    assert {entry["metric"] for entry in vendor.ledger()["conversions"]} == {"after", "teardown"}
    assert current().error_code is ErrorCode.NO_REQUEST


def test_A24_error_handler(make: Make, everyone_b: Static) -> None:
    """An error page of the application's own may show a flag, and is private then."""
    app = Flask("shop")
    init_app(app, make(vendors=[everyone_b]))

    @app.errorhandler(404)
    def missing(error: Any) -> tuple[str, int]:
        return str(request.flags["ta_A"]), 404

    page = wsgi_call(app, environ(Sent("/nowhere")))
    assert (page.status, page.body, page.values("cache-control")) == (404, b"b", ["private"])


def test_A24_stream_with_context(make: Make, everyone_b: Static) -> None:
    """A stream in the request's context reads flags after the view has returned."""
    app = Flask("shop")
    init_app(app, make(vendors=[everyone_b]))

    @app.get("/")
    def view() -> Response:
        @stream_with_context
        def pieces() -> Iterator[str]:
            yield str(request.flags["ta_A"])
            yield current()["ta_A"]

        return Response(pieces())

    assert wsgi_call(app, environ(Sent())).body == b"bb"
    assert current().error_code is ErrorCode.NO_REQUEST


def test_A24_async_view_and_blueprint(make: Make, everyone_b: Static) -> None:
    """A view of a blueprint that is a coroutine sees the request's flags like any other."""
    app, pages = Flask("shop"), Blueprint("pages", "pages", url_prefix="/pages")

    @pages.get("/a")
    async def view() -> str:
        assert current() is request.flags
        return str(request.flags["ta_A"])

    app.register_blueprint(pages)
    init_app(app, make(vendors=[everyone_b]))
    assert wsgi_call(app, environ(Sent("/pages/a"))).body == b"b"


def test_templates(make: Make) -> None:
    """Jinja reads flags by attribute, other names by subscript, and escapes what vendors send."""
    app = Flask("shop")
    init_app(app, make(vendors=[Static(flags={"ta_A": "b", "exp:b": "<c>"})], defaults={"ta_Z": "calm"}))
    source = (
        "{{ request.flags.ta_A }} {{ request.flags.ta_Z }} {{ request.flags.ta_Nobody }} {{ request.flags['exp:b'] }}"
        " {% for alias, variant in request.flags.items() %}{{ alias }}={{ variant }};{% endfor %}"
    )
    app.add_url_rule("/", view_func=lambda: render_template_string(source))
    assert wsgi_call(app, environ(Sent())).body == b"b calm control &lt;c&gt; ta_A=b;exp:b=&lt;c&gt;;"


def test_A15_init_app_again(make: Make, everyone_b: Static) -> None:
    """The same `Flagmw` again changes nothing; another one is an error that names the cure."""
    app, fm = Flask("shop"), make(vendors=[everyone_b])
    init_app(app, fm)
    before = app.wsgi_app, app.request_class
    init_app(app, fm)
    assert (app.wsgi_app, app.request_class) == before
    with pytest.raises(RuntimeError, match=r"has Flagmw\(vendors=\[static\]\) already: call init_app\(\) with that"):
        init_app(app, make(vendors=[everyone_b]))


def test_A15_init_app_of_two_applications(make: Make, everyone_b: Static) -> None:
    """An application factory may give the same `Flagmw` to each application it makes."""
    fm = make(vendors=[everyone_b])
    for name in ("one", "two"):
        app = Flask(name)
        init_app(app, fm)
        app.add_url_rule("/", view_func=lambda: str(request.flags["ta_A"]))
        assert wsgi_call(app, environ(Sent())).body == b"b"


def test_A15_middleware_by_hand(make: Make, everyone_b: Static) -> None:
    """Who wraps `wsgi_app` themselves may call `init_app` for `request.flags`: decided is once."""
    app, fm = Flask("shop"), make(vendors=[everyone_b])
    app.wsgi_app = FlagsMiddleware(app.wsgi_app, flagmw=fm)  # type: ignore[method-assign]
    init_app(app, fm)
    app.add_url_rule("/", view_func=lambda: str(request.flags["ta_A"]))
    page = wsgi_call(app, environ(Sent()))
    assert (page.body, page.values("cache-control")) == (b"b", ["private"])
    assert FlagsMiddleware is wsgi.FlagsMiddleware


def test_other_middleware_and_request_class(make: Make, split: Static) -> None:
    """What wraps the application outside is believed, and a request class of the application's own stays one."""

    class OwnRequest(Request):
        shop = "ours"

    app = Flask("shop")
    app.request_class = OwnRequest
    init_app(app, make(vendors=[split]))
    app.wsgi_app = ProxyFix(app.wsgi_app, x_proto=1)  # type: ignore[method-assign]
    app.add_url_rule("/", view_func=lambda: f"{request.shop} {isinstance(request, OwnRequest)}")  # type: ignore[attr-defined]
    page = wsgi_call(app, environ(Sent(scheme="http", headers=[("X-Forwarded-Proto", "https")])))
    assert page.body == b"ours True"
    assert "; Secure" in page.values("set-cookie")[0]


def test_test_request_context(make: Make, everyone_b: Static) -> None:
    """Code that is tried in a request context of its own, past the middleware, finds undecided flags."""
    app = Flask("shop")
    init_app(app, make(vendors=[everyone_b], defaults={"ta_Z": "calm"}))
    with app.test_request_context("/"):
        assert request.flags is request.flags
        assert (request.flags["ta_Z"], request.flags["ta_A"]) == ("calm", "control")
        assert request.flags.error_code is ErrorCode.NO_REQUEST
        assert request.flags.track("purchase") is None


def test_flags_without_init_app_name_the_cure() -> None:
    """A view that finds no flags is told what to call."""
    with Flask("shop").test_request_context("/"), pytest.raises(RuntimeError, match=r"call flagmw\.flask\.init_app"):
        flags_from(request)


def test_A31_init_app_takes_an_application_and_a_runtime(make: Make, everyone_b: Static) -> None:
    """Something else is refused when the application is put together, by name."""
    fm, wrong = make(vendors=[everyone_b]), Flask("shop")

    class Taken(Request):
        flags = "mine"

    wrong.request_class = Taken
    with pytest.raises(TypeError, match="takes the Flask application, not dict"):
        init_app({}, fm)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"takes a Flagmw\(\.\.\.\) beside the application, not dict"):
        init_app(Flask("shop"), {})  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="is taken by the application's request class"):
        init_app(wrong, fm)
    assert "flagmw" not in wrong.extensions


def test_missing_flask_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Flask the import says what to install."""
    monkeypatch.setitem(sys.modules, "flask", None)
    spec = spec_from_file_location("flagmw_flask_alone", Path(str(flagmw.flask.__file__)))
    assert spec is not None and spec.loader is not None
    with pytest.raises(ImportError, match=r"needs Flask: pip install 'flagmw\[flask\]'"):
        spec.loader.exec_module(module_from_spec(spec))


def test_nothing_starts_at_init_app(make: Make, everyone_b: Static) -> None:
    """`init_app` starts nothing, so that servers may fork afterwards."""
    fm = make(vendors=[everyone_b])
    init_app(Flask("shop"), fm)
    assert fm.health()["delivery"] is None
    assert isinstance(fm, Flagmw)
