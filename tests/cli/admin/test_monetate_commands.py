"""`flagmw monetate` on a real sandbox."""

from __future__ import annotations

import csv
import gzip
import io
import json
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from flagmw.admin.monetate.endpoints import ENDPOINTS
from flagmw.cli.admin.exits import AMBIGUOUS, CONFLICT, FAILED, NO_ACCESS, NOT_FOUND, WRONG
from flagmw.sandbox import SandboxServer
from tests.cli.admin.conftest import Typed
from tests.project.cli_reference import commands_of
from tests.project.test_readme import ROOT, blocks
from tests.sandbox.monetate_admin import boxed
from tests.support.sftp_server import PASSWORD, USER, SftpServer


@pytest.fixture(scope="session")
def _started() -> Iterator[SandboxServer]:
    with SandboxServer(boxed.scenario(), seed=7) as server:
        yield server


@pytest.fixture
def box(_started: SandboxServer) -> SandboxServer:
    _started.reset()
    return _started


@pytest.fixture
def monetate(bare: Typed, box: SandboxServer) -> Typed:
    """Commands with the token that the sandbox always takes."""

    bare.always = ["--sandbox", box.url]
    return bare


FIELDS = json.dumps({"colour": {"data_type": "STRING"}})
SCHEMA = json.dumps({"name": "more", "fields": {"id": {"data_type": "STRING", "identifier": True}}})
ROWS = "customer_id,points\nc1,5\nc2,7\n"
# By the client's method: the words after `flagmw monetate`, and standard input.
SAMPLES: dict[str, tuple[list[Any], str]] = {
    "page_events.list": (["page-events", "list"], ""),
    "page_events.get": (["page-events", "get", 132], ""),
    "variants.list": (["variants", "list", "--name", "hero"], ""),
    "variants.get": (["variants", "get", 101], ""),
    "custom_targets.list": (["custom-targets", "list"], ""),
    "custom_targets.get": (["custom-targets", "get", 7], ""),
    "experiences.list": (["experiences", "list", "--page-size", 2], ""),
    "experiences.get": (["experiences", "get", 1], ""),
    "experiences.readable": (["experiences", "splits", 1], ""),
    "accounts.list": (["accounts", "list"], ""),
    "accounts.get": (["accounts", "get", 1], ""),
    "data.upsert": (["data", "upsert", "customers", "-", "--format", "csv"], ROWS),
    "data.check": (["data", "check", "customers", "c1"], ""),
    "schemas.list": (["schemas", "list", "--row-count", "--usable"], ""),
    "schemas.get": (["schemas", "get", "customers"], ""),
    "schemas.create": (["schemas", "create", "-"], SCHEMA),
    "schemas.add_fields": (["schemas", "add-fields", "customers", "-"], FIELDS),
    "schemas.set_identifier": (["schemas", "set-identifier", "customers", "person"], ""),
    "schema_types.list": (["schema-types", "list"], ""),
    "schema_types.get": (["schema-types", "get", "event"], ""),
    "uploads.list": (["uploads", "list", "customers"], ""),
    "default_catalogs.list": (["default-catalogs", "list"], ""),
    "default_catalogs.set": (["default-catalogs", "set", "1", "1003"], ""),
    "sessions.names": (["sessions", "-"], '{"city": "Paris", "offers": ["1-A"]}\n'),
}


def test_every_method_has_its_command() -> None:
    """Each endpoint, and every method that a command names, has a sample here."""
    named = {call for one in commands_of("monetate").registered for call in one.calls}
    assert named == set(SAMPLES)
    assert set(ENDPOINTS) - {"auth.refresh"} <= named


