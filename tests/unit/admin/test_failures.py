"""What the vendor answers when something is wrong, what the caller is told, and what is sent again."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flagmw.admin import (
    AdminError,
    AdobeAdmin,
    AmbiguousError,
    AnswerError,
    AuthError,
    CallNote,
    ConflictError,
    GivenToken,
    InvalidError,
    NotFoundError,
    PermissionDeniedError,
    ServerError,
    ThrottledError,
    UnreachableError,
    VersionError,
)
from tests.support.authority import Authority
from tests.support.http_vendor import Answer, HttpVendor, answer
from tests.support.raw_vendor import RawVendor, drip, http, read_request, reset
from tests.unit.admin.adobe import API_KEY, TOKEN, Clock, answer_of, async_client, client

FAULT = {
    "httpStatus": 400,
    "requestId": "8752b736",
    "errors": [{"errorCode": "Invalid.Value", "message": "name is taken", "meta": {"field": "name"}}],
}


def read(admin: AdobeAdmin) -> object:
    return admin.offers.content.get(1)


def create(admin: AdobeAdmin) -> object:
    return admin.offers.content.create({"name": "Spring", "content": "<b>Spring</b>"})


def replace(admin: AdobeAdmin) -> object:
    return admin.offers.content.update(1, {"name": "Spring", "content": "<b>Spring</b>"})


def delete(admin: AdobeAdmin) -> object:
    return admin.offers.content.delete(1)


def failure(reply: Answer | list[Answer], use: Callable[[AdobeAdmin], object], clock: Clock) -> tuple[AdminError, int]:
    """Return the error that *use* raises, and how many requests were made."""
    replies = iter(reply if isinstance(reply, list) else [])
    with HttpVendor(lambda _: next(replies, reply if isinstance(reply, Answer) else answer({}))) as vendor:
        with client(vendor.url, clock) as admin, pytest.raises(AdminError) as caught:
            use(admin)
        return caught.value, len(vendor.requests)


@pytest.mark.parametrize(
    ("status", "use", "kind", "requests"),
    [
        (400, create, InvalidError, 1),
        (401, read, AuthError, 1),
        (403, replace, PermissionDeniedError, 1),
        (404, read, NotFoundError, 1),
        (405, read, InvalidError, 1),
        (406, read, VersionError, 1),
        (409, create, ConflictError, 1),
        (415, create, VersionError, 1),
        (429, create, ThrottledError, 1),
        (429, replace, ThrottledError, 3),
        (429, delete, ThrottledError, 3),
        (429, read, ThrottledError, 3),
        (500, read, ServerError, 3),
        (502, create, AmbiguousError, 1),
        (503, read, ThrottledError, 3),
        (503, create, AmbiguousError, 1),
        (503, replace, AmbiguousError, 1),
        (503, delete, AmbiguousError, 1),
        (302, read, AnswerError, 1),
    ],
)
def test_status_becomes_an_error_and_only_what_is_safe_is_repeated(
    status: int, use: Callable[[AdobeAdmin], object], kind: type[AdminError], requests: int
) -> None:
    """Reads are repeated after 429 and 5xx; writes after 429 alone, and of those a POST not at all."""
    error, made = failure(answer({**FAULT, "httpStatus": status}, status), use, Clock())
    assert type(error) is kind
    assert made == requests
    assert (error.status, error.code, error.request_id) == (status, "Invalid.Value", "8752b736")
    assert error.operation.startswith("offers.content.")
    assert "name is taken" in str(error)


def test_repeats_of_a_throttled_post_are_an_option() -> None:
    """`repeat_post=True` sends a POST again after a 429, which means that it was not done."""
    replies = iter([answer(FAULT, 429), answer({"id": 5})])
    clock = Clock()
    with HttpVendor(lambda _: next(replies)) as vendor, client(vendor.url, clock, repeat_post=True) as admin:
        assert create(admin) == {"id": 5}
    assert clock.slept == [60.0]


def test_throttling_waits_as_the_vendor_says_else_a_minute() -> None:
    """A 503 without Retry-After is Adobe's limit per minute; with it, its seconds count."""
    clock = Clock()
    replies = iter([answer(FAULT, 503), answer(FAULT, 503, Retry_After="7"), answer({"id": 1})])
    with HttpVendor(lambda _: next(replies)) as vendor, client(vendor.url, clock) as admin:
        assert read(admin) == {"id": 1}
    assert clock.slept == [60.0, 7.0]
    error, _ = failure(answer(FAULT, 503), read, Clock())
    assert isinstance(error, ThrottledError)
    assert error.seconds == 60.0


