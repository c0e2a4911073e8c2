"""What Monetate's clients show, and what the reference says of it."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from flagmw.admin import AsyncMonetateAdmin, GivenToken, MonetateAdmin
from flagmw.admin.flow.operation import Resource
from flagmw.admin.monetate.client import MonetateCore, MonetateOptions
from flagmw.admin.monetate.endpoints import ENDPOINTS
from tests.project import monetate_reference as reference
from tests.project.admin_reference import methods


@pytest.mark.parametrize("name", reference.PAGES)
def test_page_is_current(name: str) -> None:
    """A page is what the code makes of it."""
    written = (reference.FOLDER / name).read_text("utf-8")
    assert written == reference.PAGES[name](), "run: python -m tests.project.monetate_reference"


def test_every_endpoint_is_a_method() -> None:
    """And every method says what it does."""
    found = {f"{name}.{key}": member for name, resource in reference.resources() for key, member in methods(resource)}
    assert set(ENDPOINTS) - {"auth.refresh"} <= set(found)
    assert [name for name, member in found.items() if not (member.__doc__ or "").strip()] == []


def test_both_clients_are_alike() -> None:
    """They have the same resources and take the same options."""

    def names(client: Any) -> set[str]:
        return {name for name, value in vars(client).items() if isinstance(value, Resource)}

    options: dict[str, Any] = {"retailer": "acme", "auth": GivenToken("t", scheme="Token")}
    assert names(MonetateAdmin(**options)) == names(AsyncMonetateAdmin(**options)) != set()
    known = {name for name, one in inspect.signature(MonetateCore).parameters.items() if one.kind is one.KEYWORD_ONLY}
    assert known == set(MonetateOptions.__annotations__)
