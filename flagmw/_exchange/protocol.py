"""The part of an exchange that the edges use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from flagmw._web.link_page import Page
from flagmw.flags.flags import Recorder

if TYPE_CHECKING:
    from flagmw._exchange.exchange import Exchange


class RequestRecorder(Recorder, Protocol):
    """The recorder of an exchange, begun or deferred.

    Attributes:
        answered: whether the response has begun: from then on events go to the outbox at once.
    """

    answered: bool

    @property
    def pending(self) -> bool:
        """Whether there are events to commit."""


class RequestExchange(Protocol):
    """An exchange, begun or deferred."""

    @property
    def page(self) -> Page | None:
        """The page to send in place of the application's response, if any."""

    @property
    def recorder(self) -> RequestRecorder:
        """The recorder of reads and tracks."""

    @property
    def set_cookies(self) -> tuple[str, ...]:
        """Set-Cookie values that are due."""

    @property
    def no_store(self) -> bool:
        """Whether nobody may keep the response."""

    def begun(self) -> Exchange:
        """Return the exchange itself, which begins now if it was deferred."""
