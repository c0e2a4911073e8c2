"""The Data API, emulated: datasets, their structure, their rows."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

from flagmw.exceptions import ConfigError
from flagmw.sandbox.monetate_admin.call import ManagementCall
from flagmw.sandbox.monetate_admin.dates import is_date, stamp
from flagmw.sandbox.monetate_admin.errors import Refusal, envelope
from flagmw.sandbox.monetate_admin.metadata import accounts
from flagmw.sandbox.monetate_admin.pages import page
from flagmw.sandbox.monetate_admin.settings import FieldSetting, schema_problem
from flagmw.sandbox.monetate_admin.store import Dataset, described
from flagmw.sandbox.schema import build

Document = dict[str, Any]
MAX_ERRORS = 20
TYPES = (
    "agil_one", "attribute", "behavioral_trigger", "custom_list", "customer_data_privacy", "email_metadata", "event",
    "inventory", "product", "product_recommendation", "purchase",
)  # fmt: skip
UNUSABLE = "The dataset cannot be used until an Identifier Name is set."
NOT_RECOMMENDED = "Creating a Customer Attributes schema via the API is not recommended at this time."


def dataset_of(call: ManagementCall) -> Dataset:
    """Return the dataset in the path.

    Raises:
        Refusal: there is none.
    """
    found = call.store.datasets.get(call.values["schema"])
    if found is None:
        raise Refusal(404)
    return found


def upsert(call: ManagementCall) -> Document:
    """Take rows, all of them or none."""
    dataset = dataset_of(call)
    rows = call.body.get("schema_rows")
    if not isinstance(rows, list):
        raise Refusal(400, "must be a list of objects", "schema_rows")
    sent = call.body.get("_sent_time")
    if sent is not None and not is_date(sent):
        raise Refusal(400, "must be a date and time of ISO 8601", "_sent_time")
    errors = []
    for number, row in enumerate(rows):
        for field, text in _row_problems(dataset, row):
            errors.append((f"schema_rows[{number}]{'.' if field else ''}{field}", text))
        if len(errors) >= MAX_ERRORS:
            break
    if errors:
        raise Refusal(400, errors=errors)
    for row in rows:
        dataset.put(row)
    warnings = [] if dataset.named_identifier else [UNUSABLE]
    return envelope({"schema_rows": rows}, 201, warnings=warnings)


def check(call: ManagementCall) -> Document:
    """Return one row, at most one a second for each token."""
    _count(call)
    dataset = dataset_of(call)
    own = call.query.get("id")
    if not own:
        raise Refusal(400, "is missing", "id")
    row = dataset.find(own)
    if row is None:
        raise Refusal(404)
    return envelope({"schema_rows": [row]})


def list_schemas(call: ManagementCall) -> Document:
    """Return the datasets' structures."""
    return page(call, [_with_flags(call, dataset) for dataset in call.store.datasets.values()])


def get_schema(call: ManagementCall) -> Document:
    """Return the structure of one dataset."""
    return envelope(_with_flags(call, dataset_of(call)))


def create_schema(call: ManagementCall) -> Document:
    """Make a dataset."""
    body, store = call.body, call.store
    name, type_ = body.get("name"), body.get("type", "attribute")
    if type_ not in TYPES:
        raise Refusal(400, f"must be one of {', '.join(TYPES)}", "type")
    fields = _fields(body.get("fields"))
    problem = schema_problem(name, type_, fields)
    if problem is not None:
        where, _, text = problem.partition(": ")
        raise Refusal(400, text, where)
    if name in store.datasets:
        raise Refusal(400, "there is a schema of this name already", "name")
    identifier = _identifier(body["named_identifier"]) if body.get("named_identifier") is not None else None
    own = max((one.id for one in store.datasets.values()), default=1000) + 1
    made = store.datasets[str(name)] = Dataset(own, str(name), type_, fields, identifier, stamp(call.now))
    warnings = [NOT_RECOMMENDED] if type_ == "attribute" else []
    return envelope(made.document(), 201, warnings=warnings if identifier else [*warnings, UNUSABLE])


def change_schema(call: ManagementCall) -> Document:
    """Add columns, or set the Identifier Name."""
    dataset, body = dataset_of(call), call.body
    if ("fields" in body) == ("named_identifier" in body):
        raise Refusal(400, "supply either fields or named_identifier, and not both", "fields")
    if "named_identifier" in body:
        dataset.named_identifier = _identifier(body["named_identifier"])
        return envelope({"named_identifier": dataset.named_identifier})
    added = _fields(body["fields"])
    for name, one in added.items():
        if name in dataset.fields:
            raise Refusal(400, "is there already", f"fields.{name}")
        if one.identifier or one.unique_key:
            raise Refusal(400, "cannot become identifier or unique key afterwards", f"fields.{name}")
    problem = schema_problem(dataset.name, dataset.type, {**dataset.fields, **added})
    if problem is not None:
        where, _, text = problem.partition(": ")
        raise Refusal(400, text, where)
    dataset.fields.update(added)
    return envelope({"fields": described(dataset.fields)})


