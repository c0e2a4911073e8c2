"""The pages of Monetate's operations and endpoints, written from the code.

    python -m tests.project.monetate_reference

writes them anew. `test_monetate_reference.py` fails while a page differs from the code.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flagmw.admin import GivenToken, MonetateAdmin
from flagmw.admin.flow.operation import Resource
from flagmw.admin.monetate.endpoints import ENDPOINTS
from flagmw.cli.monetate.app import commands
from flagmw.sandbox.monetate_admin.table import ENDPOINTS as SERVED
from tests.project.admin_reference import described, methods, signature

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "reference"
SAMPLES = ROOT / "tests" / "samples" / "monetate_admin"
OPERATIONS_HEAD = """# Monetate: every operation

Written by `python -m tests.project.monetate_reference` from the code. `admin` is a `MonetateAdmin`; an
`AsyncMonetateAdmin` has the same methods, whose results are awaited (`async for` over lists). Each method has
`.request(...)`, which takes the same arguments and returns the request instead of sending it. How to use them:
[Manage Monetate](../managing-monetate.md).

"Documented" says where: **page** is one of Monetate's two public articles, **spec** its published OpenAPI descriptions.
Methods without an endpoint are made of others.
"""
ENDPOINTS_HEAD = """# Monetate: every endpoint

Written by `python -m tests.project.monetate_reference` from the code. Endpoints are below
`https://api.monetate.net` and documented in [every operation](monetate-admin.md). Each row has the endpoint, the
client's method, the [command](commands-monetate.md) after `flagmw monetate`, the answer of the
[sandbox](../sandbox.md) with its schema in `GET /openapi/monetate`, and the tests:

- **answer**: `tests/sandbox/monetate_admin/test_openapi.py`, status and schema of the answer that the client gets; more
  in `test_tokens.py`, `test_metadata.py` and `test_data.py` beside it.
- **command**: `tests/cli/admin/test_monetate_commands.py`, on the sandbox and as a dry run.
- **sample**: `tests/sandbox/monetate_admin/test_samples.py`, the request that an article prints.
"""


def resources() -> Iterator[tuple[str, Any]]:
    """Yield every resource of a client."""
    admin = MonetateAdmin("retailer", GivenToken("token", scheme="Token"))
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
                parts.append(f"\n`{endpoint.method} {endpoint.template}` · documented: {endpoint.evidence}\n")
            parts.append(f"\n{described(member.__doc__)}")
    return "".join(parts)


def endpoints() -> str:
    """Return the page of endpoints."""
    titles = ("endpoint", "documented", "call", "command", "sandbox's answer", "tests")
    lines = [ENDPOINTS_HEAD, f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    return "\n".join([*lines, *(row(name) for name in ENDPOINTS), ""])


def row(name: str) -> str:
    """Return the row of an endpoint."""
    endpoint = ENDPOINTS[name]
    where = f"`{endpoint.method} {endpoint.template}`"
    call = "`MonetateKey`" if endpoint.api == "auth" else f"`{name}`"
    tests = ["answer", *(["command"] if endpoint.api != "auth" else [])]
    if (SAMPLES / name / "call.json").exists():
        tests.append("sample")
    return f"| {where} | {endpoint.evidence} | {call} | {command_of(name)} | {answer_of(name)} | {', '.join(tests)} |"


def command_of(name: str) -> str:
    """Return the command that calls an endpoint."""
    if name == "auth.refresh":
        return "each"
    found = next((one for one in commands.registered if name in one.calls), None)
    assert found is not None, f"no command calls {name}"
    return f"`{found.words.removeprefix('flagmw monetate ')}`"


def answer_of(name: str) -> str:
    """Return the status and the schema of the sandbox's answer."""
    endpoint = ENDPOINTS[name]
    if endpoint.api == "auth":
        return "200 `Token`, 400, 401, 403"
    served = next(
        one for one in SERVED if (one.api, one.method, one.path) == (endpoint.api, endpoint.method, endpoint.path)
    )
    limited = ", 429" if name == "data.check" else ""
    return f"{served.status}{', list of' if served.lists else ''} `{served.answer}`{limited}"


PAGES = {"monetate-admin.md": operations, "monetate-endpoints.md": endpoints}

if __name__ == "__main__":
    for name, make in PAGES.items():
        (FOLDER / name).write_text(make(), "utf-8")
        sys.stdout.write(f"wrote docs/reference/{name}\n")
