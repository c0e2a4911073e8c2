"""Credentials, output, dry runs, errors and exit codes of every management command."""

from __future__ import annotations

import csv
import io
import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flagmw.admin import errors
from flagmw.cli.admin import exits
from flagmw.exceptions import ConfigError
from flagmw.sandbox import SandboxServer
from tests.cli.admin.conftest import Typed

SECRET = "sandbox-secret"


def credentials(path: Path, box: SandboxServer, mode: int = 0o600, **more: str) -> Path:
    """Write a credentials file for the sandbox."""
    given = {
        "tenant": "demo", "client_id": "sandbox-client", "client_secret": SECRET, "base_url": box.url,
        "token_url": f"{box.url}/ims/token/v3", **more,
    }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("[adobe]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in given.items()))
    path.chmod(mode)
    return path


def test_credentials_from_a_named_file(bare: Typed, adobe_box: SandboxServer, tmp_path: Path) -> None:
    """The file that is named is read."""
    done = bare("adobe", "environments", "--credentials", credentials(tmp_path / "own.toml", adobe_box), "--json")
    assert (done.code, done.err) == (0, "")
    assert [row["name"] for row in done.json] == ["Development", "Production", "Staging"]


def test_credentials_from_the_usual_file(bare: Typed, adobe_box: SandboxServer, tmp_path: Path) -> None:
    """Without a name it is the file below the configuration folder."""
    credentials(tmp_path / ".config" / "flagmw" / "credentials.toml", adobe_box)
    assert bare("adobe", "environments").code == 0


def test_credentials_from_the_environment(
    bare: Typed, adobe_box: SandboxServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Variables come before the file, one by one; a variable names the file as well."""
    path = credentials(tmp_path / "own.toml", adobe_box, client_secret="an old one")
    monkeypatch.setenv("ADOBE_CREDENTIALS", str(path))
    refused = bare("adobe", "environments")
    assert refused.code == 4 and "client secret" in refused.err
    monkeypatch.setenv("ADOBE_CLIENT_SECRET", SECRET)
    assert bare("adobe", "environments").code == 0


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620])
def test_file_that_others_can_read(bare: Typed, adobe_box: SandboxServer, tmp_path: Path, mode: int) -> None:
    """It is refused, with the cure."""
    path = credentials(tmp_path / "own.toml", adobe_box, mode)
    done = bare("adobe", "environments", "--credentials", path)
    assert done.code == 2 and f"chmod 600 {path}" in done.err
    assert SECRET not in done.err


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[adobe]\nclient_secrt = 'x'\n", "client_secrt is no setting; did you mean 'client_secret'?"),
        ("[adobe\n", "is no TOML"),
        ("adobe = 3\n", "[adobe] must be a table"),
        ("[adobe]\nclient_id = ['a']\n", "client_id must be a text"),
        ("[adobe]\nclient_id = 'a'\n", "client_secret is missing"),
        ("", "client_id is missing; give it by the environment variable ADOBE_CLIENT_ID or client_id in [adobe] of"),
    ],
)
def test_file_that_makes_no_sense(bare: Typed, tmp_path: Path, text: str, problem: str) -> None:
    """The line says what is wrong with it."""
    path = tmp_path / "own.toml"
    path.write_text(text)
    path.chmod(0o600)
    done = bare("adobe", "environments", "--credentials", path)
    assert done.code == 2 and problem in done.err and done.err.count("\n") == 1


def test_file_that_is_not_there(bare: Typed, tmp_path: Path) -> None:
    """A file that is named must be there."""
    done = bare("adobe", "environments", "--credentials", tmp_path / "none.toml")
    assert done.code == 2 and "none.toml cannot be read: No such file" in done.err


def test_usual_file_that_cannot_be_reached(bare: Typed, tmp_path: Path) -> None:
    """A configuration folder that is a file is no folder with credentials; one that is closed is an error."""
    (tmp_path / ".config").write_text("")
    done = bare("adobe", "environments")
    assert done.code == 2 and "client_id is missing" in done.err


@pytest.mark.parametrize("option", ["--sandbox", "--base-url", "--tenant", "--client-code", "--profile-url"])
def test_option_without_a_value(bare: Typed, adobe_box: SandboxServer, tmp_path: Path, option: str) -> None:
    """An empty value, of a variable that is not set, does not mean the vendor's own address."""
    path = credentials(tmp_path / "own.toml", adobe_box)
    done = bare("adobe", "environments", "--credentials", path, option, "")
    assert done.code == 2 and f"{option} has no value" in done.err
    assert adobe_box.ledger()["requests"] == []
    assert bare("adobe", "environments", "--credentials", path, "--timeout", "nan").code == 2


def test_home_that_cannot_be_written(bare: Typed, adobe_box: SandboxServer, tmp_path: Path) -> None:
    """Without a place for tokens the command says so and works."""
    (tmp_path / ".cache").write_text("")
    done = bare("adobe", "environments", "--json", "--sandbox", adobe_box.url)
    assert done.code == 0 and "no token is kept for the next command" in done.err
    assert len(done.json) == 3


def test_streams_that_are_closed_or_narrow(adobe: Typed) -> None:
    """Closed standard streams and an encoding without the characters are no tracebacks."""
    offer = json.dumps({"name": "Grün 色", "content": "x"})
    assert adobe("adobe", "offers", "create", "-", stdin=offer, stdout=None).code == 0
    for option in ("--csv", "--json", "--verbose"):
        narrow = io.TextIOWrapper(io.BytesIO(), "ascii")
        assert adobe("adobe", "offers", "list", "--name", "Grün 色", option, stdout=narrow).code == 0
        written = narrow.buffer.getvalue()  # type: ignore[attr-defined]
        assert b"Gr\\xfcn \\u8272" in written or option == "--json"
    assert adobe("adobe", "environments", stderr=None).code == 0
    assert adobe("adobe", "activities", "get", 1, stdout=None, stderr=None).code == 3


def test_secret_is_no_argument(bare: Typed) -> None:
    """No option takes a secret."""
    assert bare("adobe", "environments", "--client-secret", "s").code == 2
    assert bare("adobe", "environments", "--token", "s").code == 2


def test_secret_does_not_leave_in_the_clear(bare: Typed, adobe_box: SandboxServer, tmp_path: Path) -> None:
    """Neither the API nor the token service is asked over a network without encryption."""
    for name in ("base_url", "token_url"):
        path = credentials(tmp_path / f"{name}.toml", adobe_box, **{name: "http://mc.example/"})
        done = bare("adobe", "environments", "--credentials", path)
        assert done.code == 2 and f"{name} must be https" in done.err


def test_token_is_kept_between_commands(adobe: Typed, adobe_box: SandboxServer, tmp_path: Path) -> None:
    """The second command needs no token request; the file is for its owner only."""

    def asked() -> int:
        return sum(one["action"] == "token" for one in adobe_box.ledger()["requests"])

    for _ in range(3):
        assert adobe("adobe", "environments").code == 0
    assert asked() == 1
    assert adobe("adobe", "environments", "--no-token-cache").code == 0
    assert asked() == 2
    path = tmp_path / ".cache" / "flagmw" / "tokens.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_output_of_a_list(adobe: Typed) -> None:
    """The same rows as a table, as JSON and as CSV; what is no row goes to standard error."""
    rows = adobe("adobe", "environments", "--json").json
    assert len(rows) == 3
    as_csv = adobe("adobe", "environments", "--csv")
    assert list(csv.DictReader(io.StringIO(as_csv.out))) == [
        {name: str(value) for name, value in row.items()} for row in rows
    ]
    table = adobe("adobe", "environments")
    assert all(row["name"] in table.out for row in rows)
    assert table.err == "3 rows\n"
    assert adobe("adobe", "environments", "--json", "--limit", 1).json == rows[:1]
    assert adobe("adobe", "environments", "--json", "--csv").code == 2


def test_dry_run_sends_nothing(adobe: Typed, adobe_box: SandboxServer) -> None:
    """It prints the request, as text, as JSON, or as a command; secrets are masked in each."""
    for options in (("--dry-run",), ("--dry-run", "--json"), ("--curl",)):
        done = adobe("adobe", "environments", *options)
        assert done.code == 0
        assert "/demo/target/environments" in done.out and "Bearer ***" in done.out
        assert SECRET not in done.out and "sandbox-client" not in done.out
    assert adobe_box.ledger()["requests"] == []


def test_calls_are_shown_on_demand(adobe: Typed) -> None:
    """`--verbose` prints each call, without secrets."""
    done = adobe("adobe", "environments", "--verbose", "--json")
    assert "GET http://127.0.0.1" in done.err and " 200 " in done.err
    assert SECRET not in done.err
    assert len(done.json) == 3


def test_vendor_that_does_not_answer(bare: Typed) -> None:
    """One line and its exit code, after the attempts that are reported as they happen."""
    done = bare("adobe", "environments", "--sandbox", "http://127.0.0.1:9", "--no-token-cache")
    assert done.code == 8
    assert done.err.splitlines()[-1].startswith("flagmw: auth.oauth: no connection to the vendor could be made")
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.InvalidError("x", field="name"), 2),
        (errors.InvalidError("x", status=400), 1),
        (errors.VersionError("x", status=406), 1),
        (errors.NotFoundError("x", status=404), 3),
        (errors.AuthError("x"), 4),
        (errors.PermissionDeniedError("x", status=403), 4),
        (errors.ThrottledError("x", seconds=60), 5),
        (errors.AmbiguousError("x"), 6),
        (errors.ConflictError("x"), 7),
        (errors.UnreachableError("x"), 8),
        (errors.ServerError("x", status=500), 8),
        (errors.AnswerError("x"), 1),
        (ConfigError("x"), 2),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_exit_codes(error: Any, code: int) -> None:
    """Each kind of failure has its code, and each code its meaning."""
    assert exits.exit_code_of(error) == code
    assert code in exits.EXIT_CODES


def test_commands_are_imported_when_they_are_used(tmp_path: Path) -> None:
    """The list of all commands loads no vendor's management, and no HTTP client."""
    code = (
        "import sys\nfrom flagmw import cli\nsys.argv = ['flagmw', '--help']\n"
        "try:\n    cli.main()\nexcept SystemExit:\n    pass\n"
        "print([name for name in sys.modules if name.startswith(('flagmw.admin', 'flagmw.cli.adobe', 'httpx2'))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True, env=os.environ
    )
    assert "adobe" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_without_the_extra(missing: str) -> None:
    """The command says in one line what to install."""
    code = f"import sys\nsys.modules[{missing!r}] = None\nfrom flagmw import cli\ncli.main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert done.stderr.count("\n") == 1 and "pip install 'flagmw[cli" in done.stderr


@pytest.mark.parametrize("words", [("update", "a=b", "--tnt-id", "d1"), ("bulk", "-", "--format", "csv")])
def test_without_a_library(
    adobe: Typed, adobe_box: SandboxServer, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    """A library that the answer needs is missed before anything is sent."""
    monkeypatch.setitem(sys.modules, "defusedxml", None)
    done = adobe("adobe", "profiles", *words, stdin="pcId,a\nd1,b\n")
    assert done.code == 2 and "pip install 'flagmw[cli,admin]'" in done.err and done.err.count("\n") == 1
    assert adobe_box.ledger()["requests"] == []
