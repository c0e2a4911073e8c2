"""What all tests share: a state folder of their own, and the same Hypothesis examples in every run, untimed."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("flagmw", derandomize=True, deadline=None, max_examples=100, print_blob=False)
settings.load_profile("flagmw")


@pytest.fixture(autouse=True, scope="session")
def _state_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Let applications without an `outbox` of their own keep their events in the tests' folder, servers' too."""
    folder = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder))
        yield folder


@pytest.fixture(autouse=True)
def _own_state_folder(_state_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what one test leaves behind from the next one."""
    monkeypatch.setenv("XDG_STATE_HOME", str(_state_folder / uuid.uuid4().hex))
