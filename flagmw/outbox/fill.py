"""Frozen values made without their constructor, for those that are read from a store by the ten thousand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, make_dataclass
from typing import Any, TypeVar

T = TypeVar("T")


def filler(cls: type[T]) -> Callable[..., T]:
    """Return a function that makes a *cls*, a dataclass with slots, of the values of all its fields in their order.

    A frozen dataclass sets each of its fields with a call, which takes eight times as long as to assign it. So the
    values are assigned while the object is still of a class with the same slots that is not frozen. They are taken as
    they are: there are no defaults, and `__post_init__` is not called.
    """
    names = [field.name for field in fields(cls)]  # type: ignore[arg-type]

    def freeze(made: Any) -> None:
        made.__class__ = cls

    return make_dataclass(cls.__name__, names, slots=True, eq=False, repr=False, namespace={"__post_init__": freeze})