def test_a_wait_beyond_the_limit_is_not_begun() -> None:
    """When the vendor wants more patience than `max_wait_s`, the error comes at once and says how long."""
    clock = Clock()
    with HttpVendor(lambda _: answer(FAULT, 503, Retry_After="120")) as vendor:
        with client(vendor.url, clock, max_wait_s=100) as admin, pytest.raises(ThrottledError) as caught:
            read(admin)
        assert len(vendor.requests) == 1
    assert (caught.value.seconds, clock.slept) == (120.0, [])


def test_invalid_names_the_field() -> None:
    """The field that the vendor names is on the error."""
    error, _ = failure(answer(FAULT, 400), create, Clock())
    assert isinstance(error, InvalidError)
    assert error.field == "name"
    assert str(error).startswith("offers.content.create: name: the vendor refuses the request")


@pytest.mark.parametrize(
    ("use", "right"),
    [
        (read, "Observer"),
        (create, "Editor"),
        (lambda admin: admin.activities.set_state(1, "approved"), "Publisher or Approver"),
    ],
)
def test_forbidden_names_the_right(use: Callable[[AdobeAdmin], object], right: str) -> None:
    """A 403 says which right an administrator has to give."""
    error, _ = failure(answer(FAULT, 403), use, Clock())
    assert isinstance(error, PermissionDeniedError)
    assert error.right == right
    assert right in str(error)


def test_the_printed_version_error() -> None:
    """The printed answer to a wrong version is read whole."""
    error, _ = failure(answer(answer_of("errors.unsupported_feature"), 406), read, Clock())
    assert isinstance(error, VersionError)
    assert (error.code, error.request_id) == ("Unsupported.Feature", "8752b736-cf71-4d81-86c3-94be2b5ae648")


def test_the_gateways_shape() -> None:
    """The gateway's own error shape gives its code and text too."""
    error, _ = failure(answer({"error_code": "401013", "message": "Oauth token is not valid"}, 401), read, Clock())
    assert isinstance(error, AuthError)
    assert error.code == "401013"
    assert "Oauth token is not valid" in str(error)


def test_the_gateway_s_403_is_about_the_key() -> None:
    """When the gateway refuses, no role in Adobe Target is missing: the error names the key and the project."""
    error, _ = failure(answer({"error_code": "403000", "message": "Api Key is required"}, 403), read, Clock())
    assert type(error) is AuthError
    assert "check api_key" in str(error)
    assert error.code == "403000"


HTML = Answer(200, b"<html><body>Bad gateway</body></html>", {"content-type": "text/html"})
CUT = Answer(200, b'{"id": 1, "name": "Spr')


@pytest.mark.parametrize(
    "broken", [HTML, CUT, Answer(200, b"[]"), Answer(200, b"")], ids=["html", "cut", "list", "empty"]
)
def test_unreadable_success(broken: Answer) -> None:
    """A read says that the answer makes no sense; a write that it may have been done, since the vendor accepted it."""
    error, made = failure(broken, read, Clock())
    assert (type(error), made) == (AnswerError, 1)
    error, made = failure(broken, create, Clock())
    assert (type(error), made) == (AmbiguousError, 1)
    assert "read /acme/target/offers/content" in str(error)


