"""Answers of the emulated Delivery API, and the counts of each request."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flagmw.sandbox.adobe.decide import Asking, browser_of, decide, event_token, opened, option
from flagmw.sandbox.adobe.model import Experience, ModelActivity, TargetAccount
from flagmw.sandbox.adobe.request import GLOBAL_MBOX, VENDOR, DeliveryRequest, Refused, Wanted
from flagmw.sandbox.adobe_admin.facts import facts_of, meet
from flagmw.sandbox.faults import Rule
from flagmw.sandbox.state import Sandbox


@dataclass(slots=True)
class DeliveryExchange:
    """One request of an account that is known.

    `results` collects, per mbox, what the ledger shows of the answer.
    """

    sandbox: Sandbox
    account: TargetAccount
    delivery: DeliveryRequest
    fault: Rule | None = None
    results: list[dict[str, Any]] = field(default_factory=list)
    device: str = ""
    _attributes: dict[str, str] = field(default_factory=dict)

    def answer(self) -> dict[str, Any]:
        """Return the answer's document; count what the request shows.

        Raises:
            Refused: a token or a notification is refused, and with it the whole request.
        """
        delivery, account = self.delivery, self.account
        self.device, suffix = self._device()
        opened_ = [self._opened(notification) for notification in delivery.notifications]  # all or nothing
        self._attributes = meet(self.sandbox, self.account.client, self.device, delivery)
        answer: dict[str, Any] = {
            "status": 200,
            "requestId": delivery.body.get("requestId") or uuid.UUID(int=self._random()).hex,
            "client": account.client,
            "id": {**delivery.ids, "tntId": self.device + suffix},
        }
        if account.edge_hints:
            answer["edgeHost"] = f"mboxedge{account.cluster}.tt.omtrdc.net"
        for wanted in delivery.wanted:
            mbox = self._mbox(wanted)
            section = answer.setdefault(wanted.section, {})
            if wanted.page:
                section["pageLoad"] = mbox
            else:
                section.setdefault("mboxes", []).append(mbox)
        if delivery.notifications:
            processed = [
                self._notified(notification, seen)
                for notification, seen in zip(delivery.notifications, opened_, strict=True)
            ]
            answer["notifications"] = [
                {"id": notification_id} for notification_id in processed if notification_id is not None
            ]
        if _dict(delivery.body.get("trace")).get("authorizationToken"):
            self._trace(answer)
        return answer

    def _device(self) -> tuple[str, str]:
        """Return the visitor's tntId and its suffix; a new one for a stranger, the known one for a site's user id."""
        ids = self.delivery.ids
        device, dot, suffix = str(ids.get("tntId") or "").partition(".")
        if not device:
            device = uuid.UUID(int=self._random(), version=4).hex
        third_party = ids.get("thirdPartyId")
        if third_party:
            client, now = self.account.client, self.sandbox.clock()
            known = self.sandbox.target.profiles.device_of(client, third_party, now) or device
            device = self.sandbox.adobe_visitors.device(client, third_party, known)
        return device, f".{self.account.cluster}_0" if self.account.edge_hints else dot + suffix

    def _random(self) -> int:
        return self.sandbox.rng.getrandbits(128)

    def _mbox(self, wanted: Wanted) -> dict[str, Any]:
        """Return one mbox of the answer; an execution is counted."""
        chosen = decide(self.account, wanted.name, self._asking(wanted))
        mode = _dict(self.delivery.body.get("qaMode"))
        if mode:
            chosen = _previewed(self.account, wanted.name, mode)
        prefetched = wanted.section == "prefetch"
        kind = "display" if prefetched else None
        mbox: dict[str, Any] = {}
        if not wanted.page:
            mbox = {"index": wanted.detail["index"], "name": wanted.name}
        if chosen:
            mbox["options"] = [option(self.account, activity, experience, kind) for activity, experience in chosen]
            if wanted.name in self.account.clicks:
                metrics = [
                    {"type": "click", "eventToken": event_token(self.account, activity, experience, "click")}
                    for activity, experience in chosen
                ]
                mbox["metrics"] = metrics
        if prefetched:
            mbox["state"] = f"state-{wanted.name}"
        for activity, experience in chosen:
            self.results.append({"alias": wanted.name, "variation": experience.name, "experience_id": experience.id})
            if not prefetched and not mode:
                self._view(activity, experience, str(self.delivery.body.get("impressionId") or uuid.uuid4()))
        if not chosen:
            self.results.append({"alias": wanted.name, "variation": None})
        if not prefetched:
            self._conversion(wanted)
        return mbox

    def _asking(self, wanted: Wanted) -> Asking:
        context, ids = self.delivery.context, self.delivery.ids
        return Asking(
            visitor=ids.get("marketingCloudVisitorId") or self.device,
            parameters=_dict(wanted.detail.get("parameters")),
            browser=browser_of(str(context.get("userAgent") or "")),
            country=str(_dict(context.get("geo")).get("countryCode") or ""),
            property_token=_dict(self.delivery.body.get("property")).get("token"),
            facts=facts_of(self._attributes, context, _dict(wanted.detail.get("parameters"))),
        )

    def _view(self, activity: ModelActivity, experience: Experience, impression: str) -> None:
        shown = {
            "alias": activity.mbox,
            "experiment_id": experience.id,
            "variation": experience.name,
            "run_id": activity.id,
        }
        who = self._who()
        # The same impression is counted once, however often it is reported.
        self.sandbox.ledger.view((self.device, activity.id, impression), {**shown, **who})

    def _conversion(self, wanted: Wanted) -> None:
        """Count the display of an mbox, with its metrics and orders."""
        order = _dict(wanted.detail.get("order"))
        key = (self.account.client, wanted.name, order.get("id"))
        self.sandbox.ledger.conversion(
            {
                "alias": wanted.name,
                "metric": wanted.name,
                "order": dict(order),
                "duplicate": "id" in order and not self.sandbox.adobe_visitors.first(key),
                "data": dict(_dict(wanted.detail.get("parameters"))),
                **self._who(),
            }
        )

    def _who(self) -> dict[str, Any]:
        return {
            "vendor": VENDOR,
            "client": self.account.client,
            "system_uid": self.device,
            "session": self.delivery.session,
            "time": self.sandbox.clock(),
        }

    def _opened(self, notification: Mapping[str, Any]) -> list[tuple[ModelActivity, Experience]]:
        pairs = [opened(self.account, token, notification["type"]) for token in notification.get("tokens", ())]
        if not all(pairs):
            raise Refused("Invalid notification token")
        return [pair for pair in pairs if pair is not None]

    def _notified(self, notification: Mapping[str, Any], seen: list[tuple[ModelActivity, Experience]]) -> str | None:
        """Process one notification; return its id, None when a fault loses it."""
        name = str(_dict(notification.get("mbox")).get("name") or GLOBAL_MBOX)
        if self.fault is not None and self.fault.kind == "error" and self.fault.alias == name:
            return None
        notification_id = str(notification["id"])
        if not self.sandbox.adobe_visitors.first((self.account.client, self.delivery.session, notification_id)):
            return notification_id
        for activity, experience in seen:
            if notification["type"] == "display":
                self._view(activity, experience, notification_id)
            else:
                click = {"alias": name, "metric": f"{name}-clicked", "order": {}, "duplicate": False, "data": {}}
                self.sandbox.ledger.conversion({**click, "variation": experience.name, **self._who()})
        if notification["type"] == "display" and not seen:
            self._conversion(Wanted("notifications", name, notification))
        return notification_id

    def _trace(self, answer: dict[str, Any]) -> None:
        for section in ("execute", "prefetch"):
            for mbox in answer.get(section, {}).get("mboxes", ()):
                mbox["trace"] = {"clientCode": self.account.client, "request": {"sessionId": self.delivery.session}}


def _previewed(account: TargetAccount, mbox: str, mode: Mapping[str, Any]) -> list[tuple[ModelActivity, Experience]]:
    """Return the experiences that a preview asks for, by their places from 1 on."""
    previewed = []
    for wanted in mode.get("previewIndexes") or ():
        place, nth = wanted.get("activityIndex", 0), wanted.get("experienceIndex") or 1
        for activity in account.previewed(str(mode.get("token")), place):
            if activity.mbox == mbox and 1 <= nth <= len(activity.experiences):
                previewed.append((activity, activity.experiences[nth - 1]))
    return previewed


def _dict(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
