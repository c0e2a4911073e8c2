"""Clients of the sandbox's management side of Monetate, and a check of answers by its own description."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from flagmw.admin import AsyncMonetateAdmin, MonetateAdmin, MonetateKey
from flagmw.sandbox import SandboxServer, Scenario, load_scenario

NEW_YEAR = 1_767_225_600.0  # of 2026
RETAILER, USER = "acme", "api-111-demo"


class Clock:
    """The time of sandbox and clients; it passes when somebody sleeps."""

    def __init__(self) -> None:
        self.now = NEW_YEAR

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    async def asleep(self, seconds: float) -> None:
        self.now += seconds


@cache
def _key(number: int) -> Any:
    return generate_private_key(public_exponent=65537, key_size=2048)


def private_pem(number: int = 0, passphrase: str | None = None) -> bytes:
    """Return the PEM of a private key; the same one for the same number."""
    lock = NoEncryption() if passphrase is None else BestAvailableEncryption(passphrase.encode())
    pem: bytes = _key(number).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, lock)
    return pem


def public_pem(number: int = 0) -> str:
    """Return the PEM of the public key of `private_pem(number)`."""
    pem: bytes = _key(number).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem.decode()


CUSTOMERS = {
    "id": 1001,
    "name": "customers",
    "fields": {
        "customer_id": {"data_type": "STRING", "identifier": True, "unique_key": True, "required": True},
        "loyalty": {"data_type": "STRING"},
        "points": {"data_type": "NUMBER"},
        "vip": {"data_type": "BOOLEAN"},
        "seen_at": {"data_type": "DATETIME"},
        "tags": {"data_type": "MULTI_STRING"},
    },
    "named_identifier": "customer",
}
VISITS = {
    "id": 1002,
    "name": "visits",
    "type": "event",
    "fields": {
        "customer_id": {"data_type": "STRING", "identifier": True},
        "at": {"data_type": "DATETIME", "event_time": True},
    },
}
PRODUCTS = {"id": 1003, "name": "products", "type": "product", "fields": {"id": {"data_type": "STRING"}}}


def scenario(**admin: Any) -> Scenario:
    """Return the shipped scenario of Monetate, its management set up as given."""
    shape = load_scenario("monetate").to_mapping()
    users = [{"username": USER, "public_key": public_pem()}]
    given = {
        "users": users,
        "datasets": [CUSTOMERS, VISITS, PRODUCTS],
        "page_events": [{"id": 132, "title": "Added to cart"}, {"id": 133, "title": "Signed up"}],
        "custom_targets": [{"id": 7, "title": "Weather", "description": "Today's", "collects_person_id": True}],
    }
    shape["monetate"][0]["admin"] = {**given, **admin}
    return Scenario.from_mapping(shape)


def key(server: SandboxServer, clock: Any, **more: Any) -> MonetateKey:
    """Return the sandbox's own API user."""
    given = {"private_key": private_pem(), "base_url": server.url, "clock": clock, **more}
    return MonetateKey(given.pop("username", USER), **given)


def admin(server: SandboxServer, clock: Clock, **more: Any) -> MonetateAdmin:
    """Return a blocking client."""
    given = {"auth": key(server, clock), "base_url": server.url, "clock": clock, **more}
    return MonetateAdmin(given.pop("retailer", RETAILER), **given, sleep=clock.sleep)


def async_admin(server: SandboxServer, clock: Clock, **more: Any) -> AsyncMonetateAdmin:
    """Return an asynchronous client."""
    given = {"auth": key(server, clock), "base_url": server.url, "clock": clock, **more}
    return AsyncMonetateAdmin(given.pop("retailer", RETAILER), **given, sleep=clock.asleep)


def problems(document: Mapping[str, Any], schema: Mapping[str, Any], value: Any, where: str = "$") -> list[str]:
    """Return where *value* differs from *schema* of the description *document*."""
    if "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        return problems(document, document["components"]["schemas"][name], value, where)
    types = schema.get("type", [])
    types = [types] if isinstance(types, str) else types
    kinds: dict[str, Any] = {
        "string": str, "integer": int, "number": int | float, "boolean": bool, "array": list, "object": dict,
        "null": type(None),
    }  # fmt: skip
    if types and not any(isinstance(value, kinds[one]) for one in types):
        return [f"{where} is {value!r}, not {types}"]
    found = []
    if isinstance(value, dict):
        found += [f"{where} has no {name}" for name in schema.get("required", ()) if name not in value]
        extra = schema.get("additionalProperties")
        for name, one in value.items():
            inner = schema.get("properties", {}).get(name, extra)
            if inner is None and "properties" in schema and schema["properties"]:
                found.append(f"{where}.{name} is not described")
            elif inner is not None:
                found += problems(document, inner, one, f"{where}.{name}")
    if isinstance(value, list):
        for number, one in enumerate(value):
            found += problems(document, schema.get("items", {}), one, f"{where}[{number}]")
    return found
