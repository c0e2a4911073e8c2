"""Commands that take their `Flagmw` from an application's code, from variables, or from Django's settings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flagmw.cli import source
from flagmw.exceptions import ConfigError
from tests.cli.conftest import Run

ROOT = Path(__file__).parents[2]
ASK = ("decide", "https://www.mysite.com/", "--json")
SHOP = """
from flagmw import Flagmw, Static

fm = Flagmw(
    vendors=[Static(flags={"ta_Checkout": "variation"}, name="code")], outbox=OUTBOX, overrides=True,
    signing_keys=["0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"], shadow_report="report.json",
)
options = {"vendors": [{"type": "static", "name": "table", "flags": {"ta_Checkout": "b"}}]}
empty = Flagmw(vendors=[])
number = 7


class Holder:
    flags = fm


def make():
    return fm


async def amake():
    return fm


def needs(one):
    return one


def breaks():
    raise RuntimeError("the database is away")


class Application:
    def __call__(self, scope):
        raise AssertionError
application = Application()
"""


def flagmw(folder: Path, *arguments: str, environ: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run `python -m flagmw` as somebody would in *folder*."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FLAGMW_")}
    return subprocess.run(
        [sys.executable, "-m", "flagmw", *arguments],
        cwd=folder,
        env={**kept, "PYTHONPATH": str(ROOT), "COLUMNS": "200", **(environ or {})},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with an application, as the current one."""
    for name in [name for name in os.environ if name.startswith("FLAGMW_")]:
        monkeypatch.delenv(name)
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "__init__.py").write_text("")
    outbox = f'"sqlite:///{tmp_path}/outbox"'
    (tmp_path / "shop" / "flags.py").write_text(SHOP.replace("OUTBOX", outbox))
    (tmp_path / "shop" / "broken.py").write_text("import shop.gone\n")
    (tmp_path / "shop" / "wrong.py").write_text("from flagmw import Flagmw\nfm = Flagmw(deadlin_ms=1)\n")
    monkeypatch.chdir(tmp_path)
    path, modules = list(sys.path), set(sys.modules)
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name.partition(".")[0] == "shop":
            del sys.modules[name]


@pytest.mark.parametrize("named", ["fm", "make", "options", "Holder.flags"])
def test_object_factory_and_mapping(shop: Path, named: str) -> None:
    fm = source.imported(f"shop.flags:{named}")
    assert [vendor.name for vendor in fm.config.vendors] == ["table" if named == "options" else "code"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("shop.flags", 'is not "module:name"'),
        (":fm", 'is not "module:name"'),
        ("shop.flags:", 'is not "module:name"'),
        ("shpo.flags:fm", "there is no module 'shpo'; did you mean shop?"),
        ("shop.flgs:fm", "there is no module 'shop.flgs'; did you mean shop.flags?"),
        ("shop.flags:mak", "shop.flags has no 'mak'; did you mean 'make'?"),
        ("shop.flags:xyz", "shop.flags has no 'xyz'; it has: empty, fm"),
        ("shop.flags:Holder.flag", "did you mean 'flags'?"),
        ("shop:fm", "shop has no 'fm'; it has no Flagmw at all"),
        ("shop.broken:fm", "importing 'shop.broken' failed: ModuleNotFoundError: No module named 'shop.gone'"),
        ("shop.wrong:fm", "did you mean 'deadline_ms'? (wrong.py, line 2)"),
        ("shop.flags:number", "is of type int: name a Flagmw"),
        ("shop.flags:application", "is of type Application: name a Flagmw"),
        ("shop.flags:amake", "is a coroutine"),
        ("shop.flags:needs", "calling 'shop.flags:needs' failed: TypeError"),
        ("shop.flags:breaks", "failed: RuntimeError: the database is away (flags.py, line 30)"),
    ],
)
def test_what_is_not_found_is_named(shop: Path, text: str, said: str) -> None:
    """The error says what was not found, and the nearest name there is."""
    with pytest.raises(ConfigError) as caught:
        source.imported(text)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_command_takes_it(shop: Path, run: Run) -> None:
    """Each command that takes a configuration file takes an application's object as well."""
    done = run(*ASK, "--app", "shop.flags:fm")
    assert (done.code, done.json["flags"]) == (0, {"ta_Checkout": "variation"}), done.err
    status = run("outbox", "status", "--app", "shop.flags:fm")
    assert status.code == 0 and "delivered" in status.out, status.err
    # A configuration file beside it is not read.
    (shop / "flagmw.toml").write_text("deadline_ms = 'none'")
    mint = run("override", "mint", "https://a.test/", "--flag", "ta_Checkout=b", "--app", "shop.flags:make", "--json")
    assert mint.code == 0 and mint.json["link"].startswith("https://a.test/?"), mint.err
    report = run("shadow", "report", "--app", "shop.flags:fm")
    assert (report.code, report.err.count("\n")) == (2, 1)
    both = run(*ASK, "--app", "shop.flags:fm", "--config", "flagmw.toml")
    assert both.code == 2 and "one of them" in both.err
    none = run("doctor", "--app", "shop.flags:empty")
    assert none.code == 1 and "shop.flags:empty configures no vendors" in none.out


