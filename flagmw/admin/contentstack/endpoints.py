"""Every endpoint of the Personalize Management API that the client calls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verb = Literal["GET", "POST", "PUT", "DELETE"]
MANAGE, READ = "personalize:manage", "personalize:read"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint.

    Attributes:
        name: the client's resource and method, "experiences.versions.create".
        path: names in braces are filled in.
        project: whether it concerns a project, which `x-project-uid` names.
    """

    name: str
    method: Verb
    path: str
    project: bool = True

    @property
    def right(self) -> str:
        """Return the OAuth scope that the call needs, as the vendor's page names it."""
        if self.method != "GET":
            return MANAGE
        # Of a single experience the page names this scope alone.
        return READ if self.name == "experiences.get" else f"{READ} or {MANAGE}"

    @property
    def status(self) -> int:
        """Return the status of success."""
        return {"POST": 201, "DELETE": 204}.get(self.method, 200)


_TABLE = (
    Endpoint("attributes.create", "POST", "/attributes"),
    Endpoint("attributes.list", "GET", "/attributes"),
    Endpoint("attributes.update", "PUT", "/attributes/{uid}"),
    Endpoint("attributes.delete", "DELETE", "/attributes/{uid}"),
    Endpoint("audiences.create", "POST", "/audiences"),
    Endpoint("audiences.list", "GET", "/audiences"),
    Endpoint("audiences.update", "PUT", "/audiences/{uid}"),
    Endpoint("audiences.delete", "DELETE", "/audiences/{uid}"),
    Endpoint("experiences.create", "POST", "/experiences"),
    Endpoint("experiences.list", "GET", "/experiences"),
    Endpoint("experiences.update", "PUT", "/experiences/{uid}"),
    Endpoint("experiences.get", "GET", "/experiences/{uid}"),
    Endpoint("experiences.delete", "DELETE", "/experiences/{uid}"),
    Endpoint("versions.create", "POST", "/experiences/{uid}/versions"),
    Endpoint("versions.list", "GET", "/experiences/{uid}/versions"),
    Endpoint("versions.update", "PUT", "/experiences/{uid}/versions/{version}"),
    Endpoint("versions.delete", "DELETE", "/experiences/{uid}/versions/{version}"),
    Endpoint("events.create", "POST", "/events"),
    Endpoint("events.list", "GET", "/events"),
    Endpoint("events.update", "PUT", "/events/{uid}"),
    Endpoint("events.delete", "DELETE", "/events/{uid}"),
    Endpoint("priority.get", "GET", "/experiences-priority"),
    Endpoint("priority.set", "PUT", "/experiences-priority"),
    Endpoint("analytics.summary", "GET", "/experiences/{uid}/analytics/summary"),
    Endpoint("analytics.time_series", "GET", "/experiences/{uid}/analytics/time-series"),
    Endpoint("geolocation.regions", "GET", "/geolocation/regions", project=False),
    Endpoint("geolocation.countries", "GET", "/geolocation/countries", project=False),
    Endpoint("geolocation.cities", "GET", "/geolocation/cities", project=False),
)

ENDPOINTS = {endpoint.name: endpoint for endpoint in _TABLE}
"""All of them by name, in the order of the vendor's page."""
