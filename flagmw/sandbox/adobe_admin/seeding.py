"""An account's management side as the scenario describes it."""

from __future__ import annotations

from typing import Any

import orjson

from flagmw.sandbox.adobe.model import TOKENS, Experience, ModelActivity, TargetAccount
from flagmw.sandbox.adobe_admin.dates import stamp
from flagmw.sandbox.adobe_admin.store import AccountStore, Document, ManagedRecord

PRIMARY = 32767
FIRST = {"activity": 310_000, "offer": 391_000, "audience": 1_216_000, "property": 1, "response token": 1}


def seeded(account: TargetAccount, now: float) -> AccountStore:
    """Return a store with what the scenario has: its activities, their offers and audiences, its properties."""
    store = AccountStore(account)
    for token in account.properties:
        own = store.next_id("property", FIRST["property"])
        store.properties[own] = {
            "id": own, "name": f"Property {own}", "description": "", "channel": "web", "segmentId": 410_922 + own,
            "workspaces": [account.admin.workspace], "token": token, "modifiedAt": stamp(now),
        }  # fmt: skip
    for token in account.response_tokens:
        add_response_token(store, token, "BUILT_IN" if token in TOKENS else "SCRIPT", now)
    store.environments = [{"id": 8818 + number, "name": name} for number, name in enumerate(account.admin.environments)]
    first = 1 + max((activity.id for activity in account.activities), default=0)
    store.next_id("activity", max(FIRST["activity"], first) - 1)
    for activity in account.activities:
        _add_activity(store, account, activity, now)
    return store


def add_response_token(store: AccountStore, token: str, type: str, now: float) -> Document:
    """Switch a response token on and return it."""
    own = store.next_id("response token", FIRST["response token"])
    store.response_tokens[own] = {
        "id": own, "token": token, "name": token, "type": type, "active": True, "deletable": True,
        "modifiedAt": stamp(now),
    }  # fmt: skip
    return store.response_tokens[own]


def _add_activity(store: AccountStore, account: TargetAccount, activity: ModelActivity, now: float) -> None:
    audience = _audience(store, account, activity, now)
    place: Document = {"locationLocalId": 0, "name": activity.mbox}
    if audience is not None and activity.kind == "ab":
        place["audienceIds"] = [audience]
    total = sum(one.share for one in activity.experiences)
    experiences: list[Document] = []
    for one in activity.experiences:
        experience: Document = {"experienceLocalId": one.id, "name": one.name}
        if activity.kind == "ab":
            experience["visitorPercentage"] = round(100 * one.share / total)
        elif audience is not None:
            experience["audienceIds"] = [audience]
        offer = _offer(store, account, activity, one, now)
        experience["offerLocations"] = [{"locationLocalId": 0, "offerId": offer}]
        experiences.append(experience)
    if activity.kind == "ab":
        # Rounded shares must make 100 all the same.
        experiences[-1]["visitorPercentage"] += 100 - sum(one["visitorPercentage"] for one in experiences)
    metric = {
        "metricLocalId": PRIMARY,
        "name": "Conversion",
        "conversion": True,
        "mboxes": [{"name": activity.mbox, "successEvent": "mbox_clicked"}],
        "action": {"type": "count_once"},
    }
    body: Document = {
        "name": activity.name,
        "state": "approved",
        "priority": 5,
        "locations": {"mboxes": [place]},
        "experiences": experiences,
        "metrics": [metric],
        "workspace": account.admin.workspace,
        "propertyIds": [own for own, one in store.properties.items() if one["token"] in activity.properties],
    }
    store.activities[activity.id] = ManagedRecord(activity.id, activity.kind, body, now, now, origin=activity)


def _offer(store: AccountStore, account: TargetAccount, activity: ModelActivity, one: Experience, now: float) -> int:
    if one.type == "default":
        return 0
    own = store.next_id("offer", FIRST["offer"])
    content: Any = orjson.loads(one.content) if one.type == "json" else one.content
    store.offers[own] = {
        "id": own, "name": f"{activity.name} / {one.name}", "type": _OFFERS.get(one.type, one.type),
        "content": content, "workspace": account.admin.workspace, "modifiedAt": stamp(now),
    }  # fmt: skip
    return own


_OFFERS = {"html": "content"}


def _audience(store: AccountStore, account: TargetAccount, activity: ModelActivity, now: float) -> int | None:
    """Return the audience that an activity's conditions are; None when it has none."""
    rules: list[Document] = [{"mbox": name, "equals": [value]} for name, value in activity.parameters.items()]
    if activity.browsers:
        rules.append({"user": "browser", "equals": list(activity.browsers)})
    if activity.countries:
        rules.append({"geo": "countryCode", "equals": list(activity.countries)})
    if not rules:
        return None
    own = store.next_id("audience", FIRST["audience"])
    store.audiences[own] = {
        "id": own, "name": f"Visitors of {activity.name} ({activity.id})", "description": "", "origin": "target",
        "targetRule": {"and": rules}, "workspace": account.admin.workspace, "modifiedAt": stamp(now),
    }  # fmt: skip
    return own
