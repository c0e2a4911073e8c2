"""`flagmw override mint`: what it prints works on the site it names, and nowhere else."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from flagmw._support.tokens import Keys
from flagmw._web.overrides import Override, read
from flagmw.cli.main import app

KEY = "tests-only-0123456789-abcdefghijklmnopq"
CONFIG = f"""
overrides = true
signing_keys = ["{KEY}"]
outbox = "memory://"

[[vendors]]
type = "static"
flags = {{ ta_A = "b" }}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "flagmw.toml"
    path.write_text(CONFIG)
    return path


def run(config: Path, *arguments: str) -> Any:
    return CliRunner().invoke(app, ["override", "mint", *arguments, "--config", str(config)])


def test_mint(config: Path) -> None:
    """The token of the link holds what was chosen, for this host, for eight hours."""
    done = run(config, "https://www.mysite.com/checkout?a=1", "-f", "ta_A=b", "-f", "ta_B=c", "--staging", "--json")
    assert done.exit_code == 0, done.output
    shown = json.loads(done.output)
    link, token = shown["link"].split("&flagmw_override=")
    assert link == "https://www.mysite.com/checkout?a=1"
    assert shown["cookie"] == f"flagmw_override={token}"
    assert shown["header"] == f"Flagmw-Override: {token}"
    assert shown["off"] == "https://www.mysite.com/checkout?a=1&flagmw_override=off"
    found = read(token, Keys([KEY]), "www.mysite.com", time.time(), unsigned=False)
    assert isinstance(found, Override)
    assert (found.variants, found.staging) == ({"ta_A": "b", "ta_B": "c"}, True)
    assert abs(found.until - time.time() - 8 * 3600) < 10
    assert not isinstance(read(token, Keys([KEY]), "shop.mysite.com", time.time(), unsigned=False), Override)


@pytest.mark.parametrize(
    ("arguments", "cure"),
    [
        (["/checkout", "-f", "ta_A=b"], "names no host"),
        (["https://www.mysite.com/"], "needs a variant"),
        (["https://www.mysite.com/", "-f", "ta_A"], "alias=variant"),
        (["https://www.mysite.com/", "-f", "ta_A=b", "--hours", "0"], "lives between"),
        (["https://www.mysite.com/", "--preview", "adobe={}"], "there are: static"),
        (["https://www.mysite.com/", "--preview", "static=[]"], "JSON object"),
        (["https://www.mysite.com/", *(part for n in range(51) for part in ("-f", f"a{n}=b"))], "at most 50"),
    ],
)
def test_what_cannot_be_minted(config: Path, arguments: list[str], cure: str) -> None:
    done = run(config, *arguments)
    assert done.exit_code == 2
    assert cure in done.output
    assert KEY not in done.output


@pytest.mark.parametrize(("line", "cure"), [('signing_keys = ["', "signed"), ("overrides = true", "overrides = true")])
def test_site_that_takes_none(config: Path, line: str, cure: str) -> None:
    """It says what the configuration lacks."""
    config.write_text("\n".join(kept for kept in CONFIG.splitlines() if not kept.startswith((line, "overrides"))))
    done = run(config, "https://www.mysite.com/", "-f", "ta_A=b")
    assert done.exit_code == 2
    assert cure in done.output