@pytest.mark.parametrize("method", SAMPLES)
def test_each_command(monetate: Typed, method: str) -> None:
    """As a table and as JSON; the exit code is 0."""
    words, stdin = SAMPLES[method]
    if method == "data.check":
        monetate("monetate", *SAMPLES["data.upsert"][0], stdin=ROWS)
    done = monetate("monetate", *words, stdin=stdin)
    assert done.code == 0 and done.out, done.err
    if method != "data.check":  # one a second
        again = monetate("monetate", *words, "--json", stdin=stdin)
        exists = method in ("schemas.create", "schemas.add_fields")
        assert again.code == (FAILED if exists else 0) and (exists or again.json is not None)


@pytest.mark.parametrize("method", [one for one in SAMPLES if one not in ("sessions.names",)])
def test_each_dry_run(monetate: Typed, box: SandboxServer, method: str) -> None:
    """The request is printed, its token masked, and nothing is sent."""
    words, stdin = SAMPLES[method]
    done = monetate("monetate", *words, "--dry-run", "--json", stdin=stdin)
    assert done.code == 0 and done.json["headers"]["Authorization"] == "Token ***", done.err
    assert box.ledger()["requests"] == []


def test_an_upload_of_records(monetate: Typed, box: SandboxServer, tmp_path: Path) -> None:
    """Exit code 1 and a line for each that was not taken; all results in a file; a journal goes on."""
    (tmp_path / "a.csv").write_text(ROWS + "c3,many\n,1\n")
    words = ["monetate", "data", "upsert", "customers", "a.csv", "--journal", "run", "--results", "results.jsonl"]
    done = monetate(*words, "--json")
    assert done.code == FAILED and (done.json["rows"], done.json["rejected"]) == (2, 2)
    states = [json.loads(line)["state"] for line in (tmp_path / "results.jsonl").read_bytes().splitlines()]
    assert sorted(states) == ["accepted", "accepted", "rejected", "rejected"]
    again = monetate(*words, "--json")
    assert again.json["parts"][0]["earlier"] is True
    (tmp_path / "a.csv").write_text(ROWS.replace("c1", "c9"))
    assert monetate(*words).code == CONFLICT
    done = monetate(
        "monetate", "data", "upsert", "customers", "-", "--format", "csv", stdin="customer_id,points\nx,y\n"
    )
    assert done.code == WRONG
    assert "has 'y' as \"points\"" in done.err
    assert monetate("monetate", "data", "upsert", "customers", "-", stdin=ROWS).code == WRONG
    box.faults([{"route": "monetate.data", "kind": "reset", "processed": True}])
    assert monetate("monetate", "data", "upsert", "customers", "a.csv", "--no-check").code == AMBIGUOUS
    box.faults([])


def test_errors_are_one_line_with_their_code(monetate: Typed, bare: Typed, box: SandboxServer) -> None:
    """What is not there, who may not, what is missing."""
    assert monetate("monetate", "page-events", "get", 1).code == NOT_FOUND
    assert monetate("monetate", "experiences", "list", "--page-size", 1001).code == WRONG
    assert monetate("monetate", "page-events", "get", 132, "--retailer", "other").code == NO_ACCESS
    bare.always = ["--base-url", box.url]
    done = bare("monetate", "page-events", "list")
    assert done.code == WRONG and "MONETATE_RETAILER" in done.err and done.err.count("\n") == 1


