"""The loop from an attribute to defaults again: commands in this process, shop and sandbox on real sockets."""

from __future__ import annotations

from collections.abc import Sequence

from flagmw.sandbox import SandboxServer
from tests.cli.acceptance.contentstack_loop import Loop
from tests.cli.admin.conftest import Typed, bare

__all__ = ["bare"]


def test_loop(bare: Typed) -> None:
    """Created by command, served by the middleware, converted, counted, paused, resumed, deleted."""
    said: list[str] = []

    def run(words: Sequence[str], stdin: str) -> tuple[int, str]:
        done = bare(*words, stdin=stdin)
        return done.code, done.out + done.err if done.code else done.out

    with SandboxServer("contentstack", seed=7) as box:
        Loop(box, run, said.append).steps()
    assert any("probabilityToBeBest" in line for line in said)
