"""Settings of Monetate's emulated management APIs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from flagmw.exceptions import ConfigError

DataType = Literal["STRING", "MULTI_STRING", "NUMBER", "DATETIME", "BOOLEAN", "GOOGLE_PRODUCT_CATEGORY"]
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
MAX_FIELDS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiUser:
    """An API user.

    Attributes:
        username: as the platform made it.
        public_key: PEM of the key that requests for tokens are checked with.
        revoked: whether the key was deactivated; its tokens are then refused too.
    """

    username: str
    public_key: str
    revoked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataSetting:
    """A page event or a custom target.

    Attributes:
        id: the vendor's id.
        title: its name.
        description: a longer text.
        is_identifier: whether it holds an identifier of the visitor.
        collects_person_id: whether it collects one.
    """

    id: int
    title: str
    description: str = ""
    is_identifier: bool = False
    collects_person_id: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldSetting:
    """A column of a dataset.

    Attributes:
        data_type: the type of its values.
        required: every record must have it.
        identifier: it names the visitor.
        unique_key: no two records may have the same value.
        event_time: it says when an event happened.
    """

    data_type: DataType = "STRING"
    required: bool = False
    identifier: bool = False
    unique_key: bool = False
    event_time: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetSetting:
    """A dataset, empty at the start.

    Attributes:
        named_identifier: the Identifier Name; without one the dataset cannot be used.
        id: the vendor's id.
        name: its name, in the path of requests.
        type: the kind of dataset.
        fields: its columns by name.
    """

    id: int
    name: str
    type: str = "attribute"
    fields: Mapping[str, FieldSetting] = field(default_factory=dict)
    named_identifier: str | None = None

    def __post_init__(self) -> None:
        problem = schema_problem(self.name, self.type, self.fields)
        if problem is not None:
            raise ConfigError(problem)


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagementSettings:
    """The management side of a retailer.

    Attributes:
        users: the API users.
        token: one that is always accepted, known to everybody; "" for none.
        shortest_ttl_s: of a token; the portal's text names 900, its description 600.
        datasets: those that exist at the start.
        checks_per_s: how many single records a token may read in a second; 0 for no limit.
        retry_after: whether an answer to too many of them says when to come again.
        goal: the key and the name of the goal metric of all experiences.
        page_events: those that exist; without any, the account's keys are numbered from 1.
        custom_targets: those that exist.
    """

    users: tuple[ApiUser, ...] = ()
    token: str = "sandbox-token"  # noqa: S105 - the emulator's
    shortest_ttl_s: int = 600
    page_events: tuple[MetadataSetting, ...] = ()
    custom_targets: tuple[MetadataSetting, ...] = ()
    datasets: tuple[DatasetSetting, ...] = ()
    checks_per_s: int = 1
    retry_after: bool = False
    goal: tuple[str, ...] = ("conversion", "Conversion rate")

    def __post_init__(self) -> None:
        names = [user.username for user in self.users]
        if len(set(names)) != len(names):
            raise ConfigError("users: every username must be different")
        if len({one.name for one in self.datasets}) != len(self.datasets):
            raise ConfigError("datasets: every name must be different")
        if len(self.goal) != 2:
            raise ConfigError("goal: give its key and its name")


def schema_problem(name: object, type_: object, fields: Mapping[str, FieldSetting]) -> str | None:
    """Return what is wrong with the structure of a dataset; None if nothing is."""
    if not isinstance(name, str) or not NAME.fullmatch(name) or len(name) > 64:
        return "name: begin with a letter; letters, digits and underscores, at most 64"
    if not 1 <= len(fields) <= MAX_FIELDS:
        return f"fields: from 1 to {MAX_FIELDS} are needed"
    identifiers = [one for one in fields.values() if one.identifier]
    keys = [one for one in fields.values() if one.unique_key]
    times = [one for one in fields.values() if one.event_time]
    if type_ != "product" and len(identifiers) != 1:
        return "fields: exactly one must be the identifier"
    if len(keys) > 1 or any(one.data_type != "STRING" for one in [*identifiers, *keys]):
        return "fields: identifier and unique key must be of the type STRING, one of each"
    if any(one.data_type != "DATETIME" for one in times) or (type_ == "event" and len(times) != 1):
        return "fields: an event needs exactly one event_time, a DATETIME"
    return None
