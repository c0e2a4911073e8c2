"""The folders of the vendors, and of their emulators, have the same files with the same steps in them."""

from __future__ import annotations

import ast
import importlib
import inspect
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[3] / "flagmw"
VENDORS = {"webtrends": "Webtrends", "adobe": "AdobeTarget", "monetate": "Monetate", "contentstack": "Contentstack"}
STEPS = {
    "options": {"Options": ("checked", "fingerprint")},
    "cookies": {"Cookies": ("rule", "read", "changes")},
    "request": {"RequestBuilder": ()},
    "response": {"Answer": ()},
    "decide": {"DecisionBuilder": ("build",)},
    "deliver": {"EventDelivery": ("deliver",)},
}
METHODS = ("decide", "identity", "participation", "exposes", "deliver", "__fingerprint__")
EMULATOR = {"routes", "request", "model", "decide", "response"}
QUESTIONS = ("What", "How", "Who", "Whose", "Which", "Where", "When", "Does", "Is", "Can")


def test_folders_are_those_of_the_table() -> None:
    """A new vendor joins the table above, and with it all tests of this file."""
    for place in (PACKAGE / "vendors", PACKAGE / "sandbox"):
        folders = {path.parent.name for path in place.glob("*/__init__.py")}
        folders -= {"common", "adobe_admin", "contentstack_admin", "monetate_admin"}
        assert folders == set(VENDORS)


@pytest.mark.parametrize(("vendor", "name"), VENDORS.items())
def test_a_vendor_has_the_steps_of_all_vendors(vendor: str, name: str) -> None:
    """Each step is a class of the same name in a file of the same name."""
    for module, classes in STEPS.items():
        loaded = importlib.import_module(f"flagmw.vendors.{vendor}.{module}")
        for step, methods in classes.items():
            made = getattr(loaded, step)
            assert made.__module__ == loaded.__name__
            assert [method for method in methods if not callable(getattr(made, method, None))] == []
    response = importlib.import_module(f"flagmw.vendors.{vendor}.response")
    assert inspect.signature(response.read_answer).return_annotation == "Answer"
    made = getattr(importlib.import_module(f"flagmw.vendors.{vendor}.vendor"), name)
    assert [method for method in METHODS if method not in vars(made)] == []


@pytest.mark.parametrize("vendor", VENDORS)
def test_options_are_checked_in_one_place(vendor: str) -> None:
    """Only `options.py` raises `ConfigError`; the missing extra of on-device decisions is no option."""
    folder = PACKAGE / "vendors" / vendor
    raising = {path.name for path in folder.glob("*.py") if "ConfigError(" in path.read_text("utf-8")}
    assert raising == {"options.py"}


@pytest.mark.parametrize("vendor", VENDORS)
def test_an_emulator_has_the_files_of_all_emulators(vendor: str) -> None:
    """No emulator takes anything from another vendor's folder, nor from the codec that it judges."""
    folder = PACKAGE / "sandbox" / vendor
    assert {path.stem for path in folder.glob("*.py")} >= EMULATOR
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("flagmw."):
                parts = (node.module or "").split(".")
                assert parts[1] != "vendors", path
                assert not (parts[1] == "sandbox" and parts[2] in VENDORS and parts[2] != vendor), path


def test_modules_open_with_a_short_statement() -> None:
    """The first line of a module is a title: at most 12 words, and no question."""
    wrong = []
    for place in ("vendors", "sandbox"):
        for path in sorted((PACKAGE / place).rglob("*.py")):
            title = (ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "").partition("\n")[0]
            if len(title.split()) > 12 or title.split(" ")[0] in QUESTIONS:
                wrong.append(f"{path.relative_to(PACKAGE)}: {title}")
    assert wrong == []
