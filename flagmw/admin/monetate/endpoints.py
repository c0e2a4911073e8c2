"""Every endpoint of Monetate's management APIs that the client calls.

Evidence is where an endpoint is documented: "page" is a public page of Monetate's (the two articles on the Metadata
and the Data API), "spec" is the OpenAPI description of Monetate's developer portal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Evidence = Literal["page", "spec"]
Verb = Literal["GET", "POST", "PATCH"]
Api = Literal["auth", "metadata", "data"]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint.

    Attributes:
        name: the client's resource and method, "variants.get".
        path: below the API's root; names in braces are filled in, percent-encoded.
        evidence: where the endpoint is documented.
        lists: whether it answers with pages of rows.
    """

    name: str
    method: Verb
    api: Api
    path: str
    evidence: Evidence = "spec"
    lists: bool = False

    @property
    def template(self) -> str:
        """Return the whole path, with names in braces."""
        return f"{ROOTS[self.api]}{self.path}"


# The retailer's short name and a fixed word; "metadata" comes twice in addresses of the Metadata API.
ROOTS: dict[Api, str] = {
    "auth": "/api/auth/v0/",
    "metadata": "/api/metadata/v1/{retailer}/production/metadata/",
    "data": "/api/data/v1/{retailer}/production/",
}

_TABLE = (
    Endpoint("auth.refresh", "GET", "auth", "refresh/", "page"),
    Endpoint("page_events.list", "GET", "metadata", "pageevent/", "page", lists=True),
    Endpoint("page_events.get", "GET", "metadata", "pageevent/{id}/"),
    Endpoint("variants.list", "GET", "metadata", "variant/", "page", lists=True),
    Endpoint("variants.get", "GET", "metadata", "variant/{id}/"),
    Endpoint("custom_targets.list", "GET", "metadata", "customtarget/", "page", lists=True),
    Endpoint("custom_targets.get", "GET", "metadata", "customtarget/{id}/"),
    Endpoint("experiences.list", "GET", "metadata", "experience-summary/", lists=True),
    Endpoint("experiences.get", "GET", "metadata", "experience-summary/{id}/"),
    Endpoint("accounts.list", "GET", "metadata", "account/", lists=True),
    Endpoint("accounts.get", "GET", "metadata", "account/{id}/"),
    Endpoint("data.upsert", "POST", "data", "data/{schema}/", "page"),
    Endpoint("data.check", "GET", "data", "data/{schema}/", "page"),
    Endpoint("schemas.list", "GET", "data", "schema/", lists=True),
    Endpoint("schemas.get", "GET", "data", "schema/{schema}/"),
    Endpoint("schemas.create", "POST", "data", "schema/"),
    Endpoint("schemas.add_fields", "PATCH", "data", "schema/{schema}/", "page"),
    Endpoint("schemas.set_identifier", "PATCH", "data", "schema/{schema}/", "page"),
    Endpoint("schema_types.list", "GET", "data", "schematype/", lists=True),
    Endpoint("schema_types.get", "GET", "data", "schematype/{name}/"),
    Endpoint("uploads.list", "GET", "data", "upload/{schema}/", lists=True),
    Endpoint("default_catalogs.list", "GET", "data", "defaultcatalog/", lists=True),
    Endpoint("default_catalogs.set", "POST", "data", "defaultcatalog/"),
)

ENDPOINTS = {endpoint.name: endpoint for endpoint in _TABLE}
"""All of them by name."""