def test_a_private_key(bare: Typed, box: SandboxServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the credentials file; the token is kept between commands."""
    (tmp_path / "private.pem").write_bytes(boxed.private_pem(0, "open sesame"))
    table = f"""[monetate]
retailer = "acme"
username = "{boxed.USER}"
private_key_file = "{tmp_path / "private.pem"}"
private_key_passphrase = "open sesame"
algorithm = "RS384"
ttl = 1200
"""
    (tmp_path / "credentials.toml").write_text(table)
    (tmp_path / "credentials.toml").chmod(0o600)
    words = ["--base-url", box.url, "--credentials", "credentials.toml"]
    for _ in range(2):
        done = bare("monetate", "page-events", "list", "--csv", *words)
        assert done.code == 0 and [row["id"] for row in csv.DictReader(io.StringIO(done.out))] == ["132", "133"]
    assert [one["action"] for one in box.ledger()["requests"]].count("refresh") == 1
    monkeypatch.setenv("MONETATE_TTL", "ten")
    assert bare("monetate", "page-events", "list", *words).code == WRONG
    monkeypatch.setenv("MONETATE_TTL", "100")
    assert "600 to 43200" in bare("monetate", "page-events", "list", *words).err


SESSIONS = [
    {"city": "Paris", "offers": ["1-A"], "page_event_ids": {"133": 2, "132": 1}, "custom_targets": {"7": "x"}},
    {"city": "London", "offers": ["1-102", "99-A"], "page_event_ids": {"5": 1}},
]
LINES = "".join(json.dumps(one) + "\n" for one in SESSIONS)


def test_sessions_with_names(monetate: Typed, tmp_path: Path) -> None:
    """Names come from the Metadata API; ids that nothing matches and broken lines are told."""
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(LINES.encode() + b'{"city": "Par'))
    done = monetate("monetate", "sessions", "a.json.gz", "--by", "city", "--save-names", "names.json")
    assert done.code == 0, done.err
    assert "Homepage Hero Replacement" in done.out and "A New Arrivals: 1" in done.out and "Paris" in done.out
    assert "99 (no such id)" in done.out
    assert "line 3: is no JSON, or is cut off" in done.err and "ids that nothing matches: 1 experiences" in done.err
    found = monetate("monetate", "sessions", "a.json.gz", "--json").json
    assert (found["sessions"], found["broken"]) == (2, 1)
    assert found["unmatched"] == {"experiences": ["99"], "page_events": ["5"], "targets": []}


def test_sessions_without_a_connection(bare: Typed, monetate: Typed, tmp_path: Path) -> None:
    """With names from a file nothing is asked for; standard input is read too."""
    assert monetate("monetate", "sessions", "-", "--save-names", "names.json", stdin=LINES).code == 0
    bare.always = []
    done = bare("monetate", "sessions", "-", "--names", "names.json", "--csv", stdin=gzip.compress(LINES.encode()))
    rows = list(csv.DictReader(io.StringIO(done.out)))
    assert [row["name"] for row in rows if row["kind"] == "experience"] == ["Homepage Hero Replacement", ""]


def test_rows_files_and_plots(monetate: Typed, tmp_path: Path) -> None:
    """Rows, counts and plots in every form."""
    (tmp_path / "a.json").write_text(LINES)
    words = ["monetate", "sessions", "a.json"]
    for name in ("rows.jsonl", "rows.csv", "rows.parquet"):
        done = monetate(*words, "--rows", name, "--output", f"of-{name}".replace("jsonl", "json"), "--plot", "top.png")
        assert done.code == 0, done.err
    row = json.loads((tmp_path / "rows.jsonl").read_bytes().splitlines()[0])
    assert row["city"] == "Paris" and [one["title"] for one in row["page_events"]] == ["Added to cart", "Signed up"]
    assert row["targets"] == [{"id": "7", "title": "Weather", "value": "x"}]
    assert pyarrow.parquet.read_table(tmp_path / "rows.parquet").num_rows == 2
    assert (tmp_path / "top.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((tmp_path / "of-rows.json").read_bytes())["sessions"] == 2
    text = monetate(*words, "--plot", "-")
    assert "Homepage Hero Replacement █" in text.out


def test_sessions_that_cannot_be(monetate: Typed, tmp_path: Path) -> None:
    """Each with what to do, before anything is read."""
    (tmp_path / "a.json").write_text(LINES)
    for words, says in (
        ([], "name files"),
        (["none.json"], "cannot be read"),
        (["a.json", "--plot", "top.gif"], ".png"),
        (["a.json", "--output", "a.xlsx"], ".parquet"),
        (["a.json", "--rows", "a.txt"], ".parquet"),
        (["a.json", "--rows", "-", "--json"], "standard output"),
        (["a.json", "--names", "a.json"], "holds no names"),
        (["--fetch", "yesterday"], "two times"),
        (["--fetch", "2026-01-30..2026-01-31"], "MONETATE_SFTP_USERNAME"),
    ):
        done = monetate("monetate", "sessions", *words)
        assert done.code == WRONG and says in done.err, words


@pytest.fixture
def sftp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SftpServer]:
    folder = tmp_path / "server"
    for mode in ("full", "partial"):
        (folder / "datasets" / mode).mkdir(parents=True)
    with SftpServer(folder, tmp_path) as running:
        settings = {"USERNAME": USER, "PASSWORD": PASSWORD, "HOST": "127.0.0.1", "PORT": running.port}
        for name, value in {**settings, "KNOWN_HOSTS": running.known_hosts}.items():
            monkeypatch.setenv(f"MONETATE_SFTP_{name}", str(value))
        yield running


def test_a_file_by_sftp(monetate: Typed, sftp: SftpServer, tmp_path: Path) -> None:
    """Checked against the schema and put where Monetate takes it; a full one only after --yes."""
    (tmp_path / "a.csv").write_text(ROWS)
    words = ["monetate", "data", "upload", "a.csv"]
    done = monetate(*words, "--partial", "--schema", "customers", "--json")
    assert done.code == 0 and done.json["sent_to"] == "/datasets/partial/1001-a.csv", done.err
    assert (tmp_path / "server/datasets/partial/1001-a.csv").read_text() == ROWS
    assert "add --yes" in monetate(*words, "--full", "--schema", "customers").err
    assert monetate(*words, "--full", "--dataset-id", 5, "--yes").code == 0
    assert sftp.names == ["/datasets/partial/1001-a.csv", "/datasets/full/5-a.csv"]
    assert monetate(*words, "--full", "--schema", "customers", "--check-only").code == 0
    for options in (["--full", "--partial", "--dataset-id", 1], ["--full"], ["--full", "--dataset-id", 0, "--yes"]):
        assert monetate(*words, *options).code == WRONG
    (tmp_path / "a.csv").write_text("customer_id,colour\nc1,red\n")
    assert "add_fields" in monetate(*words, "--partial", "--schema", "customers").err


def test_session_stream_by_sftp(monetate: Typed, sftp: SftpServer, tmp_path: Path) -> None:
    """The files of a time are fetched and read."""
    name = "20260131T101500.000Z_PT15M-1477542463784.json.gz"
    place = tmp_path / "server/a-1/raw_data/session_stream/2026/01/31"
    place.mkdir(parents=True)
    (place / name).write_bytes(gzip.compress(LINES.encode()))
    words = ["monetate", "sessions", "--fetch", "2026-01-31T10:00..2026-01-31T11:00", "--folder", "got", "--json"]
    done = monetate(*words, "--account", "a-1")
    assert done.code == 0 and done.json["sessions"] == 2, done.err
    assert (tmp_path / "got" / name).is_file()
    assert monetate(*words, "--account", "a-2").code == NOT_FOUND


def test_the_commands_of_the_documentation(bare: Typed) -> None:
    """Each line of a marked block runs on the scenario that the page names."""
    page = ROOT / "docs" / "managing-monetate.md"
    marked = [block for block in blocks(page, "sh") if block.note == "runs: on the sandbox"]
    assert len(marked) == 2
    assert [block for block in blocks(page, "sh") if "flagmw monetate" in block.code and block not in marked] == []
    with SandboxServer("monetate", seed=7) as server:
        bare.always = ["--sandbox", server.url]
        for line in [line for block in marked for line in block.code.splitlines() if line.strip()]:
            made, is_command, words = line.rpartition("flagmw ")
            shell = made.rstrip(" |") if is_command else line
            stdin = subprocess.run(shell or "true", shell=True, capture_output=True, check=True, timeout=20).stdout
            if not is_command:
                continue
            done = bare(*shlex.split(words), stdin=stdin)
            assert done.code == 0 and done.out, f"{line}\n{done.err}"
