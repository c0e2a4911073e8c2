"""Clients of the sandbox's Admin API, bodies to send, and a check of answers by the sandbox's own description."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flagmw.admin import AdobeAdmin, AsyncAdobeAdmin, OAuthServerToServer
from flagmw.sandbox import SandboxServer, Scenario, load_scenario

NEW_YEAR = 1_767_225_600.0  # of 2026
TENANT, CLIENT = "acme", "demo"
MBOX, GOAL = "ta_Offer", "order-complete"


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


def scenario(**admin: Any) -> Scenario:
    """Return the shipped scenario of Adobe Target, its management set up as given."""
    shape = load_scenario("adobe").to_mapping()
    shape["adobe"][0]["admin"] = {"tenant": TENANT, "calls_per_minute": 0, **admin}
    return Scenario.from_mapping(shape)


def credential(server: SandboxServer, clock: Clock, **more: Any) -> OAuthServerToServer:
    """Return the sandbox's own credential."""
    given = {"token_url": f"{server.url}/ims/token/v3", "clock": clock, **more}
    return OAuthServerToServer("sandbox-client", "sandbox-secret", **given)


def options(server: SandboxServer, clock: Clock, **more: Any) -> dict[str, Any]:
    given = {"base_url": server.url, "profile_url": server.url, "client_code": CLIENT, "clock": clock}
    return {"auth": credential(server, clock), **given, **more}


def admin(server: SandboxServer, clock: Clock, **more: Any) -> AdobeAdmin:
    """Return a blocking client."""
    return AdobeAdmin(TENANT, **options(server, clock, **more), sleep=clock.sleep)


def async_admin(server: SandboxServer, clock: Clock, **more: Any) -> AsyncAdobeAdmin:
    """Return an asynchronous client."""
    return AsyncAdobeAdmin(TENANT, **options(server, clock, **more), sleep=clock.asleep)


def activity(offers: tuple[int, ...] = (0,), name: str = "Offer test", **more: Any) -> dict[str, Any]:
    """Return an activity with one experience for each offer."""
    share, rest = divmod(100, len(offers))
    experiences = [
        {
            "experienceLocalId": number,
            "name": "ABC"[number],
            "visitorPercentage": share + (number < rest),
            "offerLocations": [{"locationLocalId": 0, "offerId": offer}],
        }
        for number, offer in enumerate(offers)
    ]
    goal = {
        "metricLocalId": 32767,
        "name": "Orders",
        "conversion": True,
        "mboxes": [{"name": GOAL, "successEvent": "mbox_shown"}],
        "action": {"type": "count_once"},
    }
    return {
        "name": name,
        "locations": {"mboxes": [{"locationLocalId": 0, "name": MBOX}]},
        "experiences": experiences,
        "metrics": [goal],
        **more,
    }


def problems(value: Any, schema: Mapping[str, Any], document: Mapping[str, Any], at: str = "answer") -> list[str]:
    """Return what in *value* is not as *schema*, a schema of *document*, says."""
    if "$ref" in schema:
        return problems(value, document["components"]["schemas"][schema["$ref"].rpartition("/")[2]], document, at)
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(_is(value, kind) for kind in kinds):
        return [f"{at} is {type(value).__name__}, not {kinds}"]
    found = [f"{at}.{name} is missing" for name in schema.get("required", ()) if name not in value]
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{at} is {value!r}")
    if isinstance(value, dict):
        for name, one in value.items():
            inner = schema.get("properties", {}).get(name, schema.get("additionalProperties", {}))
            found += problems(one, inner, document, f"{at}.{name}")
    if isinstance(value, list):
        for number, one in enumerate(value):
            found += problems(one, schema.get("items", {}), document, f"{at}[{number}]")
    return found


def _is(value: Any, kind: str) -> bool:
    types = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "boolean": bool}
    if kind in ("integer", "number") and isinstance(value, bool):
        return False
    return isinstance(value, types[kind])  # type: ignore[arg-type]
