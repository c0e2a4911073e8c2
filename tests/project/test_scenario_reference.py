"""The page about scenarios agrees with what the loader takes."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from flagmw.exceptions import ConfigError
from flagmw.sandbox import Scenario
from flagmw.sandbox.scenario import scenario_names
from tests.project import scenario_reference
from tests.project.reference import descriptions

DOCS = scenario_reference.PAGE.parents[1]


@pytest.mark.parametrize("part", list(scenario_reference.parts()), ids=lambda part: ".".join(part.path) or "file")
def test_every_key_is_described(part: scenario_reference.Part) -> None:
    """A key without a description, or a description without a key, is an error."""
    assert set(descriptions(part.source)) == set(scenario_reference.keys(part.source))


def test_page_is_current() -> None:
    written = scenario_reference.PAGE.read_text("utf-8")
    assert written == scenario_reference.page(), "run: python -m tests.project.scenario_reference"


def test_an_unknown_key_is_refused_in_every_vendors_table() -> None:
    """What the page does not name is an error, so that the page has all there is."""
    for part in scenario_reference.parts():
        if len(part.path) == 1:
            with pytest.raises(ConfigError, match="unknown key 'sesame'"):
                Scenario.from_mapping({part.path[0]: [{"sesame": 1}]})


def test_the_sandboxs_page_shows_a_scenario_that_loads() -> None:
    """The sample of docs/sandbox.md is a scenario, and the page names every scenario that ships."""
    text = (DOCS / "sandbox.md").read_text("utf-8")
    samples = re.findall(r"```toml\n(# mine\.toml.*?)```", text, re.DOTALL)
    assert len(samples) == 1
    scenario = Scenario.from_mapping(tomllib.loads(samples[0]))
    assert {project.alias for project in scenario.webtrends[0].projects} == {"ta_Checkout"}
    assert scenario.adobe and scenario.monetate and scenario.contentstack
    assert [name for name in scenario_names() if f"`{name}`" not in text] == []
    assert Path(DOCS / "reference" / "scenario.md").is_file()
