"""What the clients for Contentstack show, and what the reference says of them."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from flagmw.admin import AsyncContentstackAdmin, ContentstackAdmin
from flagmw.admin.contentstack.client import ClientOptions, ContentstackCore
from flagmw.admin.contentstack.endpoints import ENDPOINTS
from flagmw.admin.flow.operation import Resource
from tests.project import contentstack_reference as reference


@pytest.mark.parametrize("name", reference.PAGES)
def test_page_is_current(name: str) -> None:
    """A page of the reference is what the code makes of it."""
    written = (reference.FOLDER / name).read_text("utf-8")
    assert written == reference.PAGES[name](), "run: python -m tests.project.contentstack_reference"


def test_every_endpoint_is_a_method() -> None:
    """Each endpoint is a method of the same name, and each method says what it does."""
    found = {
        f"{name}.{key}": member
        for name, resource in reference.resources()
        for key, member in reference.methods(resource)
    }
    assert set(ENDPOINTS) <= set(found)
    assert [name for name, member in found.items() if not (member.__doc__ or "").strip()] == []


def test_both_clients_are_alike() -> None:
    """What one client has the other has, and their options are those that the types name."""

    def names(client: Any) -> set[str]:
        return {name for name, value in vars(client).items() if isinstance(value, Resource)}

    project = "0" * 24
    assert (
        names(ContentstackAdmin(project, lambda: "t")) == names(AsyncContentstackAdmin(project, lambda: "t")) != set()
    )
    parameters = inspect.signature(ContentstackCore).parameters
    known = {name for name, one in parameters.items() if one.kind is one.KEYWORD_ONLY}
    assert known == set(ClientOptions.__annotations__)
