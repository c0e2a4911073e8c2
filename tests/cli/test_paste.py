"""What `flagmw sandbox` prints, pasted by somebody who reads nothing else."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from flagmw import Flagmw, Visit
from flagmw.sandbox import load_scenario, paste
from flagmw.sandbox.scenario import scenario_names
from tests.support.raw_vendor import free_port

ROOT = Path(__file__).parents[2]
ENVIRON = {
    **{name: value for name, value in os.environ.items() if not name.startswith("FLAGMW_")},
    "PYTHONPATH": str(ROOT),
    "PYTHONUNBUFFERED": "1",
}


@contextmanager
def running(command: list[str], folder: Path, environ: dict[str, str] = ENVIRON) -> Iterator[Path]:
    """Run a process, and give the file with what it prints."""
    output = folder / f"output-{free_port()}"
    with output.open("w") as file:
        process = subprocess.Popen(command, cwd=folder, env=environ, stdout=file, stderr=subprocess.STDOUT)
        try:
            yield output
        finally:
            process.kill()
            process.wait(10)


def page_of(url: str, output: Path) -> httpx2.Response:
    """Return the page as soon as the server is there."""
    end = time.monotonic() + 20
    while True:
        try:
            return httpx2.get(url, timeout=10)
        except httpx2.TransportError:
            assert time.monotonic() < end, output.read_text()
            time.sleep(0.05)


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The sections that a running sandbox printed, by the first word of their headings."""
    folder = tmp_path_factory.mktemp("sandbox")
    with running([sys.executable, "-m", "flagmw", "sandbox", "--port", "0", "--seed", "1"], folder) as output:
        end = time.monotonic() + 20
        while "sandbox on http://" not in output.read_text():
            assert time.monotonic() < end, output.read_text()
            time.sleep(0.02)
        text, _, last = output.read_text().partition("\nsandbox on ")
        parts = re.split(r"^=== (.*) ===\n", text, flags=re.MULTILINE)
        sections = {
            f"{title.split()[0]} {'urls' if 'urls.py' in title else ''}".strip(): body
            for title, body in zip(parts[1::2], parts[2::2], strict=True)
        }
        yield {**sections, "url": last.split(";")[0]}


def variables(lines: str) -> dict[str, str]:
    """Return what a shell makes of the lines."""
    done = subprocess.run(["/bin/sh", "-c", f"{lines}\nenv -0"], env={}, capture_output=True, text=True, check=True)
    pairs = [pair.partition("=") for pair in done.stdout.split("\0")]
    return {name: value for name, _, value in pairs if name.startswith("FLAGMW_")}


def ledger(printed: dict[str, str]) -> list[dict[str, object]]:
    """Return the requests that the sandbox had."""
    requests: list[dict[str, object]] = httpx2.get(f"{printed['url']}/__sandbox__/ledger").json()["requests"]
    return requests


@pytest.mark.parametrize("kind", ["webtrends", "adobe_target", "monetate", "contentstack"])
def test_each_vendor_decides_as_printed(printed: dict[str, str], kind: str) -> None:
    """One vendor of the file alone, and the same from variables, each decides the test of README."""
    tables = tomllib.loads(printed["flagmw.toml"])["vendors"]
    environ = {
        name: value
        for name, value in variables(printed["or"]).items()
        if name.startswith(f"FLAGMW_VENDORS__{kind.upper()}__")
    }
    by_file = Flagmw.from_mapping(
        {"vendors": [t for t in tables if t["type"] == kind], "deadline_ms": 5000}, environ={}
    )
    by_environ = Flagmw.from_mapping({"deadline_ms": 5000}, environ=environ)
    assert repr(by_file.config.vendors) == repr(by_environ.config.vendors)
    for fm in (by_file, by_environ):
        flags = fm.decide(Visit(url="http://127.0.0.1:8000/"))
        assert "ta_Checkout" in flags, flags.error_code
        assert flags["ta_Checkout"] in ("control", "variation", "0", "1")
        fm.close(0.1)


