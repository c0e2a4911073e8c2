"""What the package shows, and what it costs to import it."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
import textwrap
import types
from pathlib import Path
from typing import Any

import pytest

import flagmw
from flagmw import asgi, wsgi
from flagmw._decide.decider import Decider
from flagmw._delivery.delivery import Delivery
from flagmw._edge.edge import Edge

ROOT = Path(__file__).parents[2]

HEAVY = (
    "django", "fastapi", "flask", "h11", "anyio", "httpcore", "httpcore2", "httpx", "httpx2", "publicsuffixlist",
    "pytest", "rich", "sqlite3", "starlette", "typer", "uvicorn", "valkey",
)  # fmt: skip


def run(code: str, *arguments: str) -> Any:
    """Run *code* in a fresh interpreter that treats warnings as errors; return the JSON that it prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code), *arguments],
        capture_output=True,
        text=True,
        timeout=20,
        cwd=ROOT,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def test_all_names_what_is_there() -> None:
    """`__all__` has every public name and no other, in order; modules of the package are not among them."""
    public = {
        name
        for name in dir(flagmw)
        if not name.startswith("_") and not isinstance(getattr(flagmw, name), types.ModuleType)
    }
    assert set(flagmw.__all__) == public | {"__version__"}
    assert flagmw.__all__ == sorted(flagmw.__all__)
    assert len((ROOT / "flagmw" / "__init__.py").read_text().splitlines()) <= 80


def test_every_public_name_is_documented() -> None:
    """Whatever `__all__` shows has a docstring of its own, and so has each of its public methods."""
    bare = []
    for name in flagmw.__all__:
        value = getattr(flagmw, name)
        if isinstance(value, str):
            continue
        members = {f"{name}.{key}": member for key, member in vars(value).items() if not key.startswith("_")}
        functions = {
            key: each for key, each in members.items() if inspect.isfunction(each) or isinstance(each, property)
        }
        bare += [key for key, each in {name: value, **functions}.items() if not (each.__doc__ or "").strip()]
    assert bare == []


def test_version_is_the_project_s() -> None:
    """The package and its metadata say the same version."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == flagmw.__version__


def test_import_is_light() -> None:
    """Importing the package starts no thread and loads no framework, HTTP client or database."""
    assert run(f"""
        import json, sys, threading
        import flagmw, flagmw.asgi, flagmw.wsgi
        fm = flagmw.Flagmw(vendors=[flagmw.Webtrends(1, "a" * 32, "https://www.mysite.com")])
        asgi = flagmw.asgi.FlagsMiddleware(lambda *_: None, flagmw=fm)
        wsgi = flagmw.wsgi.FlagsMiddleware(lambda *_: None, flagmw=fm)
        print(json.dumps([[name for name in {HEAVY!r} if name in sys.modules], threading.active_count()]))
    """) == [[], 1]


def test_import_alone_does_not_make_names_of_the_edges() -> None:
    """`flagmw.asgi` has to be imported by whoever wants it: the root does not pull edges in."""
    assert (
        run("""
        import json, sys
        import flagmw
        print(json.dumps([name for name in ("asgi", "wsgi", "fastapi", "testing", "cli", "sandbox")
                          if f"flagmw.{name}" in sys.modules]))
    """)
        == []
    )


def parameters(thing: Any) -> list[tuple[str, Any, Any]]:
    return [(p.name, p.kind, p.default) for p in inspect.signature(thing).parameters.values()]


def test_edges_take_the_same_options() -> None:
    """Both middlewares have the same constructor and their modules the same names."""
    assert parameters(asgi.FlagsMiddleware) == parameters(wsgi.FlagsMiddleware)
    assert [name for name, *_ in parameters(asgi.FlagsMiddleware)] == ["app", "flagmw"]
    assert len(parameters(asgi.flags_from)) == len(parameters(wsgi.flags_from)) == 1
    assert asgi.KEY == wsgi.KEY


def test_blocking_and_async_methods_take_the_same_options() -> None:
    """`decide` and `adecide`, `start` and `astart`, `close` and `aclose`, and so on, differ in colour only."""
    pairs = [(flagmw.Flagmw, name) for name in ("decide", "start", "close")]
    for owner, name in [*pairs, (Decider, "decide"), (Decider, "load_visitor"), (Delivery, "commit"), (Edge, "commit")]:
        blocking, asynchronous = getattr(owner, name), getattr(owner, f"a{name}")
        assert parameters(blocking) == parameters(asynchronous), name
        assert inspect.iscoroutinefunction(asynchronous)


@pytest.mark.parametrize(
    ("module", "missing", "extra"),
    [
        ("flagmw.django", "django", "django"),
        ("flagmw.fastapi", "fastapi", "fastapi"),
        ("flagmw.flask", "flask", "flask"),
        ("flagmw.cli.main", "typer", "cli"),
        ("flagmw.cli.main", "rich", "cli"),
        ("flagmw.sandbox", "starlette", "sandbox"),
        ("flagmw.sandbox", "uvicorn", "sandbox"),
        ("flagmw.sandbox", "cryptography", "sandbox"),
    ],
)
def test_missing_dependency_names_the_extra(module: str, missing: str, extra: str) -> None:
    """Without an optional dependency the module that needs it says what to install; the package itself works."""
    text = run(
        """
        import importlib, json, sys

        class Blocker:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] == sys.argv[2]:
                    raise ModuleNotFoundError(f"No module named {name!r}", name=name)

        sys.meta_path.insert(0, Blocker())
        import flagmw
        try:
            importlib.import_module(sys.argv[1])
        except ImportError as error:
            print(json.dumps(str(error)))
        else:
            print(json.dumps(""))
        """,
        module,
        missing,
    )
    assert f"pip install 'flagmw[{extra}]'" in text


def test_package_is_typed() -> None:
    """The marker that makes type checkers read the package's annotations is there."""
    assert (ROOT / "flagmw" / "py.typed").read_bytes() == b""
