"""One call of the emulated Admin API, and its endpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flagmw.sandbox.adobe_admin.settings import AdminSettings, Right
from flagmw.sandbox.adobe_admin.store import AccountStore, Document

if TYPE_CHECKING:
    from flagmw.sandbox.adobe.model import TargetAccount
    from flagmw.sandbox.state import Sandbox


@dataclass(frozen=True, slots=True)
class AdminCall:
    """A call that came past the gateway.

    Attributes:
        values: of the names in braces of the endpoint's path.
        query: in the order of the address; the same name may come again.
        body: the JSON object of a POST, PUT or PATCH, else empty.
        serve: answers a call within this one, of a batch: call, method, path, version.
    """

    sandbox: Sandbox
    account: TargetAccount
    store: AccountStore
    serve: Callable[[AdminCall, str, str, int], Served]
    values: Mapping[str, str] = field(default_factory=dict)
    query: Sequence[tuple[str, str]] = ()
    body: Document = field(default_factory=dict)

    @property
    def settings(self) -> AdminSettings:
        """Return the settings of the account's management."""
        return self.account.admin

    @property
    def now(self) -> float:
        """Return the sandbox's time."""
        return self.sandbox.clock()

    @property
    def id(self) -> int:
        """Return the id in the path."""
        return int(self.values["id"])

    def parameter(self, name: str) -> str | None:
        """Return the first value of a parameter in the query."""
        return next((value for key, value in self.query if key == name), None)


Handler = Callable[[AdminCall], Document]


@dataclass(frozen=True, slots=True)
class Served:
    """An answer, with the endpoint that gave it."""

    endpoint: ApiRoute
    status: int
    document: Document


@dataclass(frozen=True, slots=True)
class ApiRoute:
    """One endpoint.

    Attributes:
        name: as in the OpenAPI description.
        path: below `/{tenant}/target`; `{id}` stands for digits.
        versions: of the media type that it serves.
        number: its place in the documentation page; 0 when it is only in Adobe's OpenAPI description.
        answer: the schema of the answer.
        takes: the schema of the body, "" for none.
        collection: of a list, the key of its rows.
        creates: whether a success is 201.
    """

    name: str
    method: str
    path: str
    versions: tuple[int, ...]
    handler: Handler
    number: int = 0
    answer: str = ""
    takes: str = ""
    collection: str = ""
    creates: bool = False

    @property
    def right(self) -> Right:
        """Return the right that an integration needs for it."""
        if self.method == "GET":
            return "Observer"
        return "Approver" if self.path.endswith(("/state", "/schedule")) else "Editor"
