"""The loop from an audience to defaults again: commands in this process, shop and sandbox on real sockets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from flagmw.sandbox import SandboxServer
from tests.cli.acceptance.adobe_loop import Loop, shop_before
from tests.cli.admin.conftest import Typed, bare

__all__ = ["bare"]


def test_loop(bare: Typed, tmp_path: Path) -> None:
    """Created by command, served by the shop, converted, reported, paused, deleted."""
    said: list[str] = []

    def run(words: Sequence[str], stdin: str) -> tuple[int, str]:
        done = bare(*words, stdin=stdin)
        return done.code, done.out + done.err if done.code else done.out

    with SandboxServer("shop", seed=7) as box, shop_before(box.url, tmp_path) as shop:
        Loop(box.url, shop, run, tmp_path, said.append).steps()
    assert any("total" in line and "100.00 %" in line for line in said)