def list_types(call: ManagementCall) -> Document:
    """Return the kinds of schemas."""
    return page(call, [_type(name) for name in TYPES])


def get_type(call: ManagementCall) -> Document:
    """Return one kind of schema."""
    if call.values["name"] not in TYPES:
        raise Refusal(404)
    return envelope(_type(call.values["name"]))


def list_uploads(call: ManagementCall) -> Document:
    """Return the files that were sent by other ways, newest first."""
    return page(call, dataset_of(call).uploads)


def list_catalogs(call: ManagementCall) -> Document:
    """Return which product catalog an account uses by default."""
    return page(call, [_catalog(call, *pair) for pair in call.store.catalogs.items()])


def set_catalog(call: ManagementCall) -> Document:
    """Set the product catalog of an account."""
    account, schema = call.body.get("account"), call.body.get("schema")
    if account not in {str(one["id"]) for one in accounts(call)}:
        raise Refusal(404, "there is no such account", "account")
    if schema not in {str(one.id) for one in call.store.datasets.values() if one.type == "product"}:
        raise Refusal(404, "there is no such product catalog", "schema")
    call.store.catalogs[str(account)] = str(schema)
    return envelope(_catalog(call, str(account), str(schema)), 201)


def _catalog(call: ManagementCall, account: str, schema: str) -> Document:
    one = next((one for one in accounts(call) if str(one["id"]) == account), {})
    name = next((dataset.name for dataset in call.store.datasets.values() if str(dataset.id) == schema), "")
    domain = str(one.get("channel", "//")).split("/")[2]
    return {
        "account": account,
        "schema": schema,
        "schema_name": name,
        "account_domain": domain,
        "account_name": one.get("name", ""),
    }


def _type(name: str) -> Document:
    required: dict[str, FieldSetting] = {"identifier": FieldSetting(identifier=True, required=True)}
    if name == "event":
        required["event_time"] = FieldSetting(data_type="DATETIME", event_time=True, required=True)
    return {"name": name, "fields": {} if name == "product" else described(required)}


def _with_flags(call: ManagementCall, dataset: Dataset) -> Document:
    found = dataset.document()
    if call.query.get("row_count") == "true":
        found["row_count"] = len(dataset.rows)
    if call.query.get("latest_upload") == "true":
        found["last_file_upload"] = dataset.uploads[0] if dataset.uploads else None
    if call.query.get("usable_in_accounts") == "true":
        name, instance, domain = call.retailer.channel.split("/")
        usable = [{"name": name, "instance": instance, "domain": domain}]
        found["usable_in_accounts"] = usable if dataset.named_identifier else []
    return found


def _fields(raw: object) -> dict[str, FieldSetting]:
    if not isinstance(raw, dict) or not raw:
        raise Refusal(400, "must be an object with at least one field", "fields")
    fields = {}
    for name, one in raw.items():
        if not isinstance(one, dict) or "data_type" not in one:
            raise Refusal(400, "must have a data_type", f"fields.{name}")
        try:
            fields[str(name)] = build(FieldSetting, one, f"fields.{name}")
        except ConfigError as error:
            raise Refusal(400, str(error), f"fields.{name}") from None
    return fields


def _identifier(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"\w+", value):
        raise Refusal(400, "must be letters, digits and underscores", "named_identifier")
    return value


def _row_problems(dataset: Dataset, row: object) -> Iterator[tuple[str, str]]:
    if not isinstance(row, dict):
        yield "", "must be an object"
        return
    for name in row:
        if name not in dataset.fields:
            yield name, "is no field of the schema"
    for name, one in dataset.fields.items():
        value = row.get(name)
        if value is None:
            if one.identifier or one.unique_key or one.required:
                yield name, "is required"
        elif not _fits(one.data_type, value):
            yield name, f"is no {one.data_type}"


def _fits(data_type: str, value: Any) -> bool:
    if data_type == "NUMBER":
        return not isinstance(value, bool) and isinstance(value, int | float) and math.isfinite(value)
    if data_type == "BOOLEAN":
        return isinstance(value, bool)
    if data_type == "DATETIME":
        return is_date(value)
    return isinstance(value, str) and bool(value) and value == value.strip()


def _count(call: ManagementCall) -> None:
    most, now = call.retailer.admin.checks_per_s, call.now
    if not most:
        return
    made = [at for at in call.sandbox.monetate.checks.get(call.token, []) if at > now - 1]
    if len(made) >= most:
        raise Refusal(429)
    call.sandbox.monetate.checks[call.token] = [*made, now]
