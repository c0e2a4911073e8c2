"""Analytics of experiences, counted from what visitors did."""

from __future__ import annotations

import random
from datetime import UTC, datetime

from flagmw.sandbox.contentstack_admin.call import AdminCall
from flagmw.sandbox.contentstack_admin.errors import ApiError, invalid
from flagmw.sandbox.contentstack_admin.store import Document

HOUR = 3600.0
DRAWS = 15_000
ENOUGH_IMPRESSIONS, ENOUGH_CONVERSIONS = 1000, 30
WINNING, WINNING_S = 0.95, 14 * 86400.0


def get_summary(call: AdminCall) -> Document:
    """Return impressions and conversions by variant, and which one leads."""
    version, found, test = _counted(call, "SUMMARY_NOT_FOUND")
    rows: list[Document] = []
    for one in version["variants"]:
        seen, converted = found.get(one["shortUid"], ([], []))
        row = {"shortUid": one["shortUid"], "impressions": len(seen)}
        rows.append({**row, "conversions": len(converted)} if test else row)
    document: Document = {"variants": rows}
    if test:
        best = _probabilities(call, rows)
        enough = (
            sum(row["impressions"] for row in rows) >= ENOUGH_IMPRESSIONS
            or sum(row["conversions"] for row in rows) >= ENOUGH_CONVERSIONS
        )
        for row, chance in zip(rows, best, strict=True):
            row["probabilityToBeBest"] = round(chance, 4)
        leader = rows[max(range(len(rows)), key=best.__getitem__)]["shortUid"] if enough else None
        old_enough = call.now - call.store.activated[version["uid"]] >= WINNING_S
        document["leadingVariant"] = leader
        document["winningVariant"] = leader if enough and old_enough and max(best) >= WINNING else None
    return document


def get_time_series(call: AdminCall) -> Document:
    """Return impressions and conversions by hour and variant."""
    version, found, test = _counted(call, "TIME_SERIES_ANALYTICS_NOT_FOUND")
    hours: dict[float, dict[str, list[int]]] = {}
    for variant, lists in found.items():
        for kind, times in enumerate(lists):
            for at in times:
                hour = hours.setdefault(at // HOUR * HOUR, {})
                hour.setdefault(variant, [0, 0])[kind] += 1
    series = []
    for at in sorted(hours):
        rows = []
        for one in version["variants"]:
            seen, converted = hours[at].get(one["shortUid"], [0, 0])
            row = {"shortUid": one["shortUid"], "impressions": seen}
            rows.append({**row, "conversions": converted} if test else row)
        begin = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        series.append({"interval": f"{begin}/PT1H", "variants": rows})
    return {"interval": "PT1H", "series": series}


def _counted(call: AdminCall, code: str) -> tuple[Document, dict[str, tuple[list[float], list[float]]], bool]:
    experience, wanted = call.experience(), call.query.get("version", "")
    version = next((one for one in call.store.versions[experience["uid"]] if one["uid"] == wanted), None)
    if version is None or wanted not in call.store.activated:
        raise ApiError(404, f"personalize.ANALYTICS.{code}", "there are no analytics of this version")
    metrics = version.get("metrics") or [{}]
    event = call.store.events.get(metrics[0].get("event", ""), {}).get("key")
    key = (call.store.uid, experience["shortUid"], str(call.store.dealt.get(version["uid"], version["uid"])))
    start, end = _moment(call, "start", 0.0), _moment(call, "end", float("inf"))
    return version, call.sandbox.personalize.counts.read(key, start, end, event), experience["__type"] == "AB_TEST"


def _moment(call: AdminCall, name: str, default: float) -> float:
    text = call.query.get(name)
    if text is None:
        return default
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise invalid(name, "INVALID_DATE", f"{name} must be ISO 8601") from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _probabilities(call: AdminCall, rows: list[Document]) -> list[float]:
    # The same counts give the same answer.
    rng = random.Random(repr([(row["impressions"], row["conversions"]) for row in rows]))  # noqa: S311
    wins = [0] * len(rows)
    shapes = [(1 + row["conversions"], 1 + max(0, row["impressions"] - row["conversions"])) for row in rows]
    for _ in range(DRAWS):
        drawn = [rng.betavariate(alpha, beta) for alpha, beta in shapes]
        wins[drawn.index(max(drawn))] += 1
    return [count / DRAWS for count in wins]
