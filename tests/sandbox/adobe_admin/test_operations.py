"""Every operation of both clients against the sandbox."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from flagmw.admin import CallNote
from flagmw.admin.adobe.endpoints import ENDPOINTS
from flagmw.sandbox import SandboxServer
from flagmw.sandbox.adobe_admin.table import ENDPOINTS as SERVED
from tests.project.admin_reference import all_resources, methods
from tests.sandbox.adobe_admin import boxed
from tests.sandbox.adobe_admin.steps import every_operation

LISTS = ("list", "changelog")
KINDS = ("ab", "xt", "auto_allocate")


class Checked:
    """What a run did: the notes of its calls, the methods, the answers that are not as described."""

    def __init__(self, box: SandboxServer) -> None:
        self.notes: list[CallNote] = []
        self.methods: set[str] = set()
        self.wrong: list[str] = []
        self._document = httpx2.get(f"{box.url}/openapi").json()
        self._by_path = {(one.method, one.path): one for one in SERVED}

    def check(self, name: str, answer: Any) -> None:
        self.methods.add(name)
        endpoint = ENDPOINTS.get(name)
        if endpoint is None or not isinstance(answer, dict | list):
            return
        served = self._by_path[endpoint.method, endpoint.path]
        plain = name in ("profile_attributes.list", "response_tokens.list")  # unpacked by the client
        for one in () if plain else answer if isinstance(answer, list) else [answer]:
            schema = {"$ref": f"#/components/schemas/{served.answer}"}
            self.wrong += boxed.problems(one, schema, self._document, name)

    def confirm(self) -> None:
        """Check that all was called, answered with the right status and as the description says."""
        assert self.wrong == []
        known = {f"{name}.{key}" for name, resource in all_resources() for key, _ in methods(resource)}
        assert self.methods == known
        statuses = {(note.operation, note.status) for note in self.notes}
        by_path = {name: self._by_path[one.method, one.path] for name, one in ENDPOINTS.items()}
        expected = {(name, 201 if one.creates else 200) for name, one in by_path.items()}
        assert {each for each in statuses if each[0] in ENDPOINTS} == expected


def visit(box: SandboxServer) -> None:
    """Let one visitor ask for the mbox of the tests."""
    mbox = {"index": 0, "name": boxed.MBOX, "parameters": {"color": "red"}, "profileParameters": {"memberLevel": "tin"}}
    body = {
        "context": {"channel": "web"},
        "id": {"tntId": "d1", "thirdPartyId": "user-1", "marketingCloudVisitorId": "ecid-1"},
        "execute": {"mboxes": [mbox]},
    }
    httpx2.post(f"{box.url}/rest/v1/delivery?client=demo&sessionId=s1", json=body).raise_for_status()


def test_every_operation_of_the_blocking_client(box: SandboxServer, clock: boxed.Clock) -> None:
    """Each operation is answered with its status, as the sandbox's own description says."""
    visit(box)
    run = Checked(box)
    with boxed.admin(box, clock, on_call=run.notes.append) as client:
        steps, answer = every_operation(), None
        try:
            while True:
                name, args, options = steps.send(answer)
                answer = _method(client, name)(*args, **options)
                if name.rpartition(".")[2] in LISTS and not isinstance(answer, list):
                    answer = list(answer)
                run.check(name, answer)
        except StopIteration:
            pass
    run.confirm()


async def test_every_operation_of_the_asynchronous_client(box: SandboxServer, clock: boxed.Clock) -> None:
    """The same, awaited."""
    visit(box)
    run = Checked(box)
    async with boxed.async_admin(box, clock, on_call=run.notes.append) as client:
        steps, answer = every_operation(), None
        try:
            while True:
                name, args, options = steps.send(answer)
                given = _method(client, name)(*args, **options)
                answer = [one async for one in given] if hasattr(given, "__aiter__") else await given
                run.check(name, answer)
        except StopIteration:
            pass
    run.confirm()


def _method(client: Any, name: str) -> Any:
    for part in name.split("."):
        client = getattr(client, part)
    return client


@pytest.mark.parametrize("kind", KINDS)
def test_changes_that_are_made_of_others(admin: Any, kind: str) -> None:
    """Splits, further experiences and copies are read back from the sandbox."""
    group = getattr(admin.activities, kind)
    offers = [admin.offers.content.create({"name": str(n), "content": str(n)})["id"] for n in range(3)]
    own = group.create(boxed.activity(tuple(offers[:2])))["id"]
    group.split(own, {"A": 80, "B": 20})
    assert [one["visitorPercentage"] for one in group.get(own)["experiences"]] == [80, 20]
    group.add_experience(own, "C", {boxed.MBOX: offers[2]}, shares={"A": 50, "B": 30, "C": 20})
    assert [one["visitorPercentage"] for one in group.get(own)["experiences"]] == [50, 30, 20]
    copy = group.clone(own, "A copy")
    assert (copy["name"], copy["state"]) == ("A copy", "saved") and copy["id"] != own
