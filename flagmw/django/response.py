"""Edits of Django's responses: headers, cookie lines, pages in place of the view's."""

from __future__ import annotations

from collections.abc import Sequence
from http.cookies import Morsel
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from flagmw import asgi
from flagmw._exchange.exchange import Exchange
from flagmw._web import response as response_headers
from flagmw._web.link_page import Page
from flagmw.django.request import holder


def page_response(page: Page, cookies: Sequence[str]) -> HttpResponse:
    """Return a response of ours in place of the view's."""
    response = HttpResponse(page.body, status=page.status, headers=dict(page.headers))
    for line in cookies:
        cookie = CookieLine(line)
        response.cookies[cookie.key] = cookie
    return response


def edit(request: HttpRequest, response: HttpResponseBase, exchange: Exchange) -> None:
    """Make the response's headers what `response_headers` says they become."""
    flags, cookies, no_store = holder(request)[asgi.KEY], exchange.set_cookies, exchange.no_store
    if not flags.touched and not cookies and not no_store:
        return
    lines = [("Set-Cookie", cookie.output(header="").strip()) for cookie in response.cookies.values()]
    headers = [*response.items(), *lines]
    edited = response_headers.edit(headers, response.status_code, cookies, touched=flags.touched, no_store=no_store)
    if edited is None:
        return
    for name in {name for name, value in response.items() if (name, value) not in edited}:
        del response.headers[name]
    for name, value in edited:
        if (name, value) in headers:
            continue
        if name != "set-cookie":
            response.headers[name.title()] = value
            continue
        cookie = CookieLine(value)
        response.cookies[value if cookie.key in response.cookies else cookie.key] = cookie
        # A 304 carries no cookie, so middleware around this one must not make the response into one.
        request.META.pop("HTTP_IF_NONE_MATCH", None)
        request.META.pop("HTTP_IF_MODIFIED_SINCE", None)


class CookieLine(Morsel[str]):
    """A Set-Cookie value that leaves as it is; Morsel itself refuses names with a space, and quotes values."""

    _made: Morsel[str] | None = None

    def __init__(self, line: str) -> None:
        super().__init__()
        pair, *attributes = line.split("; ")
        name, _, value = pair.partition("=")
        self.__setstate__({"key": name, "value": value, "coded_value": value})  # type: ignore[attr-defined]
        for attribute in attributes:
            key, has_value, text = attribute.partition("=")
            self[key] = text if has_value else True
        self._line, self._made = line, self.copy()

    def __reduce__(self) -> tuple[Any, ...]:
        # Page caches keep responses in pickles.
        return restored, (self._line, dict(self))

    # Which of the two Django's handlers call depends on its version.

    def output(self, attrs: Any = None, header: str = "Set-Cookie:") -> str:
        return f"{header} {self.OutputString(attrs)}".strip()

    def OutputString(self, attrs: Any = None) -> str:
        # Somebody may have changed it, such as middleware that makes all cookies Secure.
        return self._line if self == self._made and attrs is None else super().OutputString(attrs)


def restored(line: str, attributes: dict[str, Any]) -> CookieLine:
    cookie = CookieLine(line)
    cookie.update(attributes)
    return cookie
