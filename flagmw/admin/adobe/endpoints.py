"""Every endpoint of Adobe Target that the client calls.

One line per endpoint: the method of the client, the HTTP method, the path below `/{tenant}/target`, the version in
the media type, and where the endpoint is documented:

    page    the public "Adobe Target Admin and Profile APIs" page; its 36 endpoints are numbered in its order
    spec    Adobe's published OpenAPI description, for what that page does not have
    docs    Adobe's other documentation
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Evidence = Literal["page", "spec", "docs"]
Verb = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint of the Admin API.

    Attributes:
        name: the client's resource and method, "activities.ab.get".
        method: the HTTP method.
        path: below `/{tenant}/target`; names in braces are filled in, percent-encoded.
        version: N of `application/vnd.adobe.target.vN+json`; 0 for plain `application/json`.
        evidence: where the endpoint is documented.
        number: its place in the documentation page; 0 when it is not there.
        collection: of a list, the key of the answer that holds the rows.
        key: of a list, the field that identifies a row and that pages are sorted by.
    """

    name: str
    method: Verb
    path: str
    version: int
    evidence: Evidence = "spec"
    number: int = 0
    collection: str = ""
    key: str = "id"

    @property
    def right(self) -> str:
        """Return the role that a user or integration needs for this call."""
        if self.method == "GET":
            return "Observer"
        activates = self.name in ("activities.set_state", "activities.set_schedule")
        return "Publisher or Approver" if activates else "Editor"

    @property
    def media_type(self) -> str:
        """Return the media type that names the version."""
        return f"application/vnd.adobe.target.v{self.version}+json" if self.version else "application/json"


def _page(number: int, name: str, method: Verb, path: str, version: int, **more: str) -> Endpoint:
    return Endpoint(name, method, path, version, "page", number, **more)


