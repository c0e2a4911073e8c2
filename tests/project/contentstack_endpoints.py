"""The page of Contentstack's endpoints: the call, what the sandbox answers, and the tests of both.

    python -m tests.project.contentstack_endpoints

writes it anew. `tests/sandbox/contentstack_admin/test_table.py` fails while the page differs from the code.
"""

from __future__ import annotations

import sys
from pathlib import Path

from flagmw.admin.contentstack.endpoints import ENDPOINTS
from flagmw.sandbox.contentstack_admin.table import ENDPOINTS as SERVED

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "contentstack-endpoints.md"
HEAD = """# Contentstack: every endpoint

Written by `python -m tests.project.contentstack_endpoints` from the code. Each row has an endpoint of the Personalize
Management API, the client's method, the OAuth scope that it needs, and the answer of the [sandbox](../sandbox.md) with
its schema in `GET /contentstack-admin/openapi`. Every row is called by both clients in
`tests/sandbox/contentstack_admin/test_endpoints.py`; the requests that the vendor's page prints are in
`test_versions.py` beside it.

| endpoint | call | scope | sandbox's answer |
|---|---|---|---|
"""


def page() -> str:
    """Return the page."""
    served = {(one.method, one.path): one for one in SERVED}
    rows = []
    for name, one in ENDPOINTS.items():
        there = served[one.method, one.path]
        shown = f", list of `{there.answer}`" if there.listed else f" `{there.answer}`" if there.answer else ""
        rows.append(f"| `{one.method} {one.path}` | `{name}` | {one.right} | {there.status}{shown} |\n")
    return HEAD + "".join(rows)


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
    sys.stdout.write(f"{PAGE}\n")
