"""One call of Monetate's emulated management APIs, and its endpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from flagmw.sandbox.monetate_admin.store import RetailerStore

if TYPE_CHECKING:
    from flagmw.sandbox.monetate.model import Retailer
    from flagmw.sandbox.state import Sandbox

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ManagementCall:
    """A call with a good token.

    Attributes:
        url: of the call itself, without its query, for the addresses of other pages.
        values: of the names in braces of the endpoint's path.
        body: the JSON object of a POST or PATCH, else empty.
    """

    sandbox: Sandbox
    retailer: Retailer
    store: RetailerStore
    token: str
    url: str
    values: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    body: Document = field(default_factory=dict)

    @property
    def now(self) -> float:
        """Return the sandbox's time."""
        return self.sandbox.clock()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint.

    Attributes:
        name: as in the OpenAPI description.
        path: below the API's root; `{id}` stands for digits.
        answer: the schema of one object of the answer's data.
        takes: the schema of the body, "" for none.
        lists: whether the data is a list of such objects.
        filters: parameters that it takes beside those of pages.
    """

    name: str
    method: Literal["GET", "POST", "PATCH"]
    api: Literal["metadata", "data"]
    path: str
    handler: Callable[[ManagementCall], Document]
    answer: str
    takes: str = ""
    lists: bool = False
    filters: tuple[str, ...] = ()

    @property
    def status(self) -> int:
        """Return the status of a success."""
        return 201 if self.method == "POST" else 200
