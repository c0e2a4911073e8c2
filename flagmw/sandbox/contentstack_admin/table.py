"""Every endpoint of the emulated Management API."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flagmw.sandbox.contentstack_admin import analytics, places, resources, tool, versions
from flagmw.sandbox.contentstack_admin.call import AdminCall

MANAGE, READ = "personalize:manage", "personalize:read"
Handler = Callable[[AdminCall], Any]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint.

    Attributes:
        answer: the schema's name in the description; "" for an answer without a body.
        takes: that of the body; "" for none.
        listed: whether the answer is a list of it.
        query: the parameters that it reads.
        of_project: whether it needs the header x-project-uid.
    """

    method: str
    path: str
    handler: Handler
    answer: str = ""
    takes: str = ""
    listed: bool = False
    query: tuple[str, ...] = ()
    of_project: bool = True

    @property
    def name(self) -> str:
        """Return the operation's name in the description."""
        first, *others = self.handler.__name__.split("_")
        return first + "".join(word.capitalize() for word in others)

    @property
    def scope(self) -> str:
        """Return the OAuth scope that it needs."""
        return READ if self.method == "GET" else MANAGE

    @property
    def status(self) -> int:
        """Return the status of success."""
        return {"POST": 201, "DELETE": 204}.get(self.method, 200)

    def values(self, path: str) -> dict[str, str] | None:
        """Return the parts of *path* that stand in braces; None when it is another path."""
        pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", self.path)
        found = re.fullmatch(pattern, path)
        return None if found is None else found.groupdict()


_VERSIONS = "/experiences/{uid}/versions"
_ANALYTICS = "/experiences/{uid}/analytics"
_TIMES = ("version", "start", "end")
_FILTERS = ("name", "codes", "skip", "limit")


def _places(what: str, rows: list[dict[str, str]]) -> Endpoint:
    handler = places.listed(what, rows)
    return Endpoint("GET", f"/geolocation/{what}", handler, "Place", listed=True, query=_FILTERS, of_project=False)


ENDPOINTS = (
    Endpoint("POST", "/attributes", resources.create_attribute, "Attribute", "AttributeInput"),
    Endpoint("GET", "/attributes", resources.list_attributes, "Attribute", listed=True),
    Endpoint("PUT", "/attributes/{uid}", resources.update_attribute, "Attribute", "AttributeInput"),
    Endpoint("DELETE", "/attributes/{uid}", resources.delete_attribute),
    Endpoint("POST", "/audiences", resources.create_audience, "Audience", "AudienceInput"),
    Endpoint("GET", "/audiences", resources.list_audiences, "Audience", listed=True),
    Endpoint("PUT", "/audiences/{uid}", resources.update_audience, "Audience", "AudienceInput"),
    Endpoint("DELETE", "/audiences/{uid}", resources.delete_audience),
    Endpoint("POST", "/experiences", resources.create_experience, "Experience", "ExperienceInput"),
    Endpoint("GET", "/experiences", resources.list_experiences, "Experience", listed=True),
    Endpoint("PUT", "/experiences/{uid}", resources.update_experience, "Experience", "ExperienceChange"),
    Endpoint("GET", "/experiences/{uid}", resources.get_experience, "Experience"),
    Endpoint("DELETE", "/experiences/{uid}", resources.delete_experience),
    Endpoint("POST", _VERSIONS, versions.create_version, "Version", "VersionInput"),
    Endpoint("GET", _VERSIONS, versions.list_versions, "Version", listed=True),
    Endpoint("PUT", f"{_VERSIONS}/{{version}}", versions.update_version, "Version", "VersionChange"),
    Endpoint("DELETE", f"{_VERSIONS}/{{version}}", versions.delete_version),
    Endpoint("POST", "/events", resources.create_event, "Event", "EventInput"),
    Endpoint("GET", "/events", resources.list_events, "Event", listed=True),
    Endpoint("PUT", "/events/{uid}", resources.update_event, "Event", "EventInput"),
    Endpoint("DELETE", "/events/{uid}", resources.delete_event),
    Endpoint("GET", "/experiences-priority", resources.get_priority, "Priority"),
    Endpoint("PUT", "/experiences-priority", resources.set_priority, "Priority", "Priority"),
    Endpoint("GET", f"{_ANALYTICS}/summary", analytics.get_summary, "Summary", query=_TIMES),
    Endpoint("GET", f"{_ANALYTICS}/time-series", analytics.get_time_series, "TimeSeries", query=_TIMES),
    _places("regions", places.REGIONS),
    _places("countries", places.COUNTRIES),
    _places("cities", places.CITIES),
)

# Beside the published description: for the vendor's exporter and importer.
_GROUP = "/experiences/{uid}/cms-integration/variant-group"
TOOL_ENDPOINTS = (
    Endpoint("GET", "/projects", tool.list_projects, listed=True, of_project=False),
    Endpoint("POST", "/projects", tool.create_project, of_project=False),
    Endpoint("PUT", "/projects/{uid}", tool.update_project, of_project=False),
    Endpoint("GET", _GROUP, tool.get_variant_group),
    Endpoint("POST", _GROUP, tool.set_variant_group),
    Endpoint("GET", "/v3/variant_groups", tool.list_variant_groups, of_project=False),
    Endpoint("PUT", "/v3/variant_groups/{uid}", tool.update_variant_group, of_project=False),
)
