"""Contentstack Personalize: decisions and events over its Edge API.

Sources: Contentstack's Personalize Edge API reference and guides, and the behaviour of its client, npm
`@contentstack/personalize-edge-sdk`. Four requests: `GET /manifest` decides, `POST /events` reports impressions and
conversions, `PATCH /user-attributes` and `POST /user-attributes/actions/merge` change a visitor's stored attributes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from flagmw.codes import ErrorCode
from flagmw.exceptions import TransportError
from flagmw.types import Decision, Event, Flow, Outcome, Track, Variant, Visit, VisitorState
from flagmw.vendors.base import Participation
from flagmw.vendors.contentstack.cookies import USER, Cookies
from flagmw.vendors.contentstack.decide import DecisionBuilder
from flagmw.vendors.contentstack.deliver import MERGE, EventDelivery, check_track, merge_target
from flagmw.vendors.contentstack.options import Options
from flagmw.vendors.contentstack.request import RequestBuilder
from flagmw.vendors.contentstack.response import read_answer

# The vendor itself finds the experiences for which a conversion counts.
EVERYWHERE = ("*",)


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
            digits, `.`, `-` or `_`. After the log-out the visitor is a new one.
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
        self._options = options = Options.checked(
            name=name,
            project_uid=project_uid,
            region=region,
            base_url=base_url,
            exposure=exposure,
            prefix=prefix,
            aliases=aliases,
            tags=tags,
            data=data,
            known_users=known_users,
            manifest_cookie=manifest_cookie,
            lytics=lytics,
            decides_by=decides_by,
            at_most_once=at_most_once,
            shadow=shadow,
        )
        self.name, self.prefix, self.base_url = options.name, options.prefix, options.base_url
        self.exposure, self.at_most_once, self.shadow = options.exposure, options.at_most_once, options.shadow
        self.decides_by, self.project_uid = options.decides_by, options.project_uid
        self._cookies = Cookies(
            manifest=options.manifest_cookie, lytics=options.lytics, known_users=options.known_users
        )
        self.cookies = self._cookies.rule()
        self._requests = RequestBuilder(options, self._cookies)
        self._decisions = DecisionBuilder(options, self._cookies)
        self._events = EventDelivery(self._requests, self._cookies)

    def __repr__(self) -> str:
        return f"Contentstack(name={self.name!r}, project_uid={self.project_uid!r})"

    def __fingerprint__(self) -> Mapping[str, Any]:
        return self._options.fingerprint(self.cookies)

    # Decide

    def decide(self, visit: Visit, state: VisitorState) -> Flow[Decision]:
        """Ask for the manifest, once. It counts nothing at the vendor."""
        uid, is_user = self._requests.uid(visit, state.cookies), self._requests.user_id(visit) is not None
        call, whole = self._requests.manifest(visit, uid, state.cookies)
        try:
            reply = yield call
        except TransportError as error:
            return self._without_user(Decision(vendor=self.name, error=error.code, trips=True), state, is_user=is_user)
        rejected = () if whole else (ErrorCode.BAD_DATA,)
        decision = self._decisions.build(read_answer(reply), uid, state.cookies, rejected, is_user=is_user)
        return decision if decision.cookies else self._without_user(decision, state, is_user=is_user)

    def _without_user(self, decision: Decision, state: VisitorState, *, is_user: bool) -> Decision:
        """Return *decision*, which sets no cookie, without the cookies of a user who has logged out."""
        if is_user or not self._cookies.names_user(state.cookies):
            return decision
        return replace(decision, cookies=self._cookies.forgotten(state.cookies))

    def identity(self, state: VisitorState) -> str:
        """Return the visitor's uid, with the audiences of Lytics: a decision holds for exactly these."""
        uid, audiences = self._cookies.read(state.cookies), self._cookies.lytics_audiences(state.cookies)
        return "" if uid is None else "; ".join(filter(None, (uid, audiences)))

    # Tracks and exposures

    def participation(self, track: Track, state: VisitorState) -> Participation:
        """Let every visitor with a uid take part: the vendor knows the impressions.

        Raises:
            ValueError: `$set` without attributes, or `$merge` without a uid to merge into.
        """
        check_track(track)
        aliases = EVERYWHERE if track.aliases is None else tuple(filter(self._options.may_have, track.aliases))
        uid = self._cookies.read(state.cookies)
        if uid is None or (track.metric == MERGE and merge_target(track) == uid):
            return Participation()
        return Participation(aliases, {USER: uid}) if aliases else Participation()

    def exposes(self, variants: Sequence[Variant], state: VisitorState) -> Participation:
        """Return the experiences whose impressions can be reported: all, of a visitor with a uid."""
        uid = self._cookies.read(state.cookies)
        aliases = tuple(variant.alias for variant in variants if variant.ids.get("variant"))
        return Participation(aliases, {USER: uid}) if uid is not None and aliases else Participation()

    def deliver(self, batch: Sequence[Event]) -> Flow[Sequence[Outcome]]:
        """Send neighbouring impressions and conversions in one request, each change of attributes by itself."""
        return (yield from self._events.deliver(batch))
