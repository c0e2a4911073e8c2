"""Contentstack Personalize: decisions, impressions, conversions and attributes over its Edge API.

Sources: Contentstack's Personalize Edge API reference and guides, and the behaviour of its client, npm
`@contentstack/personalize-edge-sdk`. Four requests: `GET /manifest` decides, `POST /events` reports impressions and
conversions, `PATCH /user-attributes` and `POST /user-attributes/actions/merge` change what is stored of a visitor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flagmw.codes import ErrorCode, Reason
from flagmw.exceptions import ProtocolError, TransportError
from flagmw.types import (
    CookieChange,
    Decision,
    Event,
    Flow,
    Outcome,
    Reply,
    Track,
    Variant,
    Visit,
    VisitorState,
)
from flagmw.vendors.base import Participation
from flagmw.vendors.common.http_status import status_fault
from flagmw.vendors.common.options import checked_base_url, checked_decides_by, checked_flag, checked_prefix, one_of
from flagmw.vendors.contentstack import cookies as jars
from flagmw.vendors.contentstack import deliver as reports
from flagmw.vendors.contentstack import options
from flagmw.vendors.contentstack import request as requests
from flagmw.vendors.contentstack import response as manifests

# The vendor finds out by itself for which experiences a conversion counts.
EVERYWHERE = ("*",)
_AUDIENCES = "__lytics_audiences"


class Contentstack:
    """One project of Contentstack Personalize.

    An alias is `exp:` and the experience's short uid, or the name that `aliases` gives. A variant's key is the
    variant's short uid.

    A track is one of the project's events, named by its key. Its API takes no data, value or items. Two metrics
    change the visitor's stored attributes instead: `flags.track("$set", data={"plan": "gold"},
    vendors=["contentstack"])` stores attributes. `"$merge"` with `data={"into": user_id}` moves them to another
    uid, where they replace its own.

    Args:
        project_uid: The project's id from its settings, 24 hex digits.
        name: The vendor's name in flags, counters and logs. Two accounts of one vendor need two names.
        region: The organization's region: `"aws-na"`, `"aws-eu"`, `"aws-au"`, `"azure-na"`, `"azure-eu"`,
            `"gcp-na"` or `"gcp-eu"`.
        base_url: Another server of the same API, instead of the region's: https, or http on this machine.
        exposure: `"read"` reports an impression of each experience whose flag the view read. `"off"` reports
            none.
        prefix: Text that is put before every alias of this vendor.
        aliases: Aliases of experiences by their short uids, such as `{"b": "hero"}`. Without an entry the alias
            is `exp:` and the short uid.
        tags: Decide only for experiences with one of these tags, at most 10. Empty decides for all.
        data: Attributes for audiences. They are sent with every decision, beside the visit's own, and not
            stored.
        known_users: Use the user id that `identify` returns as the visitor's uid, if it is 1 to 128 letters,
            digits, `.`, `-` or `_`.
        manifest_cookie: Keep the decision in a cookie, up to 3,800 bytes, so that the vendor's client in the
            page does not ask again.
        lytics: Send the audiences and the id that Lytics keeps in cookies of the site.
        decides_by: The part of the page's address that audiences use: `"url"`, `"path"`, or `"site"` for no
            part of it. With `"site"` one decision serves all pages within `reuse_s`.
        at_most_once: Never send an event again that the vendor may have received.
        shadow: Ask the vendor after the response, only to compare. Its decisions are never served and count
            nothing.

    Raises:
        ConfigError: An option is wrong.
    """

    batch_max = 50

    def __init__(
        self,
        project_uid: str,
        *,
        name: str = "contentstack",
        region: str = "aws-na",
        base_url: str | None = None,
        exposure: str = "read",
        prefix: str = "",
        aliases: Mapping[str, str] | None = None,
        tags: Sequence[str] = (),
        data: Mapping[str, Any] | None = None,
        known_users: bool = False,
        manifest_cookie: bool = True,
        lytics: bool = False,
        decides_by: str = "url",
        at_most_once: bool = False,
        shadow: bool = False,
    ) -> None:
        owner = f"vendor {name!r}"
        self.name, self.prefix = name, checked_prefix(owner, prefix)
        self.project_uid = options.checked_project(owner, project_uid)
        regional = options.edge_url(owner, region)
        self.base_url = regional if base_url is None else checked_base_url(owner, base_url)
        self.exposure = one_of(owner, "exposure", exposure, ("read", "off"))
        self.at_most_once = checked_flag(owner, "at_most_once", at_most_once)
        self.shadow = checked_flag(owner, "shadow", shadow)
        self._aliases = options.checked_aliases(owner, aliases)
        self._tags = options.checked_tags(owner, tags)
        self._data = options.checked_attributes(owner, data)
        self._known_users = checked_flag(owner, "known_users", known_users)
        self._keep_manifest = checked_flag(owner, "manifest_cookie", manifest_cookie)
        self._lytics = checked_flag(owner, "lytics", lytics)
        self.decides_by = checked_decides_by(owner, decides_by)
        self._reporter = reports.Reporter(self.base_url, self.project_uid)
        self.cookies = jars.rule(manifest=self._keep_manifest, lytics=self._lytics)

    def __repr__(self) -> str:
        return f"Contentstack(name={self.name!r}, project_uid={self.project_uid!r})"

    # Decide

    def decide(self, visit: Visit, state: VisitorState) -> Flow[Decision]:
        """Ask for the manifest. It counts nothing at the vendor, and nothing is asked twice."""
        uid = (jars.usable_uid(visit.user_id) if self._known_users else None) or jars.user_uid(state.cookies)
        attributes, whole = requests.live_attributes({**self._lytics_data(state), **self._data, **visit.data})
        try:
            reply = yield requests.manifest(
                self.base_url,
                self.project_uid,
                visit,
                uid=uid,
                tags=self._tags,
                attributes=attributes,
                lytics_id=jars.bare(state.cookies.get(jars.LYTICS_ID, "")) if self._lytics else None,
            )
        except TransportError as error:
            return Decision(vendor=self.name, error=error.code, trips=True)
        return self._settle(reply, uid, state, () if whole else (ErrorCode.BAD_DATA,))

    def _lytics_data(self, state: VisitorState) -> dict[str, str]:
        audiences = jars.bare(state.cookies.get(jars.LYTICS_AUDIENCES, "")) if self._lytics else ""
        return {_AUDIENCES: audiences} if audiences else {}

    def _settle(self, reply: Reply, sent: str | None, state: VisitorState, odd: tuple[ErrorCode, ...]) -> Decision:
        """Return the decision that *reply* makes.

        Args:
            sent: the uid that the request named.
            odd: what was left out of the request.
        """
        if reply.status == 403:
            return Decision(vendor=self.name, notice=ErrorCode.UNAUTHORIZED, rejected=odd, advice=_FORBIDDEN)
        code, rest_s = status_fault(reply)
        if reports.project_not_found(reply):
            return Decision(vendor=self.name, error=ErrorCode.PROJECT_NOT_FOUND, rejected=odd, advice=_NO_PROJECT)
        if code is not None:
            ours = 400 <= reply.status < 500 and reply.status not in (408, 425, 429)
            return Decision(
                vendor=self.name,
                error=code,
                trips=not ours,
                retry_after_s=rest_s,
                rejected=odd,
                advice=_REFUSED if ours else None,
            )
        try:
            manifest = manifests.read(reply.body)
        except ProtocolError as error:
            return Decision(vendor=self.name, error=error.code, trips=True, rejected=odd)
        uid, identity = self._identity(reply, sent)
        cookies = self._changes(manifest, uid, state)
        active = [experience for experience in manifest.experiences if experience.variant is not None]
        return Decision(
            vendor=self.name,
            variants={
                variant.alias: variant
                for place, experience in enumerate(manifest.experiences)
                if (variant := self._variant(experience, place)) is not None
            },
            misses={
                self._alias(experience.short_uid): ErrorCode.NOT_IN_TEST
                for experience in manifest.experiences
                if experience.variant is None
            },
            cookies=cookies,
            notice=None if manifest.experiences else ErrorCode.EMPTY,
            rejected=(*odd, *identity, *manifest.rejected),
            hints={
                "variant_param": ",".join(experience.compact for experience in active),
                "variant_aliases": [experience.alias for experience in active],
                "bootstrap": {
                    "project_uid": self.project_uid,
                    "edge_url": self.base_url,
                    "cookies": {change.name: change.value for change in cookies if change.max_age_s != 0},
                },
            },
        )

    def _identity(self, reply: Reply, sent: str | None) -> tuple[str | None, tuple[ErrorCode, ...]]:
        """Return the uid that the visitor has from now on, and what was odd about it. The edge has the last word."""
        told = reply.headers.get("x-cs-personalize-user-uid", "").strip()
        uid = jars.usable_uid(told)
        if uid is None:
            # Without the header, or with a null in it, the visitor stays who they were, if anybody.
            return sent, () if told in ("", "null", "undefined") else (ErrorCode.COOKIE_VALUE,)
        return uid, () if sent in (None, uid) else (ErrorCode.IDENTITY_CHANGED,)

    def _changes(self, manifest: manifests.Manifest, uid: str | None, state: VisitorState) -> tuple[CookieChange, ...]:
        changes = []
        if uid is not None:
            changes.append(CookieChange(name=jars.USER, value=uid, max_age_s=jars.USER_LIFE_S))
        # With a manifest and no uid the page's client would report impressions of "undefined".
        if self._keep_manifest and uid is not None and jars.fits(manifest.text):
            changes.append(CookieChange(name=jars.MANIFEST, value=manifest.text))
        elif jars.MANIFEST in state.cookies:
            # An old manifest would make the page show something else than this response does.
            changes.append(CookieChange(name=jars.MANIFEST, value="", max_age_s=0))
        return tuple(changes)

    def _variant(self, experience: manifests.Experience, place: int) -> Variant | None:
        if experience.variant is None:
            return None
        return Variant(
            alias=self._alias(experience.short_uid),
            key=experience.variant,
            vendor=self.name,
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

    def _alias(self, short_uid: str) -> str:
        return self._aliases.get(short_uid, options.UNNAMED + short_uid)

    def identity(self, state: VisitorState) -> str:
        """Return the visitor's uid: decisions hold for whoever has it, while Lytics has them in the same audiences."""
        uid = jars.user_uid(state.cookies)
        return "" if uid is None else "; ".join((uid, *self._lytics_data(state).values()))

    # Impressions, conversions, attributes

    def participation(self, track: Track, state: VisitorState) -> Participation:
        """Let every visitor with a uid take part: the vendor knows which impressions they had.

        Raises:
            ValueError: `$set` without attributes, or `$merge` without a uid to merge into.
        """
        reports.checked(track)
        own = EVERYWHERE if track.aliases is None else tuple(alias for alias in track.aliases if self._is_own(alias))
        uid = jars.user_uid(state.cookies)
        if uid is None or (track.metric == reports.MERGE and reports.target(track) == uid):
            return Participation()
        return Participation(own, {jars.USER: uid}) if own else Participation()

    def exposes(self, variants: Sequence[Variant], state: VisitorState) -> Participation:
        """Return the experiences whose impressions can be reported: all, of a visitor with a uid."""
        uid = jars.user_uid(state.cookies)
        aliases = tuple(variant.alias for variant in variants if variant.ids.get("variant"))
        return Participation(aliases, {jars.USER: uid}) if uid is not None and aliases else Participation()

    def _is_own(self, alias: str) -> bool:
        if not alias.startswith(options.UNNAMED):
            return alias in self._aliases.values()
        return manifests.SHORT_UID.fullmatch(alias.removeprefix(options.UNNAMED)) is not None

    def deliver(self, batch: Sequence[Event]) -> Flow[Sequence[Outcome]]:
        """Send impressions and conversions that stand together in one request, each change of attributes by itself."""
        return (yield from self._reporter.deliver(batch))


_FORBIDDEN = (
    "the edge answers 403 to what it takes for a robot; if it does so to people too, compare region or base_url"
)
_NO_PROJECT = "no project under this project_uid in this region: compare both with the project's settings"
_REFUSED = "the server at base_url refuses this request: compare region, base_url and project_uid with the project"
