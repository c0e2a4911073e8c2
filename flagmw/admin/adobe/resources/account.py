"""Resources of an account: properties, mboxes, environments, tokens."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, cast

from flagmw.admin.adobe.bodies.content import (
    AccessToken,
    Environment,
    MboxParameters,
    MboxRow,
    Property,
    ResponseToken,
)
from flagmw.admin.adobe.checks.content import check_property
from flagmw.admin.adobe.checks.values import checked_name, one_of
from flagmw.admin.adobe.filters import Filters
from flagmw.admin.adobe.resources.base import PAGE_SIZE, AdobeResource
from flagmw.admin.errors import AnswerError, NotFoundError
from flagmw.admin.flow.effects import Flow
from flagmw.admin.flow.listing import Pager, listing
from flagmw.admin.flow.operation import M, operation

Scope = Literal["profile_api", "debug_tools"]
SCOPES = ("profile_api", "debug_tools")
TOKEN_TYPES = ("BUILT_IN", "ACTIVITY", "GEO", "CRS", "MBOX", "SCRIPT")


class Properties(AdobeResource[M]):
    """Properties, which Enterprise Permissions are given for."""

    @listing
    def list(
        self,
        /,
        *,
        limit: int | None = None,
        sort_by: Iterable[str] | None = None,
        page_size: int = PAGE_SIZE,
        **filters: Filters,
    ) -> Pager[Property]:
        """Iterate over properties; arguments and promises as of `activities.list`."""
        pager: Pager[Property] = self._pager(
            "properties.list", filters=filters, sort_by=sort_by, page_size=page_size, limit=limit
        )
        return pager

    @operation
    def get(self, property_id: int) -> Flow[Property]:
        """Return a property."""
        answer: Property = yield from self._call("properties.get", values={"id": property_id})
        return answer

    @operation
    def create(self, body: Property) -> Flow[Property]:
        """Create a property: `name`, `channel` ("web", "mobile", "email", "other"), `workspaces`."""
        check_property(body)
        answer: Property = yield from self._call("properties.create", body=body)
        return answer

    @operation
    def update(self, property_id: int, body: Property) -> Flow[Property]:
        """Replace a property and return what it is now."""
        check_property(body)
        answer: Property = yield from self._call("properties.update", values={"id": property_id}, body=body)
        return answer

    @operation
    def delete(self, property_id: int) -> Flow[Property]:
        """Delete a property and return what it was."""
        answer: Property = yield from self._call("properties.delete", values={"id": property_id})
        return answer


class Mboxes(AdobeResource[M]):
    """Mboxes that have been requested."""

    @listing
    def list(
        self,
        /,
        *,
        limit: int | None = None,
        sort_by: Iterable[str] | None = None,
        page_size: int = PAGE_SIZE,
        **filters: Filters,
    ) -> Pager[MboxRow]:
        """Iterate over mboxes, by name. Names move between pages: `shifted` counts when rows may be missing."""
        pager: Pager[MboxRow] = self._pager(
            "mboxes.list", filters=filters, sort_by=sort_by, page_size=page_size, limit=limit
        )
        return pager

    @operation
    def parameters(self, name: str, *, limit: int | None = None) -> Flow[MboxParameters]:
        """Return the parameters that have been sent with an mbox.

        Args:
            name: of the mbox; it may hold slashes.
            limit: how many at most.
        """
        query = [] if limit is None else [("limit", str(limit))]
        answer: MboxParameters = yield from self._call(
            "mboxes.parameters", values={"name": checked_name(name)}, query=query
        )
        return answer


class ProfileAttributes(AdobeResource[M]):
    """Profile attributes that mboxes have sent."""

    @operation
    def list(self) -> Flow[Sequence[str]]:
        """Return their names, without "profile."."""
        answer = yield from self._call("profile_attributes.list")
        names = answer.get("mboxProfileAttributes")
        if not isinstance(names, Sequence) or isinstance(names, str):
            raise AnswerError('the answer has no list "mboxProfileAttributes"; check base_url')
        return [str(name) for name in names]


class Environments(AdobeResource[M]):
    """Environments (host groups)."""

    @listing
    def list(
        self,
        /,
        *,
        limit: int | None = None,
        sort_by: Iterable[str] | None = None,
        page_size: int = PAGE_SIZE,
        **filters: Filters,
    ) -> Pager[Environment]:
        """Iterate over environments; arguments and promises as of `activities.list`."""
        pager: Pager[Environment] = self._pager(
            "environments.list", filters=filters, sort_by=sort_by, page_size=page_size, limit=limit
        )
        return pager


class Tokens(AdobeResource[M]):
    """Tokens for the Profile API ("profile_api") and for traces ("debug_tools")."""

    @operation
    def get(self, scope: Scope) -> Flow[AccessToken]:
        """Return the token that is good now; documented in the published OpenAPI description alone.

        Raises:
            NotFoundError: there is none.
        """
        one_of(scope, SCOPES, "scope")
        answer: AccessToken = yield from self._call("tokens.get", query=[("scope", scope)])
        return answer

    @operation
    def current(self, scope: Scope, *, at_least_s: float = 300.0) -> Flow[AccessToken]:
        """Return the token that is good now, or a new one where there is none or it ends soon.

        Args:
            at_least_s: for how long it must be good, in seconds.
        """
        one_of(scope, SCOPES, "scope")
        query = [("scope", scope)]
        try:
            found: AccessToken = yield from self._read("tokens.get", query=query)
            if found.get("accessToken") and found.get("expiresIn", 0) > at_least_s:
                return found
        except NotFoundError:
            pass
        answer: AccessToken = yield from self._call("tokens.create", query=query)
        return answer

    @operation
    def create(self, scope: Scope) -> Flow[AccessToken]:
        """Make a new token. The old one of this scope stops working at once, wherever it is used."""
        one_of(scope, SCOPES, "scope")
        answer: AccessToken = yield from self._call("tokens.create", query=[("scope", scope)])
        return answer


class ResponseTokens(AdobeResource[M]):
    """Response tokens: what `responseTokens` in answers to visitors may hold."""

    @operation
    def list(self) -> Flow[Sequence[ResponseToken]]:
        """Return them, switched on or not."""
        answer = yield from self._call("response_tokens.list")
        tokens = answer.get("responseTokens")
        if not isinstance(tokens, Sequence) or isinstance(tokens, str):
            raise AnswerError('the answer has no list "responseTokens"; check base_url')
        return cast("Sequence[ResponseToken]", tokens)

    @operation
    def create(self, token: str, type: str) -> Flow[ResponseToken]:
        """Switch a response token on.

        Args:
            token: its name, "profile.memberLevel".
            type: "BUILT_IN", "ACTIVITY", "GEO", "CRS", "MBOX" or "SCRIPT".
        """
        one_of(type, TOKEN_TYPES, "type")
        body: dict[str, Any] = {"token": checked_name(token, "token"), "type": type}
        answer: ResponseToken = yield from self._call("response_tokens.create", body=body)
        return answer

    @operation
    def delete(self, token_id: int) -> Flow[ResponseToken]:
        """Switch a response token off and return what it was."""
        answer: ResponseToken = yield from self._call("response_tokens.delete", values={"id": token_id})
        return answer
