"""Profiles of the emulated service's visitors."""

from __future__ import annotations

import uuid
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

LIMIT = 1_000_000
NOTHING: frozenset[str] = frozenset()
Rows = Sequence[Sequence[str]]
"""The id and the values of each row; "" for no value."""
IdKind = Literal["pcId", "thirdPartyId"]
# How the ids of the Profile API's paths are called in what it answers about missing profiles.
MISSING = {"tnt": "mboxPC", "thirdPartyId": "third party id", "marketingCloudVisitorId": "marketing cloud visitor id"}


@dataclass(slots=True)
class VisitorProfile:
    """One visitor.

    Attributes:
        attributes: values by name, each with the time of its last change.
        uploaded: attributes that a bulk update has set since the visitor was last there.
    """

    modified: float
    attributes: dict[str, tuple[str, float]] = field(default_factory=dict)
    uploaded: frozenset[str] = NOTHING

    def set(self, values: Mapping[str, str], now: float) -> None:
        """Set attributes; an empty value leaves the one that is there."""
        for name, value in values.items():
            if value != "":
                self.attributes[name] = (value, now)
        self.modified = now


@dataclass(slots=True)
class BulkUpload:
    """A bulk update that was taken, and what came of it once its time has passed."""

    id: str
    client: str
    kind: IdKind
    version: int
    names: Sequence[str]
    rows: Rows
    due: float
    size: int
    done: bool = False
    updated: int = 0
    missing: int = 0


class ProfileStore:
    """The profiles of all accounts, bounded: the least recently seen are forgotten."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget all."""
        self._profiles: OrderedDict[tuple[str, str], VisitorProfile] = OrderedDict()
        self._devices: OrderedDict[tuple[str, str, str], str] = OrderedDict()
        self._names: dict[str, dict[str, None]] = {}
        self._uploads: dict[str, BulkUpload] = {}
        self._waiting: list[BulkUpload] = []

    def met(
        self, client: str, device: str, ids: Mapping[str, object], values: Mapping[str, str], now: float
    ) -> VisitorProfile:
        """Return the profile of a visitor who is there now, after setting *values*."""
        self.settle(now)
        profile = self._made(client, device, now)
        profile.uploaded = NOTHING
        for kind in ("thirdPartyId", "marketingCloudVisitorId"):
            visitor_id = ids.get(kind)
            if isinstance(visitor_id, str) and visitor_id:
                self._known(client, kind, visitor_id, device)
        if values:
            self._set(client, profile, values, now)
        return profile

    def find(self, client: str, kind: str, visitor_id: str, now: float) -> VisitorProfile | None:
        """Return the profile of an id.

        Args:
            kind: "tnt", "thirdPartyId", "marketingCloudVisitorId".
        """
        self.settle(now)
        device = visitor_id.partition(".")[0] if kind == "tnt" else self._devices.get((client, kind, visitor_id))
        return None if device is None else self._profiles.get((client, device))

    def device_of(self, client: str, third_party_id: str, now: float) -> str | None:
        """Return the device that a site's own id belongs to, if it is known."""
        self.settle(now)
        return self._devices.get((client, "thirdPartyId", third_party_id))

    def update(self, client: str, kind: str, visitor_id: str, values: Mapping[str, str], now: float) -> bool:
        """Set attributes of a profile; return whether there is one."""
        profile = self.find(client, kind, visitor_id, now)
        if profile is not None:
            self._set(client, profile, values, now)
        return profile is not None

    def names(self, client: str) -> list[str]:
        """Return the names of all attributes that were ever set."""
        return sorted(self._names.get(client, {}))

    def take(self, upload: BulkUpload) -> None:
        """Take a bulk update; it is done when its time has come."""
        self._uploads[upload.id] = upload
        self._waiting.append(upload)

    def upload(self, batch_id: str, now: float) -> BulkUpload | None:
        """Return a bulk update."""
        self.settle(now)
        return self._uploads.get(batch_id)

    def settle(self, now: float) -> None:
        """Carry out the bulk updates whose time has come, in their order."""
        while self._waiting and self._waiting[0].due <= now:
            self._carry_out(self._waiting.pop(0))

    def _carry_out(self, upload: BulkUpload) -> None:
        kind = "tnt" if upload.kind == "pcId" else "thirdPartyId"
        shared: dict[frozenset[str], frozenset[str]] = {}
        for visitor_id, *cells in upload.rows:
            values = {name: cell for name, cell in zip(upload.names, cells, strict=False) if cell}
            profile = self._found(upload.client, kind, visitor_id)
            if profile is None:
                if upload.version == 1:
                    upload.missing += 1
                    continue
                profile = self._created(upload.client, kind, visitor_id, upload.due)
            elif upload.version == 2 and upload.kind == "thirdPartyId":
                # A second upload without a visit in between replaces what the first one set.
                for name in profile.uploaded:
                    profile.attributes.pop(name, None)
            self._set(upload.client, profile, values, upload.due)
            if upload.version == 2 and upload.kind == "thirdPartyId":
                names = frozenset(values)
                profile.uploaded = shared.setdefault(names, names)
            upload.updated += 1
        upload.rows, upload.done = (), True

    def _found(self, client: str, kind: str, visitor_id: str) -> VisitorProfile | None:
        device = visitor_id.partition(".")[0] if kind == "tnt" else self._devices.get((client, kind, visitor_id))
        return None if device is None else self._profiles.get((client, device))

    def _created(self, client: str, kind: str, visitor_id: str, now: float) -> VisitorProfile:
        device = visitor_id.partition(".")[0] if kind == "tnt" else uuid.uuid4().hex
        if kind != "tnt":
            self._known(client, kind, visitor_id, device)
        return self._made(client, device, now)

    def _made(self, client: str, device: str, now: float) -> VisitorProfile:
        key = (client, device)
        profile = self._profiles.get(key)
        if profile is None:
            profile = self._profiles[key] = VisitorProfile(now)
            if len(self._profiles) > LIMIT:
                self._profiles.popitem(last=False)
        else:
            self._profiles.move_to_end(key)
        return profile

    def _known(self, client: str, kind: str, visitor_id: str, device: str) -> None:
        self._devices[(client, kind, visitor_id)] = device
        if len(self._devices) > LIMIT:
            self._devices.popitem(last=False)

    def _set(self, client: str, profile: VisitorProfile, values: Mapping[str, str], now: float) -> None:
        profile.set(values, now)
        names = self._names.setdefault(client, {})
        if len(names) < LIMIT:
            names.update(dict.fromkeys(values))
