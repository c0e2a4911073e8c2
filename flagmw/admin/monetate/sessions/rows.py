"""Single sessions with names beside ids."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from flagmw.admin.monetate.sessions.names import Names


def readable(session: Mapping[str, Any], names: Names, columns: Iterable[str] = ()) -> dict[str, Any]:
    """Return a session's city, experiences, page events in order of time, and targets, each with its name.

    Args:
        columns: others of the session to take over as they are.
    """
    offers = session.get("offers")
    if offers is None:
        offers = session.get("offer_ids")
    events, targets = session.get("page_event_ids"), session.get("custom_targets")
    return {
        **{name: session.get(name) for name in columns},
        "city": session.get("city"),
        "experiences": [_experience(str(offer), names) for offer in offers] if isinstance(offers, list) else [],
        "page_events": [
            {"id": own, "title": _name(own, names.page_events), "time": at}
            for own, at in sorted(events.items(), key=lambda one: moment(one[1]))
        ]
        if isinstance(events, dict)
        else [],
        "targets": [{"id": own, "title": _name(own, names.targets), "value": value} for own, value in targets.items()]
        if isinstance(targets, dict)
        else [],
    }


def moment(value: Any) -> tuple[int, float, str]:
    """Return a key that sorts times: seconds or milliseconds since the epoch, or texts of ISO 8601; others last."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return 0, value / 1000 if value > 1e11 else float(value), ""
    if isinstance(value, str):
        try:
            at = datetime.fromisoformat(value)
        except ValueError:
            return 1, 0.0, value
        return 0, (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp(), ""
    return 2, 0.0, ""


def _experience(offer: str, names: Names) -> dict[str, Any]:
    own, _, part = offer.partition("-")
    number = _number(own)
    variant = names.variant(number, part) if number is not None else None
    return {"id": own, "name": _name(own, names.experiences), "variant_id": part, "variant": variant}


def _name(own: str, known: Mapping[int, str]) -> str | None:
    number = _number(own)
    return None if number is None else known.get(number)


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else None
