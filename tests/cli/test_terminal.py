"""What vendors, visitors and files say reaches a terminal as text: no markup, no commands to the terminal."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from flagmw.cli.text import say, say_json, shown
from tests.cli.conftest import Run

EVIL = "\x1b[31m\x1b]0;title\x07\x9b2J\r\n\x08\x7f\u202e\u2028\u200b\ud800"
MARKUP = ["[red]x[/red]", "[/]", "[link=https://evil.example]x[/link]", "[bold", "\\[x]", "x\\", ":smile:", "[/red]"]


@pytest.mark.parametrize("char", [char for char in EVIL if not char.isprintable()])
def test_characters_that_are_written_out(char: str) -> None:
    """Controls, invisible characters and halves of pairs are shown as such."""
    written = shown(f"a{char}b")
    assert written.isascii() and written.isprintable()
    assert written.startswith("a\\") and written.endswith("b")


@pytest.mark.parametrize("text", ["plain", "Grün 色 🙂", "a b", *MARKUP])
def test_text_that_stays(text: str) -> None:
    """Everything that is simply seen."""
    assert shown(text) == text


def test_say_keeps_its_own_lines_and_fits_the_terminal() -> None:
    """A report of several lines stays one, on a terminal of any encoding."""
    raw = io.BytesIO()
    terminal = io.TextIOWrapper(raw, "latin-1", newline="")
    say("one\ntwo \x1b ü 色", terminal)
    assert raw.getvalue() == b"one\ntwo \\x1b \xfc \\u8272\n"


def test_json_is_plain(capsys: pytest.CaptureFixture[str]) -> None:
    """It is ASCII without controls, and reads back the same."""
    say_json({"a": EVIL}, indent=None)
    out = capsys.readouterr().out
    assert out.strip().isprintable() and out.isascii()
    assert json.loads(out) == {"a": EVIL}


@pytest.mark.parametrize("text", MARKUP)
def test_aliases_and_variants_in_a_table(run: Run, text: str) -> None:
    """`decide` shows what vendors named, whatever that looks like to the library that draws the table."""
    Path("flags.json").write_text(json.dumps({"flags": {text: text, "ta_Other": "x"}}))
    Path("flagmw.toml").write_text('[[vendors]]\ntype = "static"\npath = "flags.json"\n')
    done = run("decide", "https://www.mysite.com/")
    assert done.code == 0
    assert done.out.count(text) == 2


def test_shadow_report_of_odd_names(run: Run) -> None:
    """A report's file is data, too: names of vendors, aliases and variants are shown as they are."""
    pair = {"served": f"[red]{EVIL}", "shadow": "[/]", "count": 1}
    row = {"same": 0, "differs": 1, "missing": 0, "pairs": [pair]}
    told: dict[str, Any] = {"asked": 1, "failed": {}, "aliases": {f"[blink]a{EVIL}": row}}
    process = {"since": 0, "until": 1, "vendors": {"[bold]v\x1b": told}}
    document = {"flagmw_shadow": 1, "processes": {"1": process}}
    Path("report.json").write_text(json.dumps(document))
    done = run("shadow", "report", "report.json")
    assert done.code == 0
    assert all(line.isprintable() for line in done.out.splitlines())
    assert all(text in done.out for text in ("[bold]v\\x1b: asked 1 times", "[blink]a\\x1b", "[red]\\x1b", "[/] (1)"))


@pytest.mark.parametrize("name", ["[red]x.toml", "[bold.toml", "x\x1b[31m.toml", "x\r\ny.toml"])
def test_paths_in_errors(run: Run, name: str) -> None:
    """A file's name is text in an error as well, for files that are there and for those that are not."""
    outcomes = [run("decide", "https://www.mysite.com/", "--config", name)]
    Path(name).write_text("vendors = []\n")
    outcomes.append(run("decide", "https://www.mysite.com/", "--config", name))
    for done in outcomes:
        assert done.code == 2
        assert done.err.startswith("flagmw: ")
        assert all(line.isprintable() for line in done.err.splitlines())
        assert shown(name) in done.err or shown(repr(name)[1:-1]) in done.err


def test_cookies_that_are_no_pair(run: Run) -> None:
    """Nor is an argument that is quoted back a command."""
    Path("flagmw.toml").write_text('[[vendors]]\ntype = "static"\nflags = {ta_A = "b"}\n')
    done = run("decide", "https://www.mysite.com/", "--data", "[red]\x1b[31mx")
    assert done.code == 2
    assert "[red]\\x1b[31mx" in done.err
