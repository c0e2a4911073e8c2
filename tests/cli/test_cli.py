"""The `flagmw` command, as somebody types it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from flagmw import Flagmw, Static
from flagmw.sandbox import SandboxServer
from tests.cli.conftest import Run
from tests.contracts.edges.driver import Answer, WsgiEdge
from tests.support.raw_vendor import free_port

ROOT = Path(__file__).parents[2]
TOKEN = "7a32f9364bd1ea68668a0e50bd815e79109a03720951"
BROWSER = ("--user-agent", "Mozilla/5.0 (X11; Linux x86_64)")
CONTROL = "_wt.control-2490593-ta_Project1"


@pytest.fixture(scope="module")
def _server() -> Iterator[SandboxServer]:
    with SandboxServer("single", seed=3) as server:
        yield server


@pytest.fixture
def vendor(_server: SandboxServer) -> SandboxServer:
    _server.reset()
    _server.replace_scenario("single")
    return _server


@pytest.fixture
def config(vendor: SandboxServer, tmp_path: Path) -> Path:
    """A configuration for the sandbox, with time for a busy machine."""
    path = tmp_path / "own.toml"
    path.write_text(
        f"""
        deadline_ms = 5000
        [[vendors]]
        type = "webtrends"
        name = "wt"
        domain_id = 2490593
        key_token = "{TOKEN}"
        url = "https://www.mysite.com"
        base_url = "{vendor.webtrends_url}"
        """
    )
    return path


# decide


@pytest.mark.parametrize(
    ("scenario", "aliases", "error_code"),
    [
        ("single", {"ta_Project1"}, None),
        ("array", {"ta_Project1", "ta_Project2"}, None),
        ("no_test", set(), "VENDOR_303"),
    ],
)
def test_decide_prints_json(
    run: Run, vendor: SandboxServer, config: Path, scenario: str, aliases: set[str], error_code: str | None
) -> None:
    """One decision as JSON: flags, why, and the cookies that a visitor would get. "No test" is no failure."""
    vendor.replace_scenario(scenario)
    done = run("decide", "https://www.mysite.com/", "--json", "--config", config, *BROWSER)
    assert (done.code, done.err) == (0, "")
    assert done.json["flags"].keys() == aliases
    assert set(done.json["flags"].values()) <= {"control", "variation"}
    assert done.json["error_code"] == error_code
    assert [variant["alias"] for variant in done.json["variants"]] == list(done.json["flags"])
    assert all("Domain=mysite.com; Secure" in line for line in done.json["set_cookies"])
    names = {line.partition("=")[0] for line in done.json["set_cookies"]}
    assert names == {"_wt.user-2490593", "_wt.mode-2490593", *(f"_wt.control-2490593-{alias}" for alias in aliases)}
    assert done.json["elapsed_ms"] < 5000
    assert TOKEN not in done.out
    (request,) = vendor.ledger()["requests"]
    assert request["lint"] == []


def test_decide_asks_a_sandbox_by_its_address(run: Run, vendor: SandboxServer) -> None:
    """`--sandbox URL` needs no configuration, and the first call is not too slow for the deadline."""
    for _ in range(2):
        done = run("decide", "https://www.mysite.com/", "--json", "--sandbox", vendor.url)
        assert (done.code, done.json["error_code"]) == (0, None)


def test_decide_sends_what_it_is_told_about_the_visitor(run: Run, vendor: SandboxServer, config: Path) -> None:
    """Cookies, attributes, address and browser of the command line reach the vendor."""
    first = run("decide", "https://www.mysite.com/", "--json", "-c", config, *BROWSER).json
    cookies = "; ".join(line.partition(";")[0] for line in first["set_cookies"])
    second = run(
        *("decide", "https://www.mysite.com/", "--json", "-c", config, *BROWSER, "--client-ip", "203.0.113.9"),
        *("--cookie", f"sid=s3cret; {cookies}", "--data", "plan=pro", "--data", "age=42", "--data", "member=true"),
    ).json
    assert second["flags"] == first["flags"]
    request = vendor.ledger()["requests"][-1]
    assert len({entry["system_uid"] for entry in vendor.ledger()["requests"]}) == 1
    assert request["data"] == {"plan": "pro", "age": 42, "member": "true"}
    assert request["cookies"].keys() == {line.partition("=")[0] for line in first["set_cookies"]}
    assert request["headers"]["user-agent"] == BROWSER[1]
    assert request["lint"] == []


def test_decide_prints_a_table(run: Run, vendor: SandboxServer, config: Path) -> None:
    """Without `--json` there is a table for people, with what was not decided and why."""
    done = run("decide", "https://www.mysite.com/", "-c", config)
    assert (done.code, done.err) == (0, "")
    assert re.search(r"ta_Project1 .*(control|variation) .*SPLIT .*wt", done.out)
    assert "1 decided, 3 cookies to set" in done.out
    vendor.replace_scenario("no_test")
    done = run("decide", "https://www.mysite.com/", "-c", config)
    assert (done.code, done.err) == (0, "")
    assert "0 decided, 2 cookies to set" in done.out
    assert "VENDOR_303" in done.out
    assert TOKEN not in done.out


def test_configuration_is_found_where_people_put_it(
    run: Run, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`FLAGMW_CONFIG`, then `flagmw.toml`, then `pyproject.toml` of the folder; one that is named must be there."""
    ask = ("decide", "https://www.mysite.com/", "--json")
    text = config.read_text()
    (tmp_path / "pyproject.toml").write_text(
        "[tool.flagmw]\n" + text.replace("[[vendors]]", "[[tool.flagmw.vendors]]").replace('"wt"', '"project"')
    )
    assert run(*ask).json["variants"][0]["vendor"] == "project"
    (tmp_path / "flagmw.toml").write_text(text.replace('"wt"', '"folder"'))
    assert run(*ask).json["variants"][0]["vendor"] == "folder"
    monkeypatch.setenv("FLAGMW_CONFIG", str(config))
    assert run(*ask).json["variants"][0]["vendor"] == "wt"
    monkeypatch.setenv("FLAGMW_CONFIG", str(tmp_path / "gone.toml"))
    done = run(*ask)
    assert (done.code, done.out) == (2, "")
    assert "gone.toml" in done.err