def test_commands_with_a_file_have_the_option() -> None:
    """No command takes `--config` and not `--app`."""
    from typer.main import get_command

    from flagmw.cli.main import app

    def walk(command: object, words: str) -> Iterator[tuple[str, set[str]]]:
        for name, inner in getattr(command, "commands", {}).items():
            yield from walk(inner, f"{words} {name}".strip())
        if not getattr(command, "commands", None):
            yield words, {option for parameter in command.params for option in parameter.opts}  # type: ignore[attr-defined]

    options = dict(walk(get_command(app), ""))
    with_file = {words for words, opts in options.items() if "--config" in opts}
    assert len(with_file) >= 12
    assert [words for words in sorted(with_file) if "--app" not in options[words]] == []


def test_variables_alone_are_enough(shop: Path) -> None:
    """No file at all; a pyproject.toml that says nothing of flagmw is none."""
    (shop / "pyproject.toml").write_text("[project]\nname = 'shop'\n")
    flags = '{"ta_Checkout": "b"}'
    environ = {"FLAGMW_VENDORS__FIXED__TYPE": "static", "FLAGMW_VENDORS__FIXED__FLAGS": flags}
    run = flagmw(shop, *ASK, environ=environ)
    assert (run.returncode, json.loads(run.stdout)["flags"]) == (0, {"ta_Checkout": "b"}), run.stderr
    run = flagmw(shop, *ASK)
    assert run.returncode == 2 and "FLAGMW_VENDORS__" in run.stderr and "--app" in run.stderr


SETTINGS = """
SECRET_KEY = "x"
USE_TZ = True
INSTALLED_APPS = ["flagmw.django"]
MIDDLEWARE = ["flagmw.django.FlagsMiddleware"]
FLAGMW = {"vendors": [{"type": "static", "name": "site", "flags": {"ta_Checkout": "b"}}]}
"""
MANAGE = """
import os, sys
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "site_settings")
from django.core.management import call_command, execute_from_command_line
if sys.argv[1] == "call":
    import django
    django.setup()
    call_command("flagmw", "decide", "https://a.test/", "--json")
    call_command("flagmw", "decide", "https://a.test/", "--json", "--app", "shop.flags:fm")
    call_command("flagmw", "outbox", "dead", "show", "gone", "--app", "site_settings:x")
else:
    execute_from_command_line(sys.argv)
"""


def test_manage_py(shop: Path) -> None:
    """`manage.py flagmw ...` is the command with the options of the settings; Django's own options are kept out."""
    (shop / "site_settings.py").write_text(SETTINGS)
    (shop / "wrong_settings.py").write_text(SETTINGS.replace('"vendors"', '"vendor"'))
    (shop / "manage.py").write_text(MANAGE)

    def manage(*arguments: str) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=shop, env={**kept, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60,
        )  # fmt: skip

    run = manage("flagmw", *ASK, "--settings", "site_settings", "--pythonpath=.")
    assert (run.returncode, json.loads(run.stdout)["flags"]) == (0, {"ta_Checkout": "b"}), run.stderr
    wrong = manage("flagmw", *ASK, "--settings=wrong_settings")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1) and "did you mean 'vendors'?" in wrong.stderr
    called = manage("call")
    # A file or an object that is named comes before the settings.
    assert '"ta_Checkout": "b"' in called.stdout and '"ta_Checkout": "variation"' in called.stdout
    assert "CommandError: flagmw ended with exit code 2" in called.stderr
