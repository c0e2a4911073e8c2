"""The Metadata API: names of what ids stand for."""

from __future__ import annotations

from typing import Any, TypeAlias

from flagmw.admin.errors import NotFoundError
from flagmw.admin.flow.effects import Flow
from flagmw.admin.flow.listing import Pager, listing
from flagmw.admin.flow.operation import M, operation
from flagmw.admin.monetate.bodies import Account, CustomTarget, Experience, PageEvent, ReadableSplit, Variant
from flagmw.admin.monetate.resources.base import PAGE_SIZE, MonetateResource
from flagmw.admin.monetate.resources.lookup import Lookup

ReadableSplits: TypeAlias = "list[ReadableSplit]"


class MetadataResource(MonetateResource[M]):
    """Objects that are read by list or by id; an id is looked up once in a while.

    Attributes:
        kind: the first part of the endpoints' names.
    """

    kind = ""

    def _found(self, own: int) -> Flow[Any]:
        """Return the object from the cache, or read it; a missing one is remembered as missing."""
        if self._planning:
            return (yield from self._one(f"{self.kind}.get", values={"id": own}))
        cache: Lookup = self._client.lookups[self.kind]  # type: ignore[attr-defined]
        kept = cache.get(own)
        if kept is None:
            try:
                kept = yield from self._one(f"{self.kind}.get", values={"id": own})
            except NotFoundError as error:
                cache.put_missing(own, error)
                raise
            cache.put(own, kept)
        return kept

    def _listed(self, *, page_size: int, limit: int | None, name: str | None = None) -> Any:
        query = [] if name is None else [("name", name)]
        return self._pager(f"{self.kind}.list", page_size=page_size, limit=limit, query=query)


class PageEvents(MetadataResource[M]):
    """Page events."""

    kind = "page_events"

    @listing
    def list(self, /, *, page_size: int = PAGE_SIZE, limit: int | None = None) -> Pager[PageEvent]:
        """Iterate over page events, page by page; each that is there throughout comes once.

        Args:
            page_size: rows per page, 1 to 1000.
            limit: how many to return at most.
        """
        pager: Pager[PageEvent] = self._listed(page_size=page_size, limit=limit)
        return pager

    @operation
    def get(self, page_event_id: int) -> Flow[PageEvent]:
        """Return a page event."""
        found: PageEvent = yield from self._one("page_events.get", values={"id": page_event_id})
        return found

    @operation
    def lookup(self, page_event_id: int) -> Flow[PageEvent]:
        """Return a page event, from the cache where it was read in the last five minutes."""
        found: PageEvent = yield from self._found(page_event_id)
        return found


class CustomTargets(MetadataResource[M]):
    """Custom targets."""

    kind = "custom_targets"

    @listing
    def list(self, /, *, page_size: int = PAGE_SIZE, limit: int | None = None) -> Pager[CustomTarget]:
        """Iterate over custom targets; arguments as of `page_events.list`."""
        pager: Pager[CustomTarget] = self._listed(page_size=page_size, limit=limit)
        return pager

    @operation
    def get(self, custom_target_id: int) -> Flow[CustomTarget]:
        """Return a custom target."""
        found: CustomTarget = yield from self._one("custom_targets.get", values={"id": custom_target_id})
        return found

    @operation
    def lookup(self, custom_target_id: int) -> Flow[CustomTarget]:
        """Return a custom target, from the cache where it was read in the last five minutes."""
        found: CustomTarget = yield from self._found(custom_target_id)
        return found


class Variants(MetadataResource[M]):
    """Variants of experiences, which Monetate calls experience details; several belong to one experience."""

    kind = "variants"

    @listing
    def list(
        self, /, *, name: str | None = None, page_size: int = PAGE_SIZE, limit: int | None = None
    ) -> Pager[Variant]:
        """Iterate over variants; other arguments as of `page_events.list`.

        Args:
            name: a part of the experience's name, in any case.
        """
        pager: Pager[Variant] = self._listed(page_size=page_size, limit=limit, name=name)
        return pager

    @operation
    def get(self, variant_id: int) -> Flow[Variant]:
        """Return a variant; its id is the split's, not the experience's."""
        found: Variant = yield from self._one("variants.get", values={"id": variant_id})
        return found

    @operation
    def lookup(self, variant_id: int) -> Flow[Variant]:
        """Return a variant, from the cache where it was read in the last five minutes."""
        found: Variant = yield from self._found(variant_id)
        return found


class Experiences(MetadataResource[M]):
    """Experiences with their goals and splits, which Monetate calls experience summaries."""

    kind = "experiences"

    @listing
    def list(
        self, /, *, name: str | None = None, page_size: int = PAGE_SIZE, limit: int | None = None
    ) -> Pager[Experience]:
        """Iterate over experiences; arguments as of `variants.list`."""
        pager: Pager[Experience] = self._listed(page_size=page_size, limit=limit, name=name)
        return pager

    @operation
    def get(self, experience_id: int) -> Flow[Experience]:
        """Return an experience."""
        found: Experience = yield from self._one("experiences.get", values={"id": experience_id})
        return found

    @operation
    def lookup(self, experience_id: int) -> Flow[Experience]:
        """Return an experience, from the cache where it was read in the last five minutes."""
        found: Experience = yield from self._found(experience_id)
        return found

    @operation
    def readable(self, experience_id: int) -> Flow[ReadableSplits]:
        """Return an experience in words: a row for each split, with name, type, goal metric, letter and ratio."""
        experience = yield from self._one("experiences.get", values={"id": experience_id})
        return readable(experience)


class Accounts(MetadataResource[M]):
    """Accounts of the retailer."""

    kind = "accounts"

    @listing
    def list(self, /, *, page_size: int = PAGE_SIZE, limit: int | None = None) -> Pager[Account]:
        """Iterate over accounts; arguments as of `page_events.list`."""
        pager: Pager[Account] = self._listed(page_size=page_size, limit=limit)
        return pager

    @operation
    def get(self, account_id: int) -> Flow[Account]:
        """Return an account."""
        found: Account = yield from self._one("accounts.get", values={"id": account_id})
        return found

    @operation
    def lookup(self, account_id: int) -> Flow[Account]:
        """Return an account, from the cache where it was read in the last five minutes."""
        found: Account = yield from self._found(account_id)
        return found


def readable(experience: Experience) -> ReadableSplits:
    """Return the splits of an experience in words; ratios are those that Monetate gives, whatever they add up to."""
    goals = experience.get("goals") or []
    splits = experience.get("variant_splits") or []
    return [
        {
            "experience_id": experience.get("id", 0),
            "experience_name": experience.get("experience_name", ""),
            "account_domain": experience.get("account_domain", ""),
            "experience_type": experience.get("experience_type", ""),
            "integration_type": experience.get("integration_type", ""),
            "goal_metric": (goals[0].get("name") or goals[0].get("key")) if goals else None,
            "split_id": split.get("id"),
            "split_letter": str(split.get("variant", "")),
            "split": split.get("split"),
            # Their description calls it a boolean; it is a text.
            "label": str(split.get("label") or ""),
        }
        for split in splits
    ]