# track


def test_saved_visitor_converts_later(run: Run, vendor: SandboxServer, config: Path, tmp_path: Path) -> None:
    """`decide --save` keeps the visitor in a file that only its owner reads; `track --visitor` converts as them."""
    saved = tmp_path / "visitor"
    assert run("decide", "https://www.mysite.com/", "-c", config, "--save", saved, *BROWSER).code == 0
    assert saved.stat().st_mode & 0o777 == 0o600
    done = run(
        *("track", "purchase", "--visitor", saved, "-c", config, "--json", "--key", "order-1"),
        *("--data", "revenue=49.9", "--data", "currency=EUR"),
    )
    assert (done.code, done.err) == (0, "")
    assert {**done.json, "id": None} == {
        "id": None,
        "accepted": 1,
        "delivered": 1,
        "queued": 0,
        "dead": 0,
        "dropped": {},
    }
    (conversion,) = vendor.ledger()["conversions"]
    assert (conversion["alias"], conversion["metric"]) == ("ta_Project1", "purchase")
    decided, tracked = vendor.ledger()["requests"]
    assert decided["system_uid"] == tracked["system_uid"]
    assert tracked["data"] == {"revenue": 49.9, "currency": "EUR"}
    assert CONTROL in tracked["cookies"]
    assert tracked["lint"] == []


def test_visitor_given_by_cookies_converts(run: Run, vendor: SandboxServer, config: Path) -> None:
    """`track --cookie` takes what a browser carries; a visitor without a test is not taken, and says so."""
    first = run("decide", "https://www.mysite.com/", "--json", "-c", config).json
    cookies = [part for line in first["set_cookies"] for part in ("--cookie", line.partition(";")[0])]
    done = run("track", "purchase", "-c", config, *cookies)
    assert (done.code, done.err) == (0, "")
    assert "accepted 1  delivered 1" in done.out
    done = run("track", "purchase", "-c", config, "--cookie", "sid=1")
    assert done.code == 1
    assert done.err == "not tracked: the visitor is in no such test, or the data is invalid\n"


