"""Tables at any width of the terminal, colours, and commands that end without a traceback."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from flagmw import __version__
from flagmw.cli.table import print_table
from tests.cli.conftest import Run
from tests.support.raw_vendor import free_port

ROOT = Path(__file__).parents[2]
STATUS = ("part", "state", "vendor", "queued", "in flight", "oldest", "delivered", "dead", "dropped")
LANE = ("slot-12", "living", "adobe_target", "120000", "16", "86400 s", "1234567", "17", "OVERFLOW 12, EXPIRED 1200")
LETTERS = ("id", "vendor", "metric", "aliases", "why", "attempts", "when")
LETTER = (
    "0192b3f4c5d6e7f8", "webtrends", "Page_Checkout_Step1", "ta_Checkout, ta_Hero, ta_PageSize", "VENDOR_105", 5,
    "2026-12-01T04:19:44+00:00",
)  # fmt: skip
DECIDED = ("alias", "variant", "reason", "vendor", "experiment")
FLAG = ("exp:日本語のテスト", '{"title": "Summer sale", "discount": 20}', "TARGETING_MATCH", "contentstack", "2490702")


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120])
@pytest.mark.parametrize(("columns", "row"), [(STATUS, LANE), (LETTERS, LETTER), (DECIDED, FLAG)])
def test_no_heading_is_cut(
    columns: tuple[str, ...], row: tuple[object, ...], width: int,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Each word of a heading and each character of a cell is there; no line is wider than the terminal."""
    monkeypatch.setenv("COLUMNS", str(width))
    assert print_table(columns, [row, row]) == 2
    out = capsys.readouterr().out
    for word in " ".join(columns).split():
        assert re.search(rf"\b{word}\b", out), out
    assert "…" not in out
    from rich.cells import cell_len

    assert max(map(cell_len, out.splitlines())) <= width
    # A cell's text goes on below itself: the characters are all there.
    drawn = re.sub(r"[\s│┃║─━┏┓┗┛┡┩┳╇┴└┘┼]", "", out)
    for text in row:
        letters = re.sub(r"\s", "", str(text))
        assert all(drawn.count(letter) >= 2 * letters.count(letter) for letter in set(letters))


def test_wide_enough_is_one_line_a_row(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    print_table(STATUS, [LANE], "A title [red]")
    out = capsys.readouterr().out
    assert len(out.splitlines()) == 6 and "A title [red]" in out


def terminal(*arguments: str, **environ: str) -> str:
    """Return what the command prints on a terminal."""
    master, slave = pty.openpty()
    kept = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "HOME": os.environ["HOME"]}
    process = subprocess.Popen(
        [sys.executable, "-m", "flagmw", *arguments],
        env={**kept, **environ}, stdin=slave, stdout=slave, stderr=slave, close_fds=True,
    )  # fmt: skip
    os.close(slave)
    parts = []
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:
            break
        if not part:
            break
        parts.append(part)
    process.wait(30)
    os.close(master)
    return b"".join(parts).decode()


STATIC = {"FLAGMW_VENDORS__FIXED__TYPE": "static", "FLAGMW_VENDORS__FIXED__FLAGS": '{"ta_Checkout": "b"}'}
COLOUR = re.compile(r"\x1b\[[0-9;]*(3[0-7]|9[0-7]|38;5;[0-9]+)m")


def test_colours_on_terminals_only(tmp_path: Path) -> None:
    """A terminal gets colours, NO_COLOR takes them away, and a pipe has none."""
    environ = {**STATIC, "FLAGMW_OUTBOX": f"sqlite://{tmp_path}/outbox"}
    assert COLOUR.search(terminal("doctor", **environ))
    assert not COLOUR.search(terminal("doctor", NO_COLOR="1", **environ))
    piped = subprocess.run(
        [sys.executable, "-m", "flagmw", "doctor"], env={**os.environ, **environ}, capture_output=True, text=True
    )
    assert "OK" in piped.stdout and "\x1b" not in piped.stdout + piped.stderr


def test_version(run: Run) -> None:
    done = run("--version")
    assert (done.code, done.out.split()[:2]) == (0, ["flagmw", __version__])


