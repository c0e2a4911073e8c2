"""The base of all resources of the Personalize Management API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from flagmw.admin.contentstack.endpoints import ENDPOINTS
from flagmw.admin.contentstack.wire import request_of
from flagmw.admin.errors import AmbiguousError, AnswerError
from flagmw.admin.flow.effects import Flow
from flagmw.admin.flow.operation import M, Resource
from flagmw.admin.http.exchange import Exchange
from flagmw.admin.http.request import ApiRequest

Document = dict[str, Any]


class ContentstackClient(Protocol):
    """What a resource needs of its client."""

    exchange: Exchange
    root: str
    project_uid: str


class ContentstackResource(Resource[M]):
    """A group of methods of `ContentstackAdmin` and `AsyncContentstackAdmin`."""

    _client: ContentstackClient

    def _object(self, /, name: str, **parts: Any) -> Flow[Any]:
        """Send the request of an endpoint that answers with an object; in a dry run, end with it."""
        return (yield from self._sent(self._planned(name, **parts), dict))

    def _rows(self, /, name: str, **parts: Any) -> Flow[Any]:
        """Send the request of an endpoint that answers with a list; in a dry run, end with it."""
        request = self._planned(name, **parts)
        return rows_of((yield from self._sent(request, list)), name)

    def _read_rows(self, /, name: str, **parts: Any) -> Flow[list[Document]]:
        """Send a read that a method needs before it can write, also in a dry run."""
        return rows_of((yield from self._sent(self._request(name, **parts), list)), name)

    def _nothing(self, /, name: str, **parts: Any) -> Flow[None]:
        """Send the request of an endpoint that answers without a body; in a dry run, end with it."""
        yield from self._client.exchange.send(self._planned(name, **parts))

    def _planned(self, name: str, **parts: Any) -> ApiRequest:
        request = self._request(name, **parts)
        if self._planning:
            self._client.exchange.stop(request)
        return request

    def _sent(self, request: ApiRequest, kind: type) -> Flow[Any]:
        answer = yield from self._client.exchange.json(request)
        if not isinstance(answer, kind):
            if request.changes:
                text = f"it was accepted, but the answer has no content: read {request.path} to see what is there now"
                raise AmbiguousError(text, operation=request.operation)
            wanted = "list" if kind is list else "object"
            raise AnswerError(f"the answer is no JSON {wanted}; check base_url", operation=request.operation)
        return answer

    def _request(
        self,
        name: str,
        *,
        values: Mapping[str, object] | None = None,
        query: Sequence[tuple[str, str]] = (),
        body: Any = None,
    ) -> ApiRequest:
        client = self._client
        return request_of(ENDPOINTS[name], client.root, client.project_uid, values=values, query=query, body=body)


def rows_of(answer: Sequence[Any], name: str) -> list[Document]:
    """Return *answer*, a list of objects.

    Raises:
        AnswerError: it holds something else.
    """
    if not all(isinstance(one, dict) for one in answer):
        raise AnswerError("the list holds something that is no object; check base_url", operation=name)
    return list(answer)


def given(**fields: Any) -> Document:
    """Return *fields* without those that are None."""
    return {name: value for name, value in fields.items() if value is not None}
