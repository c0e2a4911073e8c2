"""One command line for each method of Adobe Target's client."""

from __future__ import annotations

import json
from typing import Any

from tests.sandbox.adobe_admin.boxed import MBOX, activity

RULE = {"and": [{"profile": "memberLevel", "equals": ["gold"]}]}
AB = json.dumps(activity())
XT = json.dumps({**activity(), "experiences": [{**activity()["experiences"][0], "visitorPercentage": 100}]})
AP = json.dumps({"name": "Personal", "targetedExperience": {"modelProvider": "target"}})
OFFER = json.dumps({"name": "Spring", "content": "<b>Spring</b>"})
JSON_OFFER = json.dumps({"name": "Spring", "content": {"price": 9}})
AUDIENCE = json.dumps({"name": "Gold", "targetRule": RULE})
PROPERTY = json.dumps({"name": "Shop", "channel": "web"})
BATCH = json.dumps({"operations": [{"operationId": 1, "method": "GET", "relativeUrl": "/v2/offers/content/1"}]})
ROWS = "pcId,color\nd1,red\n"

# By the client's method: the words after `flagmw adobe`, and standard input.
SAMPLES: dict[str, tuple[list[Any], str]] = {
    "activities.list": (["activities", "list", "--state", "approved"], ""),
    "activities.set_name": (["activities", "name", 12, "Other"], ""),
    "activities.set_state": (["activities", "state", 12, "approved"], ""),
    "activities.set_priority": (["activities", "priority", 12, 7], ""),
    "activities.set_schedule": (["activities", "schedule", 12, "2026-01-01", "2026-06-30"], ""),
    "activities.changelog": (["activities", "changelog", 12], ""),
    "offers.list": (["offers", "list", "--name", "Spring"], ""),
    "audiences.list": (["audiences", "list"], ""),
    "audiences.get": (["audiences", "get", 12], ""),
    "audiences.create": (["audiences", "create", "-"], AUDIENCE),
    "audiences.update": (["audiences", "update", 12, "-"], AUDIENCE),
    "audiences.move": (["audiences", "move", 12, "7654321"], ""),
    "audiences.delete": (["audiences", "delete", 12], ""),
    "properties.list": (["properties", "list"], ""),
    "properties.get": (["properties", "get", 12], ""),
    "properties.create": (["properties", "create", "-"], PROPERTY),
    "properties.update": (["properties", "update", 12, "-"], PROPERTY),
    "properties.delete": (["properties", "delete", 12], ""),
    "mboxes.list": (["mboxes", "list"], ""),
    "mboxes.parameters": (["mboxes", "parameters", MBOX], ""),
    "profile_attributes.list": (["profile-attributes"], ""),
    "environments.list": (["environments"], ""),
    "batch.run": (["batch", "-"], BATCH),
    "tokens.get": (["token", "get", "--scope", "profile_api"], ""),
    "tokens.create": (["token", "create"], ""),
    "response_tokens.list": (["response-tokens", "list"], ""),
    "response_tokens.create": (["response-tokens", "create", "profile.memberLevel", "SCRIPT"], ""),
    "response_tokens.delete": (["response-tokens", "delete", 12], ""),
    "profiles.fetch": (["profiles", "get", "d1"], ""),
    "profiles.fetch_by_third_party_id": (["profiles", "get", "user-1", "--by", "third-party-id"], ""),
    "profiles.fetch_by_ecid": (["profiles", "get", "ecid-1", "--by", "ecid"], ""),
    "profiles.update": (["profiles", "update", "color=red", "--tnt-id", "d1"], ""),
    "profiles.bulk_update": (["profiles", "bulk", "-", "--format", "csv"], ROWS),
}
for _kind, _options in (
    ("ab", []),
    ("xt", ["--kind", "xt"]),
    ("auto_allocate", ["--kind", "auto-allocate"]),
    ("ap", ["--kind", "ap"]),
):
    _body = {"ap": AP, "xt": XT}.get(_kind, AB)
    _of = f"activities.{_kind}"
    SAMPLES |= {
        f"{_of}.get": (["activities", "get", 12, *_options], ""),
        f"{_of}.create": (["activities", "create", "-", *_options], _body),
        f"{_of}.update": (["activities", "update", 12, "-", *_options], _body),
        f"{_of}.delete": (["activities", "delete", 12, *_options], ""),
        f"{_of}.qa_links": (["activities", "qa-links", 12, "https://shop.example/", *_options], ""),
    }
    if _kind != "auto_allocate":
        SAMPLES |= {
            f"reports.{_kind}.performance": (["activities", "report", 12, *_options], ""),
            f"reports.{_kind}.orders": (["activities", "orders", 12, *_options], ""),
        }
for _kind, _options, _body in (("content", [], OFFER), ("json", ["--kind", "json"], JSON_OFFER)):
    SAMPLES |= {
        f"offers.{_kind}.get": (["offers", "get", 12, *_options], ""),
        f"offers.{_kind}.create": (["offers", "create", "-", *_options], _body),
        f"offers.{_kind}.update": (["offers", "update", 12, "-", *_options], _body),
        f"offers.{_kind}.delete": (["offers", "delete", 12, *_options], ""),
    }
