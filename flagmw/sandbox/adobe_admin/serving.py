"""The account as the decision side serves it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal

import orjson

from flagmw.sandbox.adobe.hash import allocation
from flagmw.sandbox.adobe.model import Experience, ModelActivity, OfferType, TargetAccount
from flagmw.sandbox.adobe_admin.dates import moment
from flagmw.sandbox.adobe_admin.rules import Audiences, Facts, member
from flagmw.sandbox.adobe_admin.seeding import seeded
from flagmw.sandbox.adobe_admin.store import AccountStore, Document, ManagedRecord

if TYPE_CHECKING:
    from flagmw.sandbox.adobe.decide import Asking
    from flagmw.sandbox.state import Sandbox

NEVER = float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedActivity(ModelActivity):
    """An activity at one of its mboxes.

    Attributes:
        running: whether it is approved and within its schedule.
        entry: the share of visitors who may enter, in percent.
        entry_audiences: by mbox, of the activity's entry constraint.
        audiences: of the mbox; a visitor is in one of them.
        experience_audiences: by the experience's id, in an XT activity.
    """

    running: bool = True
    client: str = ""
    entry: float = 100.0
    entry_audiences: tuple[int, ...] = ()
    audiences: tuple[int, ...] = ()
    experience_audiences: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    audience_of: Audiences = field(default=lambda own: None, compare=False)

    def open_to(self, asking: Asking) -> bool:
        """True when the activity takes a visitor."""
        if not self.running:
            return False
        if self.entry < 100 and allocation(self.client, self.id, asking.visitor, "entry") >= self.entry:
            return False
        facts = asking.facts
        return self._among(self.entry_audiences, facts) and self._among(self.audiences, facts)

    def chosen(self, asking: Asking, place: float) -> list[Experience]:
        """Return the experience of a visitor: by audience in an XT activity, by chance elsewhere."""
        if self.kind == "ab" or not self.experience_audiences:
            # Not `super()`: a dataclass with slots is another class than the one that the body knows.
            return ModelActivity.chosen(self, asking, place)
        for one in self.experiences:
            if self._among(self.experience_audiences.get(one.id, ()), asking.facts):
                return [one]
        return []

    def _among(self, audiences: tuple[int, ...], facts: Facts) -> bool:
        return not audiences or any(member(own, facts, self.audience_of) for own in audiences)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedAccount(TargetAccount):
    """An account as it is served now; an activity of several mboxes is in it once for each."""

    qa_tokens: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        pass

    def previewed(self, token: str, place: int) -> list[ModelActivity]:
        """Return the activity at *place* of a preview."""
        if token in self.qa_tokens:
            return [one for one in self.activities if one.id == self.qa_tokens[token] and place == 1]
        order = list(dict.fromkeys(one.id for one in self.activities))
        return [one for one in self.activities if 1 <= place <= len(order) and one.id == order[place - 1]]


def store_of(sandbox: Sandbox, account: TargetAccount) -> AccountStore:
    """Return the management side of *account*, made anew when the scenario's account holds something else."""
    stores = sandbox.target.stores
    store = stores.get(account.client)
    if store is None or _holdings(store.seeded_from) != _holdings(account):
        store = stores[account.client] = seeded(account, sandbox.clock())
        sandbox.target.served.pop(account.client, None)
    return store


def served(sandbox: Sandbox, account: TargetAccount) -> TargetAccount:
    """Return *account* with what its management side has made of it."""
    store = store_of(sandbox, account)
    now = sandbox.clock()
    found: tuple[int, float, TargetAccount, TargetAccount] | None = sandbox.target.served.get(account.client)
    if found is not None and found[0] == store.version and now < found[1] and found[2] is account:
        return found[3]
    made = _served(account, store, now)
    sandbox.target.served[account.client] = (store.version, _next_edge(store, now), account, made)
    return made


def is_live(body: Document, now: float) -> bool:
    """True when an activity is approved and within its schedule."""
    begin, end = moment(body.get("startsAt")), moment(body.get("endsAt"))
    return body.get("state") == "approved" and (begin is None or begin <= now) and (end is None or now < end)


def _holdings(account: TargetAccount) -> tuple[Any, ...]:
    return account.activities, account.properties, account.response_tokens


def _next_edge(store: AccountStore, now: float) -> float:
    edges = (moment(one.body.get(name)) for one in store.activities.values() for name in ("startsAt", "endsAt"))
    return min((edge for edge in edges if edge is not None and edge > now), default=NEVER)