def test_readme_and_sandbox_have_the_same_tests(printed: dict[str, str]) -> None:
    """Every test that README's example of Webtrends reads is decided, and reads as README says."""
    (table,) = [t for t in tomllib.loads(printed["flagmw.toml"])["vendors"] if t["type"] == "webtrends"]
    names = set(re.findall(r"\bta_\w+", (ROOT / "README.md").read_text()))
    fm = Flagmw.from_mapping({"vendors": [table], "deadline_ms": 5000}, environ={})
    flags = fm.decide(Visit(url="https://www.mysite.com/"))
    # These two are README's examples of a test that no vendor knows.
    assert set(flags) == names - {"ta_Search", "ta_Unknown"}
    assert flags["ta_Checkout"] in ("control", "variation")
    assert flags.payload("ta_Hero", default={})["title"] in ("Summer sale", "Winter sale")
    assert flags.number("ta_PageSize", default=1) in (20, 40)
    assert flags.track("Page_Checkout_Step1", aliases=["ta_Checkout"])
    fm.close(5)


@pytest.mark.parametrize("framework", ["FastAPI:", "Flask:", "Django:"])
def test_pasted_application_serves_the_variant(printed: dict[str, str], framework: str, tmp_path: Path) -> None:
    """The file and the application as printed: the page shows the variant, and the sandbox was asked."""
    port, before = free_port(), len(ledger(printed))
    (tmp_path / "flagmw.toml").write_text("deadline_ms = 5000\n" + printed["flagmw.toml"])
    if framework == "Django:":
        subprocess.run(
            [sys.executable, "-m", "django", "startproject", "site1", "."], cwd=tmp_path, env=ENVIRON, check=True
        )
        for file, section in (("settings.py", "Django:"), ("urls.py", "Django: urls")):
            path = tmp_path / "site1" / file
            path.write_text(path.read_text() + "\n" + printed[section])
        command = [sys.executable, "manage.py", "runserver", "--noreload", f"127.0.0.1:{port}"]
    else:
        (tmp_path / "shop.py").write_text(printed[framework])
        command = {
            "FastAPI:": [sys.executable, "-m", "uvicorn", "shop:app", "--port", str(port)],
            "Flask:": [sys.executable, "-m", "flask", "--app", "shop", "run", "--port", str(port)],
        }[framework]
    environ = {**ENVIRON, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    with running(command, tmp_path, environ) as output:
        answer = page_of(f"http://127.0.0.1:{port}/", output)
    assert answer.status_code == 200, output.read_text()
    assert answer.json()["ta_Checkout"] in ("control", "variation")
    assert answer.headers["cache-control"].startswith("private")
    assert len(ledger(printed)) >= before + 4
    assert "not a" not in output.read_text()


@pytest.mark.parametrize("name", scenario_names())
def test_every_scenario_can_be_pasted(name: str) -> None:
    """Whatever the scenario has is configured without an error; the sample page reads one of its tests."""
    scenario = load_scenario(name)
    tables = paste.vendors(scenario, "http://127.0.0.1:1")
    fm = Flagmw.from_mapping(tomllib.loads(paste.toml(tables)), environ={})
    assert len(fm.config.vendors) == len(tables) > 0
    environ = variables(paste.environment(tables))
    assert sorted(map(repr, Flagmw.from_mapping(environ=environ).config.vendors)) == sorted(
        map(repr, fm.config.vendors)
    )
    assert "@alias@" not in paste.text(scenario, "http://127.0.0.1:1")


def test_two_accounts_of_one_vendor_have_two_names() -> None:
    account = {"key_token": 'it\'s-a-"quoted"-$one', "cookie_domain": ".a.test"}
    scenario = type(load_scenario("shop")).from_mapping(
        {"webtrends": [{"domain_id": 1, **account}, {"domain_id": 2, **account}]}
    )
    tables = paste.vendors(scenario, "http://[::1]:1")
    fm = Flagmw.from_mapping(environ=variables(paste.environment(tables)))
    assert [vendor.name for vendor in fm.config.vendors] == ["webtrends_1", "webtrends_2"]
    assert repr(fm.config.vendors) == repr(Flagmw.from_mapping(tomllib.loads(paste.toml(tables))).config.vendors)