_TABLE = (
    _page(1, "activities.list", "GET", "/activities", 3, collection="activities"),
    _page(2, "activities.ab.get", "GET", "/activities/ab/{id}", 3),
    _page(3, "activities.ab.create", "POST", "/activities/ab", 3),
    _page(4, "activities.ab.update", "PUT", "/activities/ab/{id}", 3),
    _page(5, "activities.ab.delete", "DELETE", "/activities/ab/{id}", 3),
    _page(6, "activities.xt.get", "GET", "/activities/xt/{id}", 3),
    _page(7, "activities.xt.create", "POST", "/activities/xt", 3),
    _page(8, "activities.xt.update", "PUT", "/activities/xt/{id}", 3),
    _page(9, "activities.xt.delete", "DELETE", "/activities/xt/{id}", 3),
    _page(10, "activities.set_name", "PUT", "/activities/{id}/name", 1),
    _page(11, "activities.set_state", "PUT", "/activities/{id}/state", 1),
    _page(12, "activities.set_priority", "PUT", "/activities/{id}/priority", 1),
    _page(13, "activities.set_schedule", "PUT", "/activities/{id}/schedule", 1),
    _page(14, "activities.changelog", "GET", "/activities/{id}/changelog", 1, collection="activityChangelogs", key=""),
    _page(15, "offers.list", "GET", "/offers", 2, collection="offers"),
    _page(16, "offers.content.get", "GET", "/offers/content/{id}", 2),
    _page(17, "offers.content.create", "POST", "/offers/content", 2),
    _page(18, "offers.content.update", "PUT", "/offers/content/{id}", 2),
    _page(19, "offers.content.delete", "DELETE", "/offers/content/{id}", 2),
    _page(20, "audiences.list", "GET", "/audiences", 3, collection="audiences"),
    _page(21, "audiences.get", "GET", "/audiences/{id}", 3),
    _page(22, "audiences.create", "POST", "/audiences", 3),
    _page(23, "audiences.update", "PUT", "/audiences/{id}", 3),
    _page(24, "audiences.delete", "DELETE", "/audiences/{id}", 3),
    _page(25, "properties.list", "GET", "/properties", 1, collection="properties"),
    _page(26, "properties.get", "GET", "/properties/{id}", 1),
    _page(27, "reports.ab.performance", "GET", "/activities/ab/{id}/report/performance", 1),
    _page(28, "reports.xt.performance", "GET", "/activities/xt/{id}/report/performance", 1),
    _page(29, "reports.ap.performance", "GET", "/activities/abt/{id}/report/performance", 1),
    _page(30, "reports.ab.orders", "GET", "/activities/ab/{id}/report/orders", 1),
    _page(31, "mboxes.list", "GET", "/mboxes", 1, collection="mboxes", key="name"),
    _page(32, "mboxes.parameters", "GET", "/mbox/{name}", 1),
    _page(33, "profile_attributes.list", "GET", "/profileattributes/mbox", 1),
    _page(34, "environments.list", "GET", "/environments", 1, collection="environments"),
    _page(35, "batch.run", "POST", "/batch", 0),
    _page(36, "tokens.create", "POST", "/authentication/token", 1),
    Endpoint("tokens.get", "GET", "/authentication/token", 1),
    Endpoint("reports.xt.orders", "GET", "/activities/xt/{id}/report/orders", 1),
    Endpoint("reports.ap.orders", "GET", "/activities/abt/{id}/report/orders", 1),
    Endpoint("activities.auto_allocate.get", "GET", "/activities/autoallocate/{id}", 1),
    Endpoint("activities.auto_allocate.create", "POST", "/activities/autoallocate", 1),
    Endpoint("activities.auto_allocate.update", "PUT", "/activities/autoallocate/{id}", 1),
    Endpoint("activities.auto_allocate.delete", "DELETE", "/activities/autoallocate/{id}", 1),
    Endpoint("activities.ap.get", "GET", "/activities/abt/{id}", 2),
    Endpoint("activities.ap.create", "POST", "/activities/abt", 2),
    Endpoint("activities.ap.update", "PUT", "/activities/abt/{id}", 2),
    Endpoint("activities.ap.delete", "DELETE", "/activities/abt/{id}", 2),
    Endpoint("activities.ab.qa_links", "POST", "/activities/ab/{id}/qamode", 3),
    Endpoint("activities.xt.qa_links", "POST", "/activities/xt/{id}/qamode", 3),
    Endpoint("activities.auto_allocate.qa_links", "POST", "/activities/autoallocate/{id}/qamode", 1),
    Endpoint("activities.ap.qa_links", "POST", "/activities/abt/{id}/qamode", 2),
    Endpoint("offers.json.get", "GET", "/offers/json/{id}", 2),
    Endpoint("offers.json.create", "POST", "/offers/json", 2),
    Endpoint("offers.json.update", "PUT", "/offers/json/{id}", 2),
    Endpoint("offers.json.delete", "DELETE", "/offers/json/{id}", 2),
    Endpoint("audiences.move", "PATCH", "/audiences/{id}", 3),
    Endpoint("properties.create", "POST", "/properties", 1),
    Endpoint("properties.update", "PUT", "/properties/{id}", 1),
    Endpoint("properties.delete", "DELETE", "/properties/{id}", 1),
    Endpoint("response_tokens.list", "GET", "/responsetokens", 1, collection="responseTokens", key=""),
    Endpoint("response_tokens.create", "POST", "/responsetokens", 1),
    Endpoint("response_tokens.delete", "DELETE", "/responsetokens/{id}", 1),
)

ENDPOINTS = {endpoint.name: endpoint for endpoint in _TABLE}
"""All of them by name, those of the documentation page first and in its order."""


@dataclass(frozen=True, slots=True)
class ProfileEndpoint:
    """One endpoint of the Profile API, below `https://{client}.tt.omtrdc.net`.

    Attributes:
        name: the client's method, "profiles.fetch".
        methods: the HTTP methods that it takes.
    """

    name: str
    methods: tuple[Verb, ...]
    path: str
    evidence: Evidence = "page"


_PROFILE_TABLE = (
    ProfileEndpoint("profiles.fetch", ("GET",), "/rest/v1/profiles/{id}?client={client}"),
    ProfileEndpoint(
        "profiles.fetch_by_third_party_id", ("GET",), "/rest/v1/profiles/thirdPartyId/{id}?client={client}"
    ),
    ProfileEndpoint(
        "profiles.fetch_by_ecid", ("GET",), "/rest/v1/profiles/marketingCloudVisitorId/{id}?client={client}", "docs"
    ),
    ProfileEndpoint("profiles.update", ("GET", "POST"), "/m2/{client}/profile/update"),
    ProfileEndpoint("profiles.bulk_update", ("POST",), "/m2/{client}/v2/profile/batchUpdate"),
    ProfileEndpoint("profiles.bulk_status", ("GET",), "the address in the answer to bulk_update"),
)

PROFILE_ENDPOINTS = {endpoint.name: endpoint for endpoint in _PROFILE_TABLE}
"""Those of the Profile API by name. Version 1 of `bulk_update` has the same path without `/v2`."""
