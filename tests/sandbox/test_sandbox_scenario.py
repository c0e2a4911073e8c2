"""Scenario files: what ships, what is read, and what is said about mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flagmw.exceptions import ConfigError
from flagmw.sandbox import Scenario, load_scenario
from flagmw.sandbox.scenario import scenario_names

VENDORS = ("webtrends", "adobe", "monetate", "contentstack")
ACCOUNT = {"domain_id": 1, "key_token": "t", "cookie_domain": ".a.test"}


def project(**test: Any) -> dict[str, Any]:
    return {"alias": "ta_A", "tests": [{"variations": [{"key": "a"}], **test}]}


def test_shipped_scenarios() -> None:
    """The shipped scenarios load by name, and survive being written out and read again."""
    assert {"shop", "single", "array", "no_test", "adobe"} <= set(scenario_names())
    for name in scenario_names():
        scenario = load_scenario(name)
        assert scenario.name == name
        assert any(scenario.to_mapping().get(vendor) for vendor in VENDORS)
        assert Scenario.from_mapping(scenario.to_mapping()) == scenario


def test_a_file(tmp_path: Path) -> None:
    """A scenario loads from a path, and ids are numbered by position where they are left out."""
    file = tmp_path / "mine.toml"
    file.write_text(
        'seed = 3\n[[webtrends]]\ndomain_id = 1000000\nkey_token = "t"\ncookie_domain = ".a.test"\n'
        '[[webtrends.projects]]\nalias = "ta A"\n[[webtrends.projects.tests]]\nvariations = [{key="x"}, {key="y"}]\n'
    )
    for path in (file, str(file)):
        scenario = load_scenario(path)
        assert (scenario.name, scenario.seed) == ("mine", 3)
        (test,) = scenario.webtrends[0].projects[0].tests
        assert (test.id, test.run_id) == (1000101, 1000108)
        assert [v.experiment_id for v in test.variations] == [1000109, 1000111]


def test_the_token_is_masked() -> None:
    """A scenario's repr does not show key tokens."""
    assert "7a32f9364" not in repr(load_scenario("shop"))


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ({"webtrend": []}, "unknown key 'webtrend'; did you mean 'webtrends'"),
        ({"webtrends": {}}, "scenario.webtrends: expected a list"),
        ({"webtrends": [{**ACCOUNT, "domain_id": "1"}]}, r"webtrends\[0\].domain_id: expected a whole number, got '1'"),
        ({"webtrends": [{"domain_id": 1}]}, "key_token is required"),
        ({"webtrends": [ACCOUNT, ACCOUNT]}, "every domain_id must be different"),
        ({"webtrends": [{**ACCOUNT, "projects": [project(), project()]}]}, "every alias must be different"),
        ({"webtrends": [{**ACCOUNT, "projects": [project(state="lives")]}]}, "did you mean 'live'"),
        ({"webtrends": [{**ACCOUNT, "projects": [project(throttle=2)]}]}, r"tests\[0\]: throttle must be"),
        ({"webtrends": [{**ACCOUNT, "projects": [project(state="published")]}]}, "published_variation: name one of a"),
        ({"webtrends": [{**ACCOUNT, "projects": [project(variations=[])]}]}, "give at least one"),
        ({"webtrends": [{**ACCOUNT, "projects": [project(segments=[{"ip": ["x"]}])]}]}, "no address or network"),
        ({"webtrends": [{**ACCOUNT, "projects": [project(segments=[{"referer": "("}])]}]}, "not a regular exp"),
        ({"webtrends": [{**ACCOUNT, "projects": [{"alias": "a,b"}]}]}, "without , ; ="),
        ({"webtrends": [{**ACCOUNT, "projects": [project(run_id=5), {**project(run_id=5), "alias": "b"}]}]}, "run_id"),
    ],
)
def test_mistakes(raw: Any, text: str) -> None:
    """A mistake is named with its place and its cure."""
    with pytest.raises(ConfigError, match=text):
        Scenario.from_mapping(raw)


def test_no_such_scenario(tmp_path: Path) -> None:
    """A wrong name suggests the right one; a missing or broken file says what is wrong with it."""
    with pytest.raises(ConfigError, match="did you mean 'single'"):
        load_scenario("singel")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_scenario(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("a = ")
    with pytest.raises(ConfigError, match="is not TOML"):
        load_scenario(tmp_path / "bad.toml")