@pytest.mark.parametrize("status", [400, 500])
def test_html_instead_of_an_error(status: int) -> None:
    """An error page of a gateway becomes the error of its status."""
    error, _ = failure(Answer(status, b"<html>no</html>"), read, Clock())
    assert error.status == status
    assert error.code is None


def refused_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def test_nobody_there() -> None:
    """A connection that cannot be made is tried again, for writes too, since nothing was sent."""
    for use in (read, create):
        notes: list[CallNote] = []
        admin = client(f"http://127.0.0.1:{refused_port()}", on_call=notes.append)
        with admin, pytest.raises(UnreachableError, match="no connection"):
            use(admin)
        assert [note.attempt for note in notes] == [1, 2, 3]
        assert [note.repeat_in_s is None for note in notes] == [False, False, True]


def test_connection_lost_after_sending() -> None:
    """A read whose connection broke is made again; a write is not, and says that it may have been done."""
    good = [read_request, lambda c: c.send(http(b'{"id": 1}'))]
    with RawVendor([read_request, reset], good) as vendor, client(vendor.url) as admin:
        assert read(admin) == {"id": 1}
    for script in ([read_request, reset], [read_request, lambda c: c.send(http(b'{"id": 1}')[:-3])]):
        with RawVendor(script) as vendor, client(vendor.url) as admin:
            with pytest.raises(AmbiguousError, match="may have been done or not"):
                create(admin)
            assert len(vendor.requests) == 1


def test_a_write_never_uses_a_connection_that_was_used_before() -> None:
    """Whether a write arrived over a connection that the server had closed, nobody could say."""
    two = [read_request, lambda c: c.send(http(b'{"id": 1}')), read_request, lambda c: c.send(http(b'{"id": 2}'))]
    with RawVendor(two) as vendor, client(vendor.url) as admin:
        assert read(admin) == {"id": 1}
        assert create(admin) == {"id": 1}
        assert create(admin) == {"id": 1}
        assert read(admin) == {"id": 2}
        assert [request.connection for request in vendor.requests] == [0, 1, 2, 0]


def test_too_large_an_answer_is_refused() -> None:
    """An answer beyond the limit is not collected, also when it is small on the wire."""
    import gzip

    bomb = Answer(200, gzip.compress(b'"' + b"a" * (2 << 20) + b'"'), {"content-encoding": "gzip"})
    with HttpVendor(lambda _: bomb) as vendor, client(vendor.url, max_answer_bytes=1 << 20) as admin:
        with pytest.raises(AnswerError, match="max_answer_bytes"):
            read(admin)
        assert len(vendor.requests) == 1


def test_no_secret_in_any_text() -> None:
    """Tokens and keys are in no error, note, log line or representation, also when the vendor sends them back."""
    notes: list[CallNote] = []
    echo = {
        "httpStatus": 400,
        "errors": [{"errorCode": TOKEN, "message": f"Bearer {TOKEN} may not"}],
        "requestId": TOKEN,
    }
    with HttpVendor(lambda _: answer(echo, 400)) as vendor:
        with client(vendor.url, on_call=notes.append) as admin, pytest.raises(InvalidError) as caught:
            create(admin)
        shown = [str(caught.value), repr(caught.value), str(caught.value.code), repr(admin), repr(GivenToken(TOKEN))]
    planned = client("https://mc.adobe.io").offers.content.create.request({"name": "a", "content": "b"})
    shown += [repr(planned), planned.curl(), str(notes[0].attributes())]
    assert not [text for text in shown if TOKEN in text or API_KEY in text]
    assert caught.value.request_id == "***"


async def test_asynchronous_client_fails_the_same() -> None:
    """The same errors, repeats and waits come out of the asynchronous client."""
    clock = Clock()
    replies: Iterator[Answer] = iter([answer(FAULT, 503), answer(FAULT, 404)])
    with HttpVendor(lambda _: next(replies)) as vendor:
        async with async_client(vendor.url, clock) as admin:
            with pytest.raises(NotFoundError):
                await admin.offers.content.get(1)
    assert clock.slept == [60.0]
    async with async_client(f"http://127.0.0.1:{refused_port()}") as admin:
        with pytest.raises(UnreachableError):
            await admin.offers.content.create({"name": "a", "content": "b"})


