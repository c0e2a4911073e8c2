"""The reference pages agree with the code."""

from __future__ import annotations

import pytest

from flagmw.config import Config
from tests.project import reference


@pytest.mark.parametrize("source", [Config, *reference.VENDORS], ids=lambda source: source.__name__)
def test_every_option_is_described(source: type) -> None:
    """An option without a description, or a description without an option, is an error."""
    assert list(reference.descriptions(source)) == list(reference.defaults(source))


@pytest.mark.parametrize("name", reference.PAGES)
def test_page_is_current(name: str) -> None:
    """A page of the reference is what the code's descriptions make of it."""
    written = (reference.FOLDER / name).read_text("utf-8")
    assert written == reference.PAGES[name](), "run: python -m tests.project.reference"