def test_completion_of_a_shell(tmp_path: Path) -> None:
    """The shell asks the command itself what may come next."""
    environ = {
        **os.environ, "PYTHONPATH": str(ROOT), "_FLAGMW_COMPLETE": "complete_bash", "COMP_WORDS": "flagmw outbox dea",
        "COMP_CWORD": "2",
    }  # fmt: skip
    code = "from flagmw.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.split() == ["dead"], done


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("sandbox", "--port", "99999"), "65535"),
        (("sandbox", "--port", "-1"), "0"),
        (("sandbox", "--port", "http"), "integer"),
        (("sandbox", "--port", "PORT"), "cannot listen on 127.0.0.1 port"),
        (("sandbox", "--host", "nowhere.invalid", "--allow-remote"), "cannot listen on nowhere.invalid"),
        (("sandbox", "--scenario", "./folder"), "cannot be read"),
        (("sandbox", "--scenario", "./binary.toml"), "must be UTF-8"),
        (("sandbox", "--scenario", "./none.toml"), "cannot be read"),
        (("decide", "https://a.test/", "-c", "folder"), "cannot read the configuration"),
        (("decide", "https://a.test/", "-c", "binary.toml"), "must be UTF-8"),
        (("doctor", "-c", "none.toml"), "none.toml"),
        (("deliver", "-c", "folder"), "cannot read the configuration"),
        (("shadow", "report", "folder"), "no report"),
        (("shadow", "report", "binary.toml"), "no report"),
        (("purge", "--user-id", "u", "-c", "good.toml"), "there is no outbox"),
        (("outbox", "status", "-c", "good.toml"), "there is no outbox"),
        (("outbox", "dead", "list", "-c", "file.toml"), "there is no outbox"),
        (("deliver", "--once", "-c", "file.toml"), "cannot be written, and there is nothing else to deliver from"),
        (("track", "x", "--visitor", "folder", "-c", "good.toml"), "folder"),
        (("decide", "https://a.test/", "--save", "folder", "-c", "good.toml"), "cannot write"),
        (("override", "mint", "nothing", "-c", "good.toml"), "names no host"),
    ],
    ids=lambda value: " ".join(value[:4]) if isinstance(value, tuple) else None,
)
def test_what_is_wrong_is_no_traceback(run: Run, tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    """A wrong port, a busy one, a file that is none: a message, and another exit code than 0."""
    import socket

    (tmp_path / "folder").mkdir()
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "plain").write_text("x")
    vendor = '[[vendors]]\ntype = "static"\nflags = { ta_A = "a" }\n'
    (tmp_path / "good.toml").write_text(f'outbox = "sqlite://{tmp_path}/outbox"\n{vendor}')
    (tmp_path / "file.toml").write_text(f'outbox = "sqlite://{tmp_path}/plain"\n{vendor}')
    with socket.create_server(("127.0.0.1", 0)) as busy:
        done = run(*(str(busy.getsockname()[1]) if each == "PORT" else each for each in arguments))
    assert done.code != 0
    text = re.sub(r"\s+", " ", done.out + done.err)
    assert said in text and "Traceback" not in text


@pytest.mark.parametrize(
    ("library", "arguments", "extra"),
    [
        ("starlette", ("sandbox",), "flagmw[sandbox]"),
        ("uvicorn", ("sandbox",), "flagmw[sandbox]"),
        ("rich", ("--version",), "flagmw[cli]"),
        ("typer", ("doctor",), "flagmw[cli]"),
        ("valkey", ("outbox", "status"), "flagmw[valkey]"),
        ("valkey", ("deliver", "--once"), "flagmw[valkey]"),
        ("valkey", ("doctor",), "flagmw[valkey]"),
        ("defusedxml", ("adobe", "--help"), "flagmw[admin]"),
    ],
)
def test_missing_extra_is_named(library: str, arguments: tuple[str, ...], extra: str, tmp_path: Path) -> None:
    """Without a library the command says what to install, without a traceback."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "300", **STATIC}
    environ["FLAGMW_OUTBOX"] = f"valkey://127.0.0.1:{free_port()}/0?dir={tmp_path}"
    code = f"import sys; sys.modules[{library!r}] = None\nfrom flagmw.cli import main\nmain()"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], env=environ, capture_output=True, text=True, cwd=tmp_path, timeout=60
    )
    if library == "defusedxml" and done.returncode == 0:
        return  # the help needs none of it
    assert done.returncode != 0, done
    assert extra in done.stdout + done.stderr and "Traceback" not in done.stderr, done
