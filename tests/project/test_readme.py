"""The examples of the documentation run.

A fenced block of Python is executed, in the order of the file and in one namespace per file. A comment on the line
before it changes that:

    <!-- not-run -->                      it is only compiled
    <!-- runs: environment NAME ... -->   these environment variables are set for it
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flagmw import Flagmw

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]
SAMPLE_TOKEN = "7a32f9364bd1ea68668a0e50bd815e79109a03720951"

_BLOCK = re.compile(
    r"^(?:<!--[ ]*(?P<note>[^\n]*?)[ ]*-->\n)?(?P<fence>```+)(?P<language>\w+)[^\n]*\n(?P<code>.*?)^(?P=fence)$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its code, the line of its first line, and the comment before it."""

    language: str
    code: str
    line: int
    note: str

    @property
    def environment(self) -> list[str]:
        found = re.fullmatch(r"runs: environment (.+)", self.note)
        return found[1].split() if found else []


def blocks(page: Path, language: str) -> list[Block]:
    """Return the blocks of *language* in *page*."""
    assert page.is_file(), f"{page.relative_to(ROOT)} is missing: the examples in it are what this test runs"
    text = page.read_text("utf-8")
    return [
        Block(found["language"], found["code"], text.count("\n", 0, found.start("code")) + 1, found["note"] or "")
        for found in _BLOCK.finditer(text)
        if found["language"] == language
    ]


def compiled(page: Path, block: Block) -> Any:
    # Padded, so that an error names the line of the page.
    return compile("\n" * (block.line - 1) + block.code, str(page.relative_to(ROOT)), "exec")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_examples_run(page: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every Python example does what it says, asserts included."""
    found = blocks(page, "python")
    namespace: dict[str, Any] = {"__name__": "example"}
    monkeypatch.chdir(tmp_path)
    made: list[Flagmw] = []
    try:
        for block in found:
            code = compiled(page, block)
            if block.note == "not-run":
                continue
            for name in block.environment:
                monkeypatch.setenv(name, SAMPLE_TOKEN)
            exec(code, namespace)
            made += [value for value in namespace.values() if isinstance(value, Flagmw)]
    finally:
        for fm in made:
            fm.close(1.0)
    if page == README:
        assert found, "README.md has no Python example"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_toml_examples_parse(page: Path) -> None:
    """Every TOML example is TOML."""
    for block in blocks(page, "toml"):
        tomllib.loads(block.code)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Files that the page links to or names as a path of the project exist."""
    assert page.is_file(), f"{page.relative_to(ROOT)} is missing"
    text = page.read_text("utf-8")
    linked = [target.partition("#")[0] for target in re.findall(r"\]\((?!https?:|mailto:)([^)\s]+)\)", text)]
    missing = [target for target in linked if target and not (page.parent / target).exists()]
    assert missing == []
