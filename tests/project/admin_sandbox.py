"""The page of Adobe Target's endpoints: the call, what the sandbox answers, and the tests of both.

    python -m tests.project.admin_sandbox

writes it anew. `tests/sandbox/adobe_admin/test_table.py` fails while the page differs from the code.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from flagmw.admin.adobe.endpoints import ENDPOINTS, PROFILE_ENDPOINTS
from flagmw.cli.adobe.app import commands
from flagmw.sandbox.adobe_admin.call import ApiRoute
from flagmw.sandbox.adobe_admin.table import ENDPOINTS as SERVED

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "adobe-target-endpoints.md"
TESTS = ROOT / "tests"
HEAD = """# Adobe Target: every endpoint

Written by `python -m tests.project.admin_sandbox` from the code. Endpoints of the Admin API are below
`/{tenant}/target`. Each row has the endpoint, the client's method, the [command](commands-adobe.md) after
`flagmw adobe`, the answer of the [sandbox](../sandbox.md) with its schema in `GET /openapi`, and the tests:

- **operations**: `tests/sandbox/adobe_admin/test_operations.py`, both clients; statuses and schemas are those below.
- **sample**: `tests/sandbox/adobe_admin/test_samples.py`, the request that Adobe's page prints.
- **command**: `tests/cli/admin/test_adobe_requests.py`, whose dry run makes this request, and
  `tests/cli/admin/test_adobe_commands.py` on the sandbox.
- **judge**: `tests/contracts/vendors/official_clients/check_admin.py`, the method of Adobe's own client
  (`make official-clients`).

"#" is the endpoint's place in Adobe's page "Admin and Profile APIs"; without one it is in Adobe's published OpenAPI
description alone. With `legacy_200` the sandbox answers 200 instead of 201, as that page has it.
"""
PROFILES = """
## Profile API

The answers and their tests are in `tests/sandbox/adobe_admin/test_profiles.py`, and each call in **operations**.

| endpoint | call | command | sandbox's answer |
|---|---|---|---|
"""
PROFILE_ANSWERS = {
    "profiles.fetch": "200 JSON, 404 JSON",
    "profiles.fetch_by_third_party_id": "200 JSON, 404 JSON",
    "profiles.fetch_by_ecid": "200 JSON, 404 JSON",
    "profiles.update": "200 XML, 413 above 8 kB (GET) or 60 kB (POST)",
    "profiles.bulk_update": "200 XML with the address of the state, 413 above 50 MB",
    "profiles.bulk_status": "200 XML: incomplete, then complete after `bulk_s` seconds",
}


def page() -> str:
    """Return the page."""
    titles = ("#", "endpoint", "version", "call", "command", "sandbox's answer", "tests")
    lines = [HEAD, f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    lines += [row(name) for name in ENDPOINTS]
    profiles = [
        f"| {_code(' or '.join(one.methods) + ' ' + one.path)} | {_code(name)} | {_code(command_of(name))} "
        f"| {PROFILE_ANSWERS[name]} |"
        for name, one in PROFILE_ENDPOINTS.items()
    ]
    return "\n".join(lines) + "\n" + PROFILES + "\n".join(profiles) + "\n"


def row(name: str) -> str:
    """Return the row of one of the client's endpoints."""
    endpoint = ENDPOINTS[name]
    served = served_by(name)
    version = f"v{endpoint.version}" if endpoint.version else "JSON"
    listed = f", list of {_code(served.answer)}" if served.collection else f" {_code(served.answer)}"
    answer = f"{201 if served.creates else 200}{listed}"
    where = _code(f"{endpoint.method} {endpoint.path}")
    parts = (endpoint.number or "", where, version, _code(name), _code(command_of(name)), answer)
    return f"| {' | '.join(map(str, parts))} | {', '.join(tests_of(name))} |"


def command_of(name: str) -> str:
    """Return the command that calls one of the client's endpoints, with the options that make it do so."""
    found = next((one for one in commands.registered if name in one.calls), None)
    assert found is not None, f"no command calls {name}"
    return f"{found.words.removeprefix('flagmw adobe ')} {found.calls[name]}".strip()


def served_by(name: str) -> ApiRoute:
    """Return the sandbox's endpoint for one of the client's."""
    endpoint = ENDPOINTS[name]
    return next(one for one in SERVED if (one.method, one.path) == (endpoint.method, endpoint.path))


def tests_of(name: str) -> Iterator[str]:
    """Yield the tests of an endpoint."""
    yield "operations"
    yield "command"
    if any((TESTS / "samples" / "adobe_admin" / f"{name}{more}" / "call.json").exists() for more in ("", "_profile")):
        yield "sample"
    method = JUDGED.get(name)
    if method is not None:
        yield f"judge {_code(method)}"


# By the client's method: that of Adobe's own client.
JUDGED = {
    "activities.list": "getActivities", "activities.ab.get": "getABActivityById",
    "activities.ab.create": "createABActivity", "activities.ab.update": "updateABActivity",
    "activities.ab.delete": "deleteABActivity", "activities.xt.get": "getXTActivityById",
    "activities.xt.create": "createXTActivity", "activities.xt.update": "updateXTActivity",
    "activities.xt.delete": "deleteXTActivity", "activities.set_name": "setActivityName",
    "activities.set_state": "setActivityState", "activities.set_priority": "setActivityPriority",
    "activities.set_schedule": "setActivitySchedule", "activities.changelog": "getActivityChangeLog",
    "offers.list": "getOffers", "offers.content.get": "getOfferById", "offers.content.create": "createOffer",
    "offers.content.update": "updateOffer", "offers.content.delete": "deleteOffer", "audiences.list": "getAudiences",
    "audiences.get": "getAudienceById", "audiences.create": "createAudience", "audiences.update": "updateAudience",
    "audiences.delete": "deleteAudience", "properties.list": "getProperties", "properties.get": "getPropertyById",
    "reports.ab.performance": "getABActivityPerformance", "reports.xt.performance": "getXTActivityPerformance",
    "reports.ap.performance": "getActivityPerformance", "reports.ab.orders": "getOrdersReport",
    "mboxes.list": "getMBoxes", "mboxes.parameters": "getMBoxByName",
    "profile_attributes.list": "getMBoxProfileAttributes", "environments.list": "getEnvironments",
    "batch.run": "executeBatch",
}  # fmt: skip


def judged() -> set[str]:
    """Return the methods of Adobe's client that the judge calls, by its source."""
    source = (TESTS / "contracts" / "vendors" / "official_clients" / "check_admin.py").read_text("utf-8")
    table = source.partition("OPERATIONS = {")[2].partition("}")[0]
    return set(re.findall(r'"(\w+)": "\w+"', table))


def _code(text: str) -> str:
    return f"`{text}`"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
    sys.stdout.write(f"{PAGE}\n")
