"""The commands in the documentation do what they say."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from flagmw.sandbox import SandboxServer
from tests.cli.admin.conftest import Typed
from tests.project.test_readme import ROOT, blocks

PAGES = ("docs/managing-adobe-target.md",)
NOTE = "runs: on the sandbox"


@pytest.mark.parametrize("page", PAGES)
def test_commands_run(adobe: Typed, page: str) -> None:
    """Every line of a block that is marked runs: commands here, what makes their input in a shell."""
    run_lines(adobe, page)


def test_commands_of_contentstack_run(bare: Typed) -> None:
    """So do those of Contentstack, whose uids are those of the sandbox's scenario."""
    with SandboxServer("contentstack", seed=7) as box:
        bare.always = ["--sandbox", box.url]
        run_lines(bare, "docs/managing-contentstack.md")


def run_lines(typed: Typed, page: str) -> None:
    """Run each line of the page's marked blocks."""
    found = [block for block in blocks(ROOT / page, "sh") if block.note == NOTE]
    assert found
    for line in [line for block in found for line in block.code.splitlines() if line.strip()]:
        words = line
        stdin = b""
        if not line.startswith("flagmw "):
            made, _, words = line.partition(" | flagmw ")
            stdin = subprocess.run(made, shell=True, capture_output=True, check=True, timeout=20, cwd=Path.cwd()).stdout
        if words:
            done = typed(*shlex.split(words.removeprefix("flagmw ")), stdin=stdin)
            assert done.code == 0, f"{line}\n{done.err}"
            assert done.out


@pytest.mark.parametrize("page", [*PAGES, "docs/managing-contentstack.md", "docs/management-commands.md"])
def test_blocks_of_commands_are_marked(page: str) -> None:
    """A block with a management command is one that runs."""
    unmarked = [
        block.line
        for block in blocks(ROOT / page, "sh")
        if "flagmw adobe" in block.code or "flagmw contentstack" in block.code
        if block.note != NOTE
    ]
    assert unmarked == []
