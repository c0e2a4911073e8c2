"""What the stub answers: one fixed body for the protocol of each vendor that a benchmark talks to.

Written from the vendors' public descriptions of their answers; every flag is called `checkout` or `ta_A`.
"""

from __future__ import annotations

import json
from typing import Any

FLAG = "checkout"


def _project(alias: str, number: int) -> dict[str, Any]:
    control, user = f"_wt.control-11-{alias}", "_wt.user-11"
    cookie = {"timeout": 7776000000, "type": "persisted", "value": "WT3" + "a" * 170 + "~"}
    return {
        "body": {
            "cookies": {control: cookie, user: cookie, "_wt.mode-11": cookie},
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


# OTS REST API, control: a list of projects.
WEBTRENDS = [_project("ta_A", 1), _project("ta_B", 11)]

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

# The longest beginning of a path that fits decides; anything else is asked of Webtrends.
_BY_PATH = {
    "/flags": POSTHOG,
    "/decide": POSTHOG,
    "/batch": {"status": 1},
    "/api/eval": GROWTHBOOK,
    "/sdk/v2/vardata": AMPLITUDE,
    "/api/v1/identities": FLAGSMITH,
    "/ofrep/v1/evaluate/flags": OFREP,
    "/rest/v1/delivery": TARGET,
    "/": WEBTRENDS,
}


def encoded() -> list[tuple[bytes, bytes]]:
    """Return (beginning of the path, whole HTTP answer), the longest beginning first."""
    rows = []
    for path, answer in sorted(_BY_PATH.items(), key=lambda row: -len(row[0])):
        body = json.dumps(answer).encode()
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
        rows.append((path.encode(), head + body))
    return rows