# Trouble.


@pytest.mark.parametrize("action", ["decide", "track"])
def test_vendor_that_is_down(run: Run, vendor: SandboxServer, config: Path, tmp_path: Path, action: str) -> None:
    """The exit code is 1, the answer says why, and what could not be delivered is shown as waiting."""
    saved = tmp_path / "visitor"
    run("decide", "https://www.mysite.com/", "-c", config, "--save", saved)
    config.write_text(config.read_text().replace(vendor.url, f"http://127.0.0.1:{free_port()}"))
    if action == "decide":
        done = run("decide", "https://www.mysite.com/", "--json", "-c", config)
        assert (done.code, done.err) == (1, "")
        assert (done.json["flags"], done.json["error_code"]) == ({}, "CONNECT")
    else:
        done = run("track", "x", "--visitor", saved, "-c", config, "--json", "--timeout", "0.2")
        assert done.code == 1
        assert done.json["accepted"] == 1
        assert done.json["delivered"] == 0


def test_account_that_the_vendor_refuses(run: Run, config: Path) -> None:
    """A wrong token is a failure of the vendor's answer, though the answer is a proper one."""
    config.write_text(config.read_text().replace(TOKEN, "f" * 44))
    done = run("decide", "https://www.mysite.com/", "--json", "-c", config)
    assert done.code == 1
    assert done.json["error_code"] == "VENDOR_105"


WRONG = {
    "unknown option": ("deadlin_ms = 300", "unknown option 'deadlin_ms'; did you mean 'deadline_ms'?"),
    "wrong value": ('deadline_ms = "s3cret"', "deadline_ms must be a whole number from 10 to 60000"),
    "no toml": ("deadline_ms = ", "own.toml' is not valid TOML"),
    "no vendors": ("deadline_ms = 300", "configures no vendors"),
    "unknown vendor": ('[[vendors]]\ntype = "webtrend"', "did you mean 'webtrends'?"),
    "missing token": ('[[vendors]]\ntype = "webtrends"\nname = "wt"', "domain_id, key_token, url must be given"),
    "plain http": (
        '[[vendors]]\ntype = "webtrends"\ndomain_id = 1\nkey_token = "s3cret-s3cret"\nurl = "x"\nbase_url = "ftp://a"',
        "base_url",
    ),
}


@pytest.mark.parametrize("kind", WRONG)
@pytest.mark.parametrize("action", [("decide", "https://www.mysite.com/"), ("track", "purchase")], ids=lambda a: a[0])
def test_wrong_configuration_is_one_line(run: Run, tmp_path: Path, kind: str, action: tuple[str, str]) -> None:
    """What is wrong is said in one line with the cure, without a traceback or a secret; the exit code is 2."""
    text, told = WRONG[kind]
    (tmp_path / "own.toml").write_text(text)
    done = run(*action, "--config", "own.toml")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("flagmw: ")
    assert done.err.count("\n") == 1
    assert told in done.err
    assert "s3cret" not in done.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("decide", "https://a.test/"), "no configuration: write flagmw.toml"),
        (("decide", "https://a.test/", "--config", "gone.toml"), "cannot read the configuration 'gone.toml'"),
        (("decide", "https://a.test/", "--sandbox", "vendor.test"), "base_url"),
        (("decide", "https://a.test/", "--sandbox", "http://127.0.0.1:1", "--data", "plan"), '"name=value"'),
        (
            ("decide", "https://a.test/", "--sandbox", "http://127.0.0.1:1", "--save", "no/such/folder"),
            "no/such/folder",
        ),
        (("track", "x", "--sandbox", "http://127.0.0.1:1", "--visitor", "gone"), "gone"),
        (("track", "x", "--sandbox", "http://127.0.0.1:1", "--visitor", "junk"), "the bytes that Flags.save()"),
        (("track", "x\ny", "--sandbox", "http://127.0.0.1:1"), "metric"),
        (("sandbox", "--scenario", "gone"), "gone"),
        (("sandbox", "--host", "0.0.0.0"), "not loopback"),
    ],
    ids=lambda value: " ".join(value[:6]) if isinstance(value, tuple) else None,
)
def test_wrong_arguments_are_one_line(run: Run, tmp_path: Path, arguments: tuple[str, ...], told: str) -> None:
    """So is what is wrong with the arguments."""
    (tmp_path / "junk").write_bytes(b"junk")
    done = run(*arguments)
    assert (done.code, done.err.count("\n")) == (2, 1), done
    assert done.err.startswith("flagmw: ")
    assert told in done.err


