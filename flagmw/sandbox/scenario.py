"""Scenarios: the configuration of the emulated vendors.

A scenario is a TOML file, or the same shape as JSON. Each vendor has one list of tables named after it:

    seed = 1
    [[webtrends]]
    domain_id = 2490593
    ...
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from flagmw.exceptions import ConfigError
from flagmw.sandbox.adobe.model import TargetAccount
from flagmw.sandbox.contentstack.model import Project
from flagmw.sandbox.monetate.model import Retailer
from flagmw.sandbox.schema import build, hint
from flagmw.sandbox.webtrends.model import Account

DEFAULT, QUICKSTART = "shop", "quickstart"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """Everything the sandbox is configured with.

    Attributes:
        name: shown by the health route.
        seed: makes assignment reproducible; random where omitted.
        webtrends: the accounts of Webtrends Optimize.
        adobe: the accounts of Adobe Target.
        monetate: the accounts of Monetate.
        contentstack: the projects of Contentstack Personalize.
    """

    name: str = "unnamed"
    seed: int | None = None
    webtrends: tuple[Account, ...] = ()
    adobe: tuple[TargetAccount, ...] = ()
    monetate: tuple[Retailer, ...] = ()
    contentstack: tuple[Project, ...] = ()

    def __post_init__(self) -> None:
        ids = [account.domain_id for account in self.webtrends]
        if len(set(ids)) != len(ids):
            raise ConfigError("webtrends: every domain_id must be different")
        if len({account.client for account in self.adobe}) != len(self.adobe):
            raise ConfigError("adobe: every client must be different")
        retailers = [account.retailer for account in self.monetate]
        if len(set(retailers)) != len(retailers):
            raise ConfigError("monetate: every retailer must be different")
        uids = [project.project_uid for project in self.contentstack]
        if len(set(uids)) != len(uids):
            raise ConfigError("contentstack: every project_uid must be different")

    def account(self, domain_id: int) -> Account | None:
        """Return the Webtrends account of this id; None when there is none."""
        return next((account for account in self.webtrends if account.domain_id == domain_id), None)

    def project(self, project_uid: str) -> Project | None:
        """Return the Contentstack project of this uid; None when there is none."""
        return next((project for project in self.contentstack if project.project_uid == project_uid), None)

    @classmethod
    def from_mapping(cls, raw: Mapping[str, Any]) -> Scenario:
        """Build a scenario from parsed TOML or JSON.

        Raises:
            ConfigError: something in it is unknown, missing or of the wrong type.
        """
        return build(cls, raw, "scenario")

    def to_mapping(self) -> dict[str, Any]:
        """Return the scenario in the shape that `from_mapping` reads; unset (None) values are left out."""
        shape: dict[str, Any] = _without_none(asdict(self))
        return shape


def scenario_names() -> list[str]:
    """Return the names of the scenarios that ship with flagmw."""
    return sorted(Path(entry.name).stem for entry in _shipped().iterdir() if entry.name.endswith(".toml"))


def load_scenario(name_or_path: str | Path) -> Scenario:
    """Load a shipped scenario by name ("shop"), or any TOML file by path ("./mine.toml").

    Raises:
        ConfigError: there is no such scenario, or it has an error; the text names the field.
    """
    text = str(name_or_path)
    if isinstance(name_or_path, str) and "/" not in text and not text.endswith(".toml"):
        if text not in scenario_names():
            raise ConfigError(f"no scenario is named {text!r}; {hint(text, scenario_names())}, or give a path")
        source = (_shipped() / f"{text}.toml").read_text("utf-8")
    else:
        try:
            source = Path(text).read_text("utf-8")
        except OSError as error:
            raise ConfigError(f"scenario {text!r} cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise ConfigError(f"scenario {text!r} is not TOML: it must be UTF-8") from None
    try:
        raw = tomllib.loads(source)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"scenario {text!r} is not TOML: {error}") from None
    return Scenario.from_mapping({"name": Path(text).stem, **raw})


def _shipped() -> Any:
    return resources.files(__package__) / "scenarios"


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    return [_without_none(item) for item in value] if isinstance(value, (list, tuple)) else value
