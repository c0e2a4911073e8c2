"""Objects of Monetate's management APIs."""

from __future__ import annotations

from typing import Any, Literal, TypedDict

DataType = Literal["STRING", "MULTI_STRING", "NUMBER", "DATETIME", "BOOLEAN", "GOOGLE_PRODUCT_CATEGORY"]


class PageEvent(TypedDict, total=False):
    """A page event."""

    id: int
    title: str


class CustomTarget(TypedDict, total=False):
    """A custom target.

    Attributes:
        is_identifier: whether it collects an identifier.
        collects_person_id: whether it collects the retailer's own id of a person.
    """

    id: int
    title: str
    description: str
    is_identifier: bool
    collects_person_id: bool


class Variant(TypedDict, total=False):
    """A variant of an experience; its id is the id of the split.

    Attributes:
        experience_id: of the experience; several variants share it.
        split_name: the split's letter.
        integration_type: "js-tag", "engine-api" or "email".
    """

    id: int
    account_domain: str
    experience_id: int
    experience_name: str
    experience_type: str
    split_name: str
    split_description: str
    preview_token: str
    integration_type: str


class Goal(TypedDict, total=False):
    """A goal metric of an experience."""

    key: str
    name: str
    description: str


class VariantSplit(TypedDict, total=False):
    """A row of an experience's splits; those of control and holdout have no id.

    Attributes:
        variant: the letter, "Experiment" where there is one variant, "Control" or "Holdout".
        split: its ratio of the traffic.
    """

    id: int
    variant: str
    split: float
    label: str
    is_control: bool
    is_holdout: bool
    allocations: list[dict[str, Any]]


class Experience(TypedDict, total=False):
    """A summary of an experience."""

    id: int
    account_domain: str
    experience_name: str
    experience_type: str
    archived: bool
    create_time: str
    start_time: str
    end_time: str
    status: str
    splits: list[int]
    tags: list[str]
    goals: list[Goal]
    variant_splits: list[VariantSplit]
    integration_type: str


class Account(TypedDict, total=False):
    """An account of the retailer."""

    id: int
    type: str
    kind: str
    archived: bool
    channel: str
    name: str
    preview_url: str


class ReadableSplit(TypedDict):
    """A split of an experience in words, as Monetate's table of interpretable values names them."""

    experience_id: int
    experience_name: str
    account_domain: str
    experience_type: str
    integration_type: str
    goal_metric: str | None
    split_id: int | None
    split_letter: str
    split: float | None
    label: str


class Field(TypedDict, total=False):
    """A column of a dataset."""

    data_type: DataType
    required: bool
    identifier: bool
    unique_key: bool
    event_time: bool


class Schema(TypedDict, total=False):
    """The structure of a dataset.

    Attributes:
        id: of the dataset; files that are sent by SFTP begin with it.
        type: "attribute", "event", "product" and others.
        fields: by name.
        named_identifier: the Identifier Name, without which the dataset cannot be used.
    """

    id: int
    name: str
    type: str
    fields: dict[str, Field]
    named_identifier: str | None
    created_date: str
    row_count: int
    last_file_upload: dict[str, Any]
    usable_in_accounts: list[dict[str, Any]]


class FileUpload(TypedDict, total=False):
    """One upload of a file, as Monetate tells it."""

    status: str
    upload_time: str
    import_start_time: str
    import_end_time: str
    validation_errors: list[str]
    validation_warnings: list[str]


class DefaultCatalog(TypedDict, total=False):
    """The product catalog that an account uses by default."""

    account: str
    schema: str
    schema_name: str
    account_domain: str
    account_name: str
