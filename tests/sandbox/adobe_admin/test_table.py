"""The table of endpoints, calls, answers and tests in the documentation."""

from __future__ import annotations

from flagmw.admin.adobe.endpoints import ENDPOINTS
from tests.project import admin_sandbox


def test_the_page_is_that_of_the_code() -> None:
    """All 36 endpoints of Adobe's page and those beyond it are in it."""
    text = admin_sandbox.PAGE.read_text("utf-8")
    assert text == admin_sandbox.page(), "run: python -m tests.project.admin_sandbox"
    assert text.count("| operations") == len(ENDPOINTS) and "| 36 |" in text


def test_the_judge_calls_what_the_page_says() -> None:
    """Each of the 35 operations of Adobe's client stands for one endpoint."""
    assert admin_sandbox.judged() == set(admin_sandbox.JUDGED.values()) and len(admin_sandbox.JUDGED) == 35
    assert set(admin_sandbox.JUDGED) <= set(ENDPOINTS)
