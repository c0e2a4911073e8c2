"""A private view of the state that an ASGI server shares."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from flagmw.flags.flags import Flags

NAME = "flags"
_MISSING: Any = object()


class OwnState(dict[str, Any]):
    """A copy of the server's state with the request's flags in it.

    What the application writes under any other name is written to the server's state as well: middleware outside, and
    other requests where the server shares its state on purpose, see it as they would without us.
    """

    __slots__ = ("_given",)

    def __init__(self, given: MutableMapping[str, Any], flags: Flags) -> None:
        super().__init__(given)
        self._given = given
        super().__setitem__(NAME, flags)

    def __setitem__(self, name: str, value: Any) -> None:
        super().__setitem__(name, value)
        if name != NAME:
            self._given[name] = value

    def __delitem__(self, name: str) -> None:
        super().__delitem__(name)
        if name != NAME:
            self._given.pop(name, None)

    # A dict's own methods do not call the two above.

    def __ior__(self, other: Any) -> OwnState:  # type: ignore[override, misc]
        self.update(other)
        return self

    def __reduce__(self) -> Any:
        return dict, (dict(self),)

    def copy(self) -> dict[str, Any]:
        return dict(self)

    def update(self, *others: Any, **named: Any) -> None:
        for name, value in dict(*others, **named).items():
            self[name] = value

    def setdefault(self, name: str, default: Any = None) -> Any:
        if name not in self:
            self[name] = default
        return self[name]

    def pop(self, name: str, default: Any = _MISSING) -> Any:
        if name not in self:
            if default is _MISSING:
                raise KeyError(name)
            return default
        value = self[name]
        del self[name]
        return value

    def popitem(self) -> tuple[str, Any]:
        if not self:
            raise KeyError("the state is empty")
        name = next(reversed(self))
        return name, self.pop(name)

    def clear(self) -> None:
        for name in list(self):
            del self[name]


def own_state(given: Any, flags: Flags) -> Any:
    """Return the state of one request, with its *flags*; *given* stays the server's and never holds them.

    What is no dictionary comes back as it is: the flags are in the scope itself, where `flags_from` finds them.
    """
    if given is None:
        return {NAME: flags}
    return OwnState(given, flags) if isinstance(given, MutableMapping) else given
