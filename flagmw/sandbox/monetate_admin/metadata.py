"""The Metadata API, emulated: names of what the engine serves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flagmw.sandbox.monetate.model import Experience, Retailer
from flagmw.sandbox.monetate_admin.call import ManagementCall
from flagmw.sandbox.monetate_admin.dates import stamp
from flagmw.sandbox.monetate_admin.errors import Refusal, envelope
from flagmw.sandbox.monetate_admin.pages import page

Document = dict[str, Any]
Rows = Callable[[ManagementCall], Sequence[Document]]


def listed(rows: Rows) -> Callable[[ManagementCall], Document]:
    """Return the handler of a list, filtered by a part of the experience's name where the rows have one."""

    def handler(call: ManagementCall) -> Document:
        wanted = call.query.get("name", "").lower()
        return page(call, [row for row in rows(call) if wanted in str(row.get("experience_name", wanted)).lower()])

    return handler


def one(rows: Rows) -> Callable[[ManagementCall], Document]:
    """Return the handler of a single object."""

    def handler(call: ManagementCall) -> Document:
        found = next((row for row in rows(call) if row["id"] == int(call.values["id"])), None)
        if found is None:
            raise Refusal(404)
        return envelope(found)

    return handler


def page_events(call: ManagementCall) -> list[Document]:
    """Return the page events."""
    return page_events_of(call.retailer)


def page_events_of(retailer: Retailer) -> list[Document]:
    """Return the page events of the settings, and the account's keys that are none of their titles, numbered on."""
    events = [{"id": event.id, "title": event.title} for event in retailer.admin.page_events]
    titles = {event["title"] for event in events}
    number = max((event.id for event in retailer.admin.page_events), default=0)
    others = [key for key in retailer.page_events if key not in titles]
    return [*events, *({"id": at, "title": key} for at, key in enumerate(others, number + 1))]


def custom_targets(call: ManagementCall) -> list[Document]:
    """Return the custom targets."""
    return [
        {
            "id": target.id,
            "title": target.title,
            "description": target.description,
            "is_identifier": target.is_identifier,
            "collects_person_id": target.collects_person_id,
        }
        for target in call.retailer.admin.custom_targets
    ]


def variants(call: ManagementCall) -> list[Document]:
    """Return the variants of all experiences that the engine knows."""
    return [
        {
            "id": variant.id,
            "account_domain": domain_of(call.retailer),
            "experience_id": experience.id,
            "experience_name": experience.name,
            "experience_type": experience.type,
            "split_name": letter(number),
            "split_description": variant.label,
            "preview_token": variant.preview or "",
            "integration_type": "engine-api",
        }
        for experience in call.retailer.experiences
        for number, variant in enumerate(experience.variants)
    ]


def experiences(call: ManagementCall) -> list[Document]:
    """Return summaries of all experiences that the engine knows."""
    return [summary(call, experience) for experience in call.retailer.experiences]


def summary(call: ManagementCall, experience: Experience) -> Document:
    """Return the summary of an experience; the ratios of its splits and of the control add up to 1."""
    key, name = call.retailer.admin.goal
    whole = sum(variant.split for variant in experience.variants)
    single = len(experience.variants) == 1
    splits: list[Document] = [
        {
            "id": variant.id,
            "variant": "Experiment" if single else letter(number),
            "split": (1 - experience.control) * variant.split / whole,
            "label": variant.label,
            "is_control": False,
        }
        for number, variant in enumerate(experience.variants)
    ]
    if experience.control:
        splits.append({"variant": "Control", "is_control": True, "split": experience.control, "label": "Control"})
    return {
        "id": experience.id,
        "account_domain": domain_of(call.retailer),
        "experience_name": experience.name,
        "experience_type": experience.type,
        "archived": experience.state == "archived",
        "create_time": stamp(0),
        "start_time": stamp(0),
        "end_time": None,
        "status": "ended" if experience.state == "archived" else experience.state,
        "splits": [variant.id for variant in experience.variants],
        "tags": list(experience.tags),
        "goals": [{"key": key, "name": name, "description": ""}],
        "variant_splits": splits,
        "integration_type": "engine-api",
    }


def accounts(call: ManagementCall) -> list[Document]:
    """Return the retailer's account."""
    name, instance, domain = call.retailer.channel.split("/")
    return [
        {
            "id": 1,
            "type": "production" if instance == "p" else "development",
            "kind": "web",
            "archived": False,
            "channel": call.retailer.channel,
            "name": name,
            "preview_url": f"https://{domain}/",
        }
    ]


def domain_of(retailer: Retailer) -> str:
    """Return the account's domain."""
    return retailer.channel.split("/")[2]


def letter(number: int) -> str:
    """Return the letter of a split, by its place from 0: A to Z, then AA and so on."""
    text = ""
    number += 1
    while number:
        number, rest = divmod(number - 1, 26)
        text = chr(65 + rest) + text
    return text
