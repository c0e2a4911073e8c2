"""What the stub answers: one fixed body for the protocol of each vendor that a benchmark talks to.

Written from the vendors' public descriptions of their answers; every flag is called `checkout` or `ta_A`.
"""

from __future__ import annotations

import json
from typing import Any

FLAG = "checkout"


def _project(alias: str, number: int, domain: int) -> dict[str, Any]:
    control, user = f"_wt.control-{domain}-{alias}", f"_wt.user-{domain}"
    cookie = {"timeout": 7776000000, "type": "persisted", "value": "WT3" + "a" * 196 + "~"}
    return {
        "body": {
            "cookies": {control: cookie, user: cookie, f"_wt.mode-{domain}": cookie},
            "factors": [{"name": "#hero", "operation": 3, "value": "variation"}],
        },
        "opcode": "process",
        "opstatus": "success",
        "params": {
            "testAlias": alias,
            "r_experimentID": number + 3,
            "r_runID": number + 2,
            "r_testID": number + 1,
            "r_type": "AB",
            "r_typeDesc": "A/B test " * 40,
            "cookieDomain": ".mysite.com",
        },
    }


def webtrends(domain: int, projects: int = 2) -> list[dict[str, Any]]:
    """Return the answer of the OTS REST API's `control`: a list of projects."""
    return [_project(f"ta_{chr(65 + n) if n < 26 else n}", n * 10 + 1, domain) for n in range(projects)]


POSTHOG = {
    "flags": {
        FLAG: {
            "key": FLAG,
            "enabled": True,
            "variant": "variation",
            "reason": {"code": "condition_match", "condition_index": 0, "description": "Matched condition set 1"},
            "metadata": {"id": 1, "version": 1, "payload": None},
        }
    },
    "errorsWhileComputingFlags": False,
    "requestId": "0f801b5b-0776-42ca-b0f7-8375c95730bf",
}

GROWTHBOOK = {"status": 200, "features": {FLAG: {"defaultValue": "variation"}}, "experiments": []}

AMPLITUDE = {FLAG: {"key": "variation", "value": "variation", "payload": None}}

FLAGSMITH = {
    "identifier": "visitor",
    "traits": [],
    "flags": [
        {
            "feature": {"id": 1, "name": FLAG, "type": "STANDARD"},
            "enabled": True,
            "feature_state_value": "variation",
        }
    ],
}

OFREP = {"key": FLAG, "value": "variation", "variant": "variation", "reason": "TARGETING_MATCH", "metadata": {}}

DEVCYCLE = {"_id": "5f", "key": FLAG, "type": "String", "value": "variation"}

TARGET = {
    "status": 200,
    "requestId": "0f801b5b",
    "client": "acme",
    "id": {"tntId": "abc.35_0"},
    "edgeHost": "",
    "execute": {
        "mboxes": [{"index": 0, "name": FLAG, "options": [{"type": "json", "content": {"variant": "variation"}}]}]
    },
}

DOMAINS = (11, 12, 13)
# The longest beginning of a path that fits decides.
_BY_PATH: dict[str, Any] = {
    "/flags": POSTHOG,
    "/decide": POSTHOG,
    "/batch": {"status": 1},
    "/api/eval": GROWTHBOOK,
    "/sdk/v2/vardata": AMPLITUDE,
    "/api/v1/identities": FLAGSMITH,
    "/ofrep/v1/evaluate/flags": OFREP,
    "/rest/v1/delivery": TARGET,
    "/v1/variables": DEVCYCLE,
    **{f"/control/{domain}": webtrends(domain) for domain in DOMAINS},
    "/": {},
}


def encoded() -> list[tuple[bytes, bytes]]:
    """Return (beginning of the path, whole HTTP answer), the longest beginning first."""
    rows = []
    for path, answer in sorted(_BY_PATH.items(), key=lambda row: -len(row[0])):
        body = json.dumps(answer).encode()
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
        rows.append((path.encode(), head + body))
    return rows
