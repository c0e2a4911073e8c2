"""The pages of Contentstack's operations and endpoints, written from the code.

    python -m tests.project.contentstack_reference

writes them anew. `test_contentstack_reference.py` fails while a page differs from the code.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flagmw.admin import ContentstackAdmin
from flagmw.admin.contentstack.endpoints import ENDPOINTS
from flagmw.admin.flow.operation import Resource
from flagmw.cli.contentstack.app import commands
from flagmw.sandbox.contentstack_admin.table import ENDPOINTS as SERVED
from tests.project.admin_reference import described, methods, signature

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "reference"
OPERATIONS_HEAD = """# Contentstack: every operation

Written by `python -m tests.project.contentstack_reference` from the code. `admin` is a `ContentstackAdmin`; an
`AsyncContentstackAdmin` has the same methods, whose results are awaited (`async for` over places). Each method has
`.request(...)`, which takes the same arguments and returns the request instead of sending it; steps of versions read
the versions first. How to use them: [Manage Contentstack Personalize](../managing-contentstack.md).

"Scope" is what an OAuth token needs. Methods without an endpoint are made of others.
"""
ENDPOINTS_HEAD = """# Contentstack: every endpoint

Written by `python -m tests.project.contentstack_reference` from the code. Each row has an endpoint of the vendor's
page "Personalize Management API", the client's method, the [command](commands-contentstack.md) after
`flagmw contentstack`, the answer of the [sandbox](../sandbox.md) with its schema in `GET /contentstack-admin/openapi`,
and the tests:

- **answer**: `tests/sandbox/contentstack_admin/test_endpoints.py`, both clients on the sandbox.
- **request**: `tests/unit/admin/test_contentstack_samples.py`, the request of both clients.
- **command**: `tests/cli/admin/test_contentstack_requests.py`, whose dry run makes this request.
- **sample**: the request that the vendor's page prints, in the same file as **request**.
- **steps**: `tests/unit/admin/test_contentstack_versions.py`.
- **pages**: `tests/unit/admin/test_contentstack_faults.py`, where errors and credentials are tested too.
"""
SAMPLED = {"audiences.create": 3, "experiences.create": 1, "versions.create": 2, "versions.update": 3}


def resources() -> Iterator[tuple[str, Any]]:
    """Yield every resource of a client."""
    admin = ContentstackAdmin("0" * 24, lambda: "token")
    yield from ((key, value) for key, value in vars(admin).items() if isinstance(value, Resource))


def operations() -> str:
    """Return the page of operations."""
    parts = [OPERATIONS_HEAD]
    for name, resource in resources():
        parts.append(f"\n## admin.{name}\n\n{described(type(resource).__doc__)}")
        for key, member in methods(resource):
            full = f"{name}.{key}"
            parts.append(f"\n### {full}\n\n```text\n{signature(full, member)}\n```\n")
            endpoint = ENDPOINTS.get(full)
            if endpoint is not None:
                parts.append(f"\n`{endpoint.method} {endpoint.path}` · scope: {endpoint.right}\n")
            parts.append(f"\n{described(member.__doc__)}")
    return "".join(parts)


def endpoints() -> str:
    """Return the page of endpoints."""
    titles = ("endpoint", "scope", "call", "command", "sandbox's answer", "tests")
    lines = [ENDPOINTS_HEAD, f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    return "\n".join([*lines, *(row(name) for name in ENDPOINTS), ""])


def row(name: str) -> str:
    """Return the row of an endpoint."""
    endpoint = ENDPOINTS[name]
    where = f"`{endpoint.method} {endpoint.path}`"
    scope = endpoint.right.replace("personalize:", "")
    return f"| {where} | {scope} | `{name}` | `{command_of(name)}` | {answer_of(name)} | {', '.join(tests_of(name))} |"


def command_of(name: str) -> str:
    """Return the command that calls an endpoint."""
    found = next((one for one in commands.registered if name in one.calls), None)
    assert found is not None, f"no command calls {name}"
    return found.words.removeprefix("flagmw contentstack ")


def answer_of(name: str) -> str:
    """Return the status and the schema of the sandbox's answer."""
    endpoint = ENDPOINTS[name]
    served = next(one for one in SERVED if (one.method, one.path) == (endpoint.method, endpoint.path))
    assert served.status == endpoint.status, name
    return f"{served.status}{', list of' if served.listed else ''} `{served.answer}`" if served.answer else "204"


def tests_of(name: str) -> Iterator[str]:
    """Yield the tests of an endpoint."""
    yield "answer"
    yield "request"
    yield "command"
    if name in SAMPLED:
        yield f"sample ({SAMPLED[name]})"
    if name.startswith("versions."):
        yield "steps"
    if name.startswith("geolocation."):
        yield "pages"


PAGES = {"contentstack-admin.md": operations, "contentstack-endpoints.md": endpoints}

if __name__ == "__main__":
    for name, make in PAGES.items():
        (FOLDER / name).write_text(make(), "utf-8")
        sys.stdout.write(f"wrote docs/reference/{name}\n")
