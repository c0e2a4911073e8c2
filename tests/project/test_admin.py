"""What the management clients show, and what the reference says of it."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import flagmw.admin
from flagmw.admin import AdobeAdmin, AsyncAdobeAdmin, GivenToken
from flagmw.admin.adobe.client import AdobeCore, ClientOptions
from flagmw.admin.adobe.endpoints import ENDPOINTS, PROFILE_ENDPOINTS
from flagmw.admin.flow.operation import Resource
from tests.project import admin_reference as reference

ROOT = Path(__file__).parents[2]


def test_every_endpoint_of_the_page_has_its_method() -> None:
    """The 36 endpoints of the documentation page are there, in its order, and each endpoint is a method."""
    numbers = [endpoint.number for endpoint in ENDPOINTS.values() if endpoint.number]
    assert numbers == list(range(1, 37))
    found = {f"{name}.{key}" for name, resource in reference.all_resources() for key, _ in reference.methods(resource)}
    assert set(ENDPOINTS) | set(PROFILE_ENDPOINTS) <= found
    assert all(endpoint.version in (0, 1, 2, 3) for endpoint in ENDPOINTS.values())


def test_every_method_is_documented() -> None:
    """Each method and each public name says what it does."""
    bare = [
        f"{name}.{key}"
        for name, resource in reference.all_resources()
        for key, member in reference.methods(resource)
        if not (member.__doc__ or "").strip()
    ]
    bare += [name for name in flagmw.admin.__all__ if not (getattr(flagmw.admin, name).__doc__ or "").strip()]
    assert bare == []


def test_all_names_what_is_there() -> None:
    """`__all__` is in order, and every name in it can be had."""
    assert flagmw.admin.__all__ == sorted(flagmw.admin.__all__)
    assert all(hasattr(flagmw.admin, name) for name in flagmw.admin.__all__)
    with pytest.raises(AttributeError, match="nothing_of_the_kind"):
        flagmw.admin.nothing_of_the_kind  # noqa: B018 - the access is what is tested


def test_both_clients_have_the_same_resources() -> None:
    """What one client has the other has."""

    def names(client: Any) -> set[str]:
        return {name for name, value in vars(client).items() if isinstance(value, Resource)}

    options: dict[str, Any] = {"tenant": "acme", "auth": GivenToken("t"), "api_key": "k"}
    assert names(AdobeAdmin(**options)) == names(AsyncAdobeAdmin(**options)) != set()


def test_both_clients_take_the_same_options() -> None:
    """The options that the clients' types name are those that there are."""
    known = {name for name, one in inspect.signature(AdobeCore).parameters.items() if one.kind is one.KEYWORD_ONLY}
    assert known == set(ClientOptions.__annotations__)
    with pytest.raises(TypeError, match="retries"):
        AdobeAdmin("acme", GivenToken("t"), retries=3)  # type: ignore[call-arg]


def test_methods_show_their_signature() -> None:
    """A method of either client has the signature and the text of the function that it is made from."""
    admin = AdobeAdmin("acme", GivenToken("t"), api_key="k")
    assert str(inspect.signature(admin.activities.set_priority)).startswith("(activity_id: 'int', priority: 'int')")
    assert "0 to 999" in (admin.activities.set_priority.__doc__ or "")


def test_reference_is_that_of_the_code() -> None:
    """The page of operations is what the code says now."""
    assert reference.PAGE.read_text("utf-8") == reference.page(), "run: python -m tests.project.admin_reference"


def test_import_loads_no_http_client() -> None:
    """A client is made without its HTTP library, and errors without anything."""
    code = """
import json, sys
import flagmw
before = [name for name in sys.modules if name.startswith("flagmw.admin")]
from flagmw.admin import AdobeAdmin, GivenToken
AdobeAdmin("acme", GivenToken("t"), api_key="k").offers.content.get.request(1)
heavy = ("httpx", "httpx2", "cryptography", "defusedxml", "limits", "valkey", "jwt")
print(json.dumps([before, [name for name in heavy if name in sys.modules]]))
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [[], []]