def test_notes_tell_each_call() -> None:
    """`on_call` hears of every attempt, and its attributes are those of OpenTelemetry's HTTP conventions."""
    notes: list[CallNote] = []
    replies = iter([answer(FAULT, 500), answer({"id": 1}, X_Request_Id="r-1")])
    with HttpVendor(lambda _: next(replies)) as vendor, client(vendor.url, on_call=notes.append) as admin:
        read(admin)
        url = f"{vendor.url}/acme/target/offers/content/1"
    first, second = (note.attributes() for note in notes)
    assert first["error.type"] == "ServerError"
    assert second == {
        "http.request.method": "GET",
        "url.full": url,
        "url.template": "/{tenant}/target/offers/content/{id}",
        "http.response.status_code": 200,
        "http.request.resend_count": 1,
        "flagmw.vendor": "adobe",
        "flagmw.operation": "offers.content.get",
        "flagmw.request_id": "r-1",
    }


def test_a_hook_that_fails_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """An exception in `on_call` is logged."""

    def broken(note: Any) -> None:
        raise RuntimeError("no")

    with HttpVendor(lambda _: answer({"id": 1})) as vendor, client(vendor.url, on_call=broken) as admin:
        assert read(admin) == {"id": 1}
    assert "on_call failed: RuntimeError" in caplog.text


def test_cookies_are_not_kept() -> None:
    """What a vendor sets in one answer does not go out with the next call."""
    with (
        HttpVendor(lambda _: answer({"id": 1}, Set_Cookie="session=abc; Path=/")) as vendor,
        client(vendor.url) as admin,
    ):
        read(admin)
        read(admin)
    assert [request.headers.get("cookie") for request in vendor.requests] == [None, None]


def test_a_redirect_is_not_followed() -> None:
    """Credentials go to the configured host only."""
    with HttpVendor(lambda _: answer({"id": 1})) as other:
        error, _ = failure(answer({}, 307, Location=f"{other.url}/x"), create, Clock())
        assert other.requests == []
    assert "redirect" in str(error)


async def test_an_answer_that_drips() -> None:
    """An answer that comes byte by byte ends with the time that the whole call has."""
    slow = [read_request, drip(http(b'{"id": 1}' + b" " * 200), 0.02)]
    with RawVendor(slow) as vendor:
        with client(vendor.url, timeout_s=0.3, attempts=1) as admin, pytest.raises(UnreachableError, match="in time"):
            read(admin)
        async with async_client(vendor.url, timeout_s=0.3, attempts=1) as other:
            with pytest.raises(UnreachableError, match="in time"):
                await other.offers.content.get(1)
            with pytest.raises(AmbiguousError, match="in time"):
                await other.offers.content.delete(1)


async def test_why_no_connection_is_made(tmp_path: Path) -> None:
    """A certificate that is not accepted and a name that does not exist are told apart; nothing was sent."""
    authority = Authority(tmp_path)
    served = [read_request, lambda c: c.send(http(b'{"id": 1}'))]
    with RawVendor(served, tls=authority.context("good")) as vendor:
        with client(vendor.url, attempts=1) as admin, pytest.raises(UnreachableError, match="certificate"):
            create(admin)
        async with async_client(vendor.url, attempts=1) as other:
            with pytest.raises(UnreachableError, match="certificate"):
                await other.offers.content.delete(1)
        with client(vendor.url, verify=authority.ca_file) as admin:
            assert create(admin) == {"id": 1}
    unknown = client("https://nothing.invalid", attempts=1)
    with unknown, pytest.raises(UnreachableError, match="cannot be resolved"):
        read(unknown)
