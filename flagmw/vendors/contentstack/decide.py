"""Decisions from manifests."""

from __future__ import annotations

from collections.abc import Mapping

from flagmw.codes import ErrorCode, Reason
from flagmw.types import Decision, Variant
from flagmw.vendors.contentstack.cookies import Cookies
from flagmw.vendors.contentstack.options import Options
from flagmw.vendors.contentstack.response import Answer, Experience


class DecisionBuilder:
    """Builds decisions by the options of one project."""

    def __init__(self, options: Options, cookies: Cookies) -> None:
        self._options, self._vendor, self._cookies = options, options.name, cookies

    def build(
        self,
        answer: Answer,
        sent_uid: str | None,
        cookies: Mapping[str, str],
        rejected: tuple[ErrorCode, ...],
        *,
        is_user: bool = False,
    ) -> Decision:
        """Return the decision of *answer*.

        Args:
            sent_uid: the uid of the request.
            cookies: the cookies of the visitor.
            rejected: why parts were left out of the request.
            is_user: the uid of the request is the id of a user of the site.
        """
        manifest = answer.manifest
        if manifest is None:
            return self._failed(answer, rejected)
        # The edge decides on the uid. Without one in its answer the visitor keeps the uid of the request.
        uid = sent_uid if answer.uid is None else answer.uid
        identity: tuple[ErrorCode, ...] = ()
        if answer.bad_uid:
            identity = (ErrorCode.COOKIE_VALUE,)
        elif sent_uid not in (None, uid):
            identity = (ErrorCode.IDENTITY_CHANGED,)
        changes = self._cookies.changes(uid, manifest.text, cookies, is_user=is_user)
        active = [experience for experience in manifest.experiences if experience.variant is not None]
        return Decision(
            vendor=self._vendor,
            variants={
                variant.alias: variant
                for place, experience in enumerate(manifest.experiences)
                if (variant := self._variant(experience, place)) is not None
            },
            misses={
                self._options.alias_of(experience.short_uid): ErrorCode.NOT_IN_TEST
                for experience in manifest.experiences
                if experience.variant is None
            },
            cookies=changes,
            notice=None if manifest.experiences else ErrorCode.EMPTY,
            rejected=(*rejected, *identity, *manifest.rejected),
            hints={
                "variant_param": ",".join(experience.compact for experience in active),
                "variant_aliases": [experience.alias for experience in active],
                "bootstrap": {
                    "project_uid": self._options.project_uid,
                    "edge_url": self._options.base_url,
                    "cookies": {change.name: change.value for change in changes if change.max_age_s != 0},
                },
            },
        )

    def _failed(self, answer: Answer, rejected: tuple[ErrorCode, ...]) -> Decision:
        if answer.robot:
            return Decision(vendor=self._vendor, notice=ErrorCode.UNAUTHORIZED, rejected=rejected, advice=_FORBIDDEN)
        advice = None
        if answer.request_refused:
            advice = _NO_PROJECT if answer.fault is ErrorCode.PROJECT_NOT_FOUND else _REFUSED
        return Decision(
            vendor=self._vendor,
            error=answer.fault,
            trips=not answer.request_refused,
            retry_after_s=answer.retry_after_s,
            rejected=rejected,
            advice=advice,
        )

    def _variant(self, experience: Experience, place: int) -> Variant | None:
        if experience.variant is None:
            return None
        return Variant(
            alias=self._options.alias_of(experience.short_uid),
            key=experience.variant,
            vendor=self._vendor,
            # A manifest does not tell audiences from shares of the traffic.
            reason=Reason.TARGETING_MATCH,
            experiment_id=experience.short_uid,
            ids={
                "experience": experience.short_uid,
                "variant": experience.variant,
                "alias": experience.alias,
                "priority": str(place),
            },
        )


_FORBIDDEN = (
    "the edge answers 403 to what it takes for a robot; if it does so to people too, compare region or base_url"
)
_NO_PROJECT = "no project under this project_uid in this region: compare both with the project's settings"
_REFUSED = "the server at base_url refuses this request: compare region, base_url and project_uid with the project"
