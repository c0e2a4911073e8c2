"""Methods written once, as generators, that exist blocking and asynchronous."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cached_property
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

from flagmw.admin.flow.effects import Flow
from flagmw.admin.http.planned import Planned, PlannedRequest

P = ParamSpec("P")
T = TypeVar("T")
S = TypeVar("S", bound="Resource[Any]")


class Blocking:
    """Marks resources whose methods return their results."""


class Async:
    """Marks resources whose methods return awaitables."""


M = TypeVar("M", Blocking, Async)


class Resource(Generic[M]):
    """A group of methods of a client.

    Args:
        client: the client that the group belongs to.
        planning: whether methods stop before they send and give the request back.
    """

    def __init__(self, client: Any, *, planning: bool = False) -> None:
        self._client = client
        self._planning = planning

    def planner(self) -> Resource[M]:
        """Return the same resource for a dry run."""
        return type(self)(self._client, planning=True)


class BlockingMethod(Generic[P, T]):
    """A method of a blocking client."""

    def __init__(self, operation: Any, resource: Resource[Any]) -> None:
        self._operation, self._resource = operation, resource
        self.__doc__ = operation.__doc__
        self.__name__ = operation.__name__
        self.__signature__ = operation.bound_signature

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        client = self._resource._client
        if client.dry_run:
            return self.request(*args, **kwargs)  # type: ignore[return-value]
        return client.driver.run(self._operation.function(self._resource, *args, **kwargs))  # type: ignore[no-any-return]

    def request(self, *args: P.args, **kwargs: P.kwargs) -> PlannedRequest:
        """Return the request that the call would send, without sending it.

        A method that must read before it can write (`clone`, `add_experience`, ...) does read.
        """
        client = self._resource._client
        planner = self._resource.planner()
        try:
            client.driver.run(self._operation.function(planner, *args, **kwargs))
        except Planned as planned:
            return planned.request
        raise RuntimeError(f"{self.__name__} needs no request for these arguments")


class AsyncMethod(Generic[P, T]):
    """A method of an asynchronous client."""

    def __init__(self, operation: Any, resource: Resource[Any]) -> None:
        self._operation, self._resource = operation, resource
        self.__doc__ = operation.__doc__
        self.__name__ = operation.__name__
        self.__signature__ = operation.bound_signature

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        client = self._resource._client
        if client.dry_run:
            return await self.request(*args, **kwargs)  # type: ignore[return-value]
        return await client.driver.run(self._operation.function(self._resource, *args, **kwargs))  # type: ignore[no-any-return]

    async def request(self, *args: P.args, **kwargs: P.kwargs) -> PlannedRequest:
        """Return the request that the call would send, without sending it.

        A method that must read before it can write (`clone`, `add_experience`, ...) does read.
        """
        client = self._resource._client
        planner = self._resource.planner()
        try:
            await client.driver.run(self._operation.function(planner, *args, **kwargs))
        except Planned as planned:
            return planned.request
        raise RuntimeError(f"{self.__name__} needs no request for these arguments")


class operation(Generic[S, P, T]):  # a decorator
    """Make a method of a `Resource` out of a generator function.

    On a resource of a blocking client the method returns the generator's result, on one of an asynchronous client an
    awaitable. `method.request(...)` returns the request instead of sending it.
    """

    def __init__(self, function: Callable[Concatenate[S, P], Flow[T]]) -> None:
        self.function = function
        self.__doc__ = function.__doc__
        self.__name__ = function.__name__
        self.__wrapped__ = function

    @cached_property
    def bound_signature(self) -> inspect.Signature:
        """Return the signature without `self`."""
        signature = inspect.signature(self.function)
        return signature.replace(parameters=list(signature.parameters.values())[1:])

    @overload
    def __get__(self, instance: None, owner: Any) -> operation[S, P, T]: ...
    @overload
    def __get__(self, instance: Resource[Blocking], owner: Any) -> BlockingMethod[P, T]: ...
    @overload
    def __get__(self, instance: Resource[Async], owner: Any) -> AsyncMethod[P, T]: ...
    def __get__(self, instance: Any, owner: Any) -> Any:
        if instance is None:
            return self
        return (AsyncMethod if instance._client.is_async else BlockingMethod)(self, instance)


__all__ = ["Async", "AsyncMethod", "Blocking", "BlockingMethod", "M", "Resource", "operation"]