def _served(account: TargetAccount, store: AccountStore, now: float) -> TargetAccount:
    # Automated Personalization is kept, and not served.
    records = [one for one in store.activities.values() if one.type != "abt" and one.body["state"] != "deleted"]
    records.sort(key=lambda one: -int(one.body.get("priority", 5)))
    activities = tuple(activity for record in records for activity in _activities(record, account, store, now))
    clicks = dict.fromkeys(account.clicks)
    for record in records:
        if record.origin is None:
            clicks.update(dict.fromkeys(mbox for mbox, event in goals(record.body) if event == "mbox_clicked"))
    given = {one.name: getattr(account, one.name) for one in fields(TargetAccount)}
    # In an account without properties tokens count for nothing, whatever is created later.
    properties = tuple(one["token"] for one in store.properties.values()) if account.properties else ()
    tokens = tuple(one["token"] for one in store.response_tokens.values())
    given |= {"activities": activities, "clicks": tuple(clicks), "properties": properties, "response_tokens": tokens}
    return ServedAccount(**given, qa_tokens=dict(store.qa_tokens))


def goals(body: Document) -> Iterator[tuple[str, str]]:
    """Yield the mbox and the event of every way to convert: of the conversion metric, else of all metrics."""
    metrics = [one for one in body.get("metrics", ()) if isinstance(one, dict)]
    for metric in [one for one in metrics if one.get("conversion")] or metrics:
        inner = metric.get("action") if isinstance(metric.get("action"), dict) else {}
        for mbox in metric.get("mboxes") or (inner or {}).get("mboxes") or ():
            yield str(mbox.get("name", "")), str(mbox.get("successEvent", "mbox_shown"))


def _activities(
    record: ManagedRecord, account: TargetAccount, store: AccountStore, now: float
) -> Iterator[ServedActivity]:
    running = is_live(record.body, now)
    if record.origin is not None:
        given = {one.name: getattr(record.origin, one.name) for one in fields(ModelActivity)}
        yield ServedActivity(**{**given, "name": record.body["name"]}, running=running, client=account.client)
        return
    body = record.body
    constraint = body.get("entryConstraint") or {}
    kind: Literal["ab", "xt"] = "xt" if record.type == "xt" else "ab"
    audiences = {one["experienceLocalId"]: tuple(one.get("audienceIds") or ()) for one in body.get("experiences", ())}
    tokens = tuple(store.properties[own]["token"] for own in body.get("propertyIds") or () if own in store.properties)
    for place in _places(body):
        experiences = tuple(_experiences(record, place["locationLocalId"], store))
        if not experiences:
            continue
        entry = tuple(
            own
            for mbox in constraint.get("mboxes") or ()
            if mbox.get("name") in (None, place["name"])
            for own in mbox.get("audienceIds") or ()
        )
        targeted = tuple(place.get("audienceIds") or ())
        simple = not (targeted or entry or any(audiences.values()) or "visitorPercentage" in constraint)
        yield ServedActivity(
            name=body["name"],
            mbox=place["name"],
            experiences=experiences,
            kind=kind,
            properties=tokens,
            id=record.id,
            on_device=simple and kind == "ab",
            running=running,
            client=account.client,
            entry=float(constraint.get("visitorPercentage", 100)),
            entry_audiences=entry,
            audiences=targeted,
            experience_audiences=audiences if kind == "xt" else {},
            audience_of=store.audiences.get,
        )


def _places(body: Document) -> list[Document]:
    locations = body.get("locations") or {}
    return [one for one in locations.get("mboxes") or () if isinstance(one.get("name"), str)]


def _experiences(record: ManagedRecord, place: int, store: AccountStore) -> Iterator[Experience]:
    """Yield the experiences of an activity at one of its places, with their shares and offers."""
    experiences = record.body.get("experiences") or []
    given = [one.get("visitorPercentage") for one in experiences]
    for one, share in zip(experiences, given, strict=True):
        offer = store.offers.get(_offer_id(record.body, one, place))
        type_, content = _content(offer)
        shown = Experience(name=one["name"], type=type_, content=content, id=one["experienceLocalId"])
        yield replace(shown, share=1.0 if share is None or sum(s or 0 for s in given) == 0 else float(share))


def offer_ids(body: Document, experience: Document) -> dict[int, int]:
    """Return the offer that an experience has at each place, from either form of the body."""
    options = {one.get("optionLocalId"): one for one in body.get("options") or ()}
    found = {one["locationLocalId"]: one.get("offerId", 0) for one in experience.get("offerLocations") or ()}
    for one in experience.get("optionLocations") or ():
        found[one["locationLocalId"]] = options.get(one.get("optionLocalId"), {}).get("offerId", 0)
    return found


def _offer_id(body: Document, experience: Document, place: int) -> int:
    return offer_ids(body, experience).get(place, 0)


def _content(offer: Document | None) -> tuple[OfferType, str]:
    if offer is None:
        return "default", ""
    if offer["type"] == "json":
        return "json", orjson.dumps(offer["content"]).decode()
    kinds: dict[str, OfferType] = {"redirect": "redirect", "dynamic": "dynamic", "actions": "actions"}
    return kinds.get(offer["type"], "html"), str(offer["content"])