def test_command_without_arguments_shows_help(run: Run) -> None:
    """`flagmw` alone lists its commands."""
    done = run()
    for command in ("sandbox", "decide", "track"):
        assert command in done.out + done.err


# sandbox


def test_sandbox_starts_and_answers(run: Run, tmp_path: Path) -> None:
    """`flagmw sandbox --port N` serves a scenario until it is interrupted, and says where."""
    port = free_port()
    command = [sys.executable, "-W", "error", "-m", "flagmw.cli", "sandbox", "--port", str(port)]
    with (tmp_path / "output").open("w") as output:
        process = subprocess.Popen(
            [*command, "--scenario", "single", "--seed", "1"],
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=tmp_path,
        )
        try:
            end = time.monotonic() + 15
            while True:
                try:
                    health = httpx2.get(f"http://127.0.0.1:{port}/__sandbox__/health", timeout=5).json()
                    break
                except httpx2.TransportError:
                    assert process.poll() is None and time.monotonic() < end, (tmp_path / "output").read_text()
                    time.sleep(0.05)
            assert health == {"status": "ok", "scenario": "single"}
            done = run("decide", "https://www.mysite.com/", "--json", "--sandbox", f"http://127.0.0.1:{port}/")
            assert done.json["flags"].keys() == {"ta_Project1"}
            # A second one on the same port says so.
            second = subprocess.run(
                command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=15
            )
            assert (second.returncode, second.stderr.count("\n")) == (2, 1), second.stderr
            assert f"port {port}" in second.stderr
        finally:
            process.terminate()
            process.wait(10)
    assert f"sandbox on http://127.0.0.1:{port}" in (tmp_path / "output").read_text()


# shadow report


def test_shadow_report(run: Run, tmp_path: Path) -> None:
    """Tables by vendor, the alias that differs most first; the file is named, or found by the configuration."""
    file = tmp_path / "shadow.json"
    now = Static(flags={"ta_A": "a", "ta_B": "b"}, name="now")
    later = Static(flags={"ta_A": "[red]x", "ta_B": "b"}, name="later", shadow=True)
    fm = Flagmw(vendors=[now, later], shadow_report=file)
    edge = WsgiEdge()
    edge.get(edge.mount(lambda seen: Answer(seen.flags["ta_A"].encode()), fm))
    end = time.monotonic() + 5
    while not file.exists() and time.monotonic() < end:
        time.sleep(0.01)
    fm.close()
    shown = run("shadow", "report", file)
    assert shown.code == 0
    assert "later: asked 1 times; failures: none" in shown.out and "a -> [red]x (1)" in shown.out
    assert shown.out.index("ta_A") < shown.out.index("ta_B")
    (tmp_path / "flagmw.toml").write_text('shadow_report = "shadow.json"')
    assert run("shadow", "report").out == shown.out
    assert run("shadow", "report", "--json").json["vendors"]["later"]["aliases"]["ta_B"]["same"] == 1


def test_shadow_report_of_nothing(run: Run, tmp_path: Path) -> None:
    """No file, another file, and a configuration without the option are each told in a line."""
    assert (run("shadow", "report").code, run("shadow", "report", "none.json").code) == (2, 2)
    (tmp_path / "other.json").write_text("{}")
    told = run("shadow", "report", "other.json")
    assert told.code == 2 and "is no report of shadow vendors" in told.err and told.err.count("\n") == 1
