"""Lists that are read page by page while they are iterated."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, overload

from flagmw.admin.flow.effects import Flow
from flagmw.admin.flow.operation import Async, Blocking, Resource
from flagmw.admin.http.planned import Planned, PlannedRequest

P = ParamSpec("P")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
S = TypeVar("S", bound="Resource[Any]")


class Pager(Protocol[T_co]):
    """Reads the pages of one list, one after the other.

    Attributes:
        total: how many rows the vendor said there are, None before the first page or when it does not say.
        shifted: how often rows moved between two pages in an order in which some may have been missed.
    """

    total: int | None
    shifted: int

    def next_page(self) -> Flow[Sequence[T_co] | None]:
        """Return the next rows, None after the last."""
        ...


class Rows(Generic[T]):
    """What iterators over a list have in common.

    Attributes:
        total: how many rows the vendor said there are; None before the first page, or when it does not say.
        shifted: how often the list changed between two pages in a way that may have hidden rows. Always 0 in the
            default order, in which every row that is there throughout comes exactly once.
    """

    def __init__(self, client: Any, pager: Pager[T]) -> None:
        self._client, self._pager = client, pager
        self._page: Iterator[T] = iter(())

    @property
    def total(self) -> int | None:
        return self._pager.total

    @property
    def shifted(self) -> int:
        return self._pager.shifted


class BlockingRows(Rows[T], Iterator[T]):
    """A list of a blocking client; reads the next page when the one before is used up."""

    def __iter__(self) -> BlockingRows[T]:
        return self

    def __next__(self) -> T:
        while True:
            for row in self._page:
                return row
            page = self._client.driver.run(self._pager.next_page())
            if page is None:
                raise StopIteration
            self._page = iter(page)


class AsyncRows(Rows[T], AsyncIterator[T]):
    """A list of an asynchronous client; reads the next page when the one before is used up."""

    def __aiter__(self) -> AsyncRows[T]:
        return self

    async def __anext__(self) -> T:
        while True:
            for row in self._page:
                return row
            page = await self._client.driver.run(self._pager.next_page())
            if page is None:
                raise StopAsyncIteration
            self._page = iter(page)


class BlockingList(Generic[P, T]):
    """A list of a blocking client, before it is called."""

    def __init__(self, listing: Any, resource: Resource[Any]) -> None:
        self._listing, self._resource = listing, resource
        self.__doc__ = listing.__doc__
        self.__name__ = listing.__name__

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> BlockingRows[T]:
        if self._resource._client.dry_run:
            return self.request(*args, **kwargs)  # type: ignore[return-value]
        return BlockingRows(self._resource._client, self._listing.function(self._resource, *args, **kwargs))

    def request(self, *args: P.args, **kwargs: P.kwargs) -> PlannedRequest:
        """Return the request of the first page, without sending it."""
        planner = self._resource.planner()
        try:
            self._resource._client.driver.run(self._listing.function(planner, *args, **kwargs).next_page())
        except Planned as planned:
            return planned.request
        raise RuntimeError(f"{self.__name__} needs no request for these arguments")


class AsyncList(Generic[P, T]):
    """A list of an asynchronous client, before it is called."""

    def __init__(self, listing: Any, resource: Resource[Any]) -> None:
        self._listing, self._resource = listing, resource
        self.__doc__ = listing.__doc__
        self.__name__ = listing.__name__

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> AsyncRows[T]:
        if self._resource._client.dry_run:
            return self.request(*args, **kwargs)  # type: ignore[return-value]
        return AsyncRows(self._resource._client, self._listing.function(self._resource, *args, **kwargs))

    async def request(self, *args: P.args, **kwargs: P.kwargs) -> PlannedRequest:
        """Return the request of the first page, without sending it."""
        planner = self._resource.planner()
        try:
            await self._resource._client.driver.run(self._listing.function(planner, *args, **kwargs).next_page())
        except Planned as planned:
            return planned.request
        raise RuntimeError(f"{self.__name__} needs no request for these arguments")


class listing(Generic[S, P, T]):  # a decorator
    """Make a method of a `Resource` that returns an iterator out of a function that returns a pager."""

    def __init__(self, function: Callable[Concatenate[S, P], Pager[T]]) -> None:
        self.function = function
        self.__doc__ = function.__doc__
        self.__name__ = function.__name__
        self.__wrapped__ = function

    @overload
    def __get__(self, instance: None, owner: Any) -> listing[S, P, T]: ...
    @overload
    def __get__(self, instance: Resource[Blocking], owner: Any) -> BlockingList[P, T]: ...
    @overload
    def __get__(self, instance: Resource[Async], owner: Any) -> AsyncList[P, T]: ...
    def __get__(self, instance: Any, owner: Any) -> Any:
        if instance is None:
            return self
        return (AsyncList if instance._client.is_async else BlockingList)(self, instance)
