"""The table of Contentstack's endpoints in the documentation."""

from __future__ import annotations

from tests.project import contentstack_endpoints


def test_the_page_is_that_of_the_code() -> None:
    text = contentstack_endpoints.PAGE.read_text("utf-8")
    assert text == contentstack_endpoints.page(), "run: python -m tests.project.contentstack_endpoints"
    assert text.count("\n| `") == 28
