"""The Data API: records, schemas, uploads, default catalogs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from flagmw.admin.bulk.sources import Format, Rejected, Source
from flagmw.admin.errors import AnswerError, InvalidError
from flagmw.admin.flow.effects import Flow
from flagmw.admin.flow.listing import Pager, listing
from flagmw.admin.flow.operation import M, operation
from flagmw.admin.http.request import ApiRequest
from flagmw.admin.monetate.bodies import DefaultCatalog, Field, FileUpload, Schema
from flagmw.admin.monetate.datasets.parts import MAX_BYTES, MAX_ROWS, RecordResult
from flagmw.admin.monetate.datasets.schemas import check_fields, check_identifier, check_schema
from flagmw.admin.monetate.datasets.upload import UNCHECKED, Upload, UpsertOptions, UpsertProgress, UpsertResult
from flagmw.admin.monetate.resources.base import MonetateResource

NOT_RECOMMENDED = (
    "Monetate does not recommend creating a Customer Attributes schema by API at this time; use the wizard, then "
    "schemas.add_fields"
)
NO_IDENTIFIER = "set an Identifier Name with schemas.set_identifier: the dataset cannot be used without one"
logger = logging.getLogger("flagmw.admin")


class Data(MonetateResource[M]):
    """Records of datasets."""

    @operation
    def upsert(
        self,
        schema: str,
        source: Mapping[str, Any] | Source,
        *,
        format: Format | None = None,
        columns: Sequence[str] | None = None,
        check: bool = True,
        resend: bool | None = None,
        sent_time: str | None = None,
        journal: str | Path | None = None,
        max_rows: int = MAX_ROWS,
        max_bytes: int = MAX_BYTES,
        on_progress: Callable[[UpsertProgress], object] | None = None,
        on_rejected: Callable[[Rejected], object] | None = None,
        on_record: Callable[[RecordResult], object] | None = None,
    ) -> Flow[UpsertResult]:
        """Update records of a dataset, or create them: one, many, or a file, in constant memory.

        A record replaces the one with the same unique key as a whole: fields that it does not have become null.
        Without a unique key in the schema every record is a new one. Monetate loads what it has accepted later.
        After a kill, call it again with the same source and the same *journal*: accepted parts are not sent
        again. A part with an unknown result is sent again if the schema has a unique key.

        Args:
            schema: the dataset's name.
            source: one record (a mapping), a path, a file, or rows: mappings, sequences, a database cursor.
            format: of a file, "csv" or "jsonl"; by the name's end when left out.
            columns: names of the values of each row, for rows that are sequences.
            check: read the schema and check each record against it before it is sent.
            resend: whether a part that may have been taken is sent again; by default where there is a unique key.
            sent_time: when the records were made, a date and time of ISO 8601.
            journal: a folder that keeps what was sent, so that a run can be resumed.
            max_rows, max_bytes: of one call; Monetate publishes no limit.
            on_progress: called after every part.
            on_rejected: called with every record that is not sent or not taken.
            on_record: called with the result of every record.

        Raises:
            InvalidError: there is nothing to send, an option is wrong, or Monetate refused 20 records.
            ConflictError: the source has changed since the run that is resumed, or another process is at it.
            AmbiguousError: a part may or may not have been taken; the text says what to do.
        """
        if format == "batch":
            raise InvalidError('must be "csv" or "jsonl"', field="format")
        options = UpsertOptions(
            format=format,
            columns=columns,
            resend=resend,
            sent_time=sent_time,
            journal=journal,
            max_rows=max_rows,
            max_bytes=max_bytes,
            on_progress=on_progress,
            on_rejected=on_rejected,
            on_record=on_record,
        )
        self._rows_request(schema, b"{}")  # refuses a wrong name before anything is read
        known = (yield from self._known(schema)) if check and not self._planning else None
        place = {"root": self._client.root, "retailer": self._client.retailer, "schema": schema}
        upload = Upload(
            self._client.exchange,
            lambda body, changes=True: self._rows_request(schema, body, changes=changes),
            source,
            known,
            options,
            place,
        )
        if self._planning:
            yield from upload.plan()
        result: UpsertResult = yield from upload.run()
        return replace(result, warnings=(UNCHECKED, *result.warnings)) if check and known is None else result

    @operation
    def check(
        self, schema: str, record_id: str, *, address: Literal["portal", "article"] = "portal"
    ) -> Flow[dict[str, Any]]:
        """Return one record, to see by hand whether it arrived: at most one a second, never for many or for tests.

        Args:
            record_id: one unique key, else one identifier.
            address: "portal" is the address of Monetate's published description, "article" that of its public
                article, with the schema in the retailer's place.

        Raises:
            NotFoundError: there is none, or it is not loaded yet.
            ThrottledError: there was more than one a second; it is not repeated.
            InvalidError: there were more than 30 in five minutes, or several ids at once.
        """
        if not isinstance(record_id, str) or not record_id:
            text = "must be the id of one record, a text; Monetate forbids reading many this way"
            raise InvalidError(text, field="record_id")
        template = "/api/data/v1/{schema}/production/data/" if address == "article" else None
        request = self._request(
            "data.check",
            values={"schema": schema},
            query=[("id", record_id)],
            template=template,
            repeat_throttled=False,
        )
        if self._planning:
            self._client.exchange.stop(request)
        yield from self._client.spot_checks.acquire(10.0)  # type: ignore[attr-defined]
        envelope = yield from self._envelope(request)
        data = envelope["data"]
        rows = data.get("schema_rows") if isinstance(data, dict) else data
        row = rows[0] if isinstance(rows, list) and rows else rows if isinstance(rows, dict) else data
        if not isinstance(row, dict):
            raise AnswerError("the answer holds no record; check base_url", operation="data.check")
        return row

    def _rows_request(self, schema: str, body: bytes, *, changes: bool = True) -> ApiRequest:
        return replace(self._request("data.upsert", values={"schema": schema}, body=body), changes=changes)

    def _known(self, schema: str) -> Flow[Schema | None]:
        """Return the schema; None where the answer has none that this client understands."""
        try:
            found: Schema = yield from self._one("schemas.get", values={"schema": schema})
        except AnswerError:
            found = {}
        fields = found.get("fields")
        if not isinstance(fields, dict) or not all(isinstance(one, dict) for one in fields.values()) or not fields:
            logger.warning("%s", UNCHECKED)
            return None
        return found


class Schemas(MonetateResource[M]):
    """Structures of datasets."""

    @listing
    def list(
        self,
        /,
        *,
        row_count: bool = False,
        latest_upload: bool = False,
        usable_in_accounts: bool = False,
        limit: int | None = None,
    ) -> Pager[Schema]:
        """Iterate over the datasets' structures.

        Args:
            row_count: with how many records can be used; an upload may show an hour later.
            latest_upload: with the last file.
            usable_in_accounts: with the accounts in which the dataset can be used.
            limit: how many to return at most.
        """
        flags = {"row_count": row_count, "latest_upload": latest_upload, "usable_in_accounts": usable_in_accounts}
        pager: Pager[Schema] = self._pager("schemas.list", limit=limit, key="name", query=_flags(flags))
        return pager

    @operation
    def get(self, schema: str, *, row_count: bool = False, latest_upload: bool = False) -> Flow[Schema]:
        """Return the structure of a dataset; arguments as of `schemas.list`."""
        query = _flags({"row_count": row_count, "latest_upload": latest_upload})
        found: Schema = yield from self._one("schemas.get", values={"schema": schema}, query=query)
        return found

    @operation
    def create(self, body: Schema) -> Flow[Schema]:
        """Create a dataset and return its structure. Monetate does not recommend this for customer attributes.

        Args:
            body: `name`, `fields` (by name: `data_type` and marks), `type` ("attribute" by default) and
                `named_identifier`, without which the dataset cannot be used.
        """
        check_schema(body)
        if body.get("type", "attribute") == "attribute":
            logger.warning("%s", NOT_RECOMMENDED)
        if not body.get("named_identifier"):
            logger.warning("%s", NO_IDENTIFIER)
        made: Schema = yield from self._one("schemas.create", body=dict(body))
        return made

    @operation
    def add_fields(self, schema: str, fields: Mapping[str, Field]) -> Flow[Schema]:
        """Add columns to a dataset and return its fields.

        Args:
            fields: by name, with `data_type`; identifier and unique key cannot be added.
        """
        check_fields(fields)
        for name, one in fields.items():
            if one.get("identifier") or one.get("unique_key"):
                raise InvalidError("cannot be added as identifier or unique key", field=f"fields.{name}")
        body = {"fields": {name: dict(one) for name, one in fields.items()}}
        changed: Schema = yield from self._one("schemas.add_fields", values={"schema": schema}, body=body)
        return changed

    @operation
    def set_identifier(self, schema: str, named_identifier: str) -> Flow[Schema]:
        """Set the Identifier Name of a dataset, without which it cannot be used."""
        check_identifier(named_identifier)
        body = {"named_identifier": named_identifier}
        changed: Schema = yield from self._one("schemas.set_identifier", values={"schema": schema}, body=body)
        return changed


class SchemaTypes(MonetateResource[M]):
    """Kinds of schemas, and the fields that they need."""

    @listing
    def list(self, /, *, limit: int | None = None) -> Pager[Schema]:
        """Iterate over the kinds."""
        pager: Pager[Schema] = self._pager("schema_types.list", limit=limit, key="name")
        return pager

    @operation
    def get(self, name: str) -> Flow[Schema]:
        """Return one kind."""
        found: Schema = yield from self._one("schema_types.get", values={"name": name})
        return found


class Uploads(MonetateResource[M]):
    """Files that came by SFTP or by the platform's wizard; the wizard itself has no API."""

    @listing
    def list(self, /, schema: str, *, limit: int | None = None) -> Pager[FileUpload]:
        """Iterate over the files of a dataset, newest first.

        Args:
            schema: the dataset's name.
            limit: how many to return at most.
        """
        pager: Pager[FileUpload] = self._pager("uploads.list", limit=limit, key="", values={"schema": schema})
        return pager


class DefaultCatalogs(MonetateResource[M]):
    """The product catalogs that accounts use by default."""

    @listing
    def list(self, /, *, limit: int | None = None) -> Pager[DefaultCatalog]:
        """Iterate over accounts and their catalogs."""
        pager: Pager[DefaultCatalog] = self._pager("default_catalogs.list", limit=limit, key="account")
        return pager

    @operation
    def set(self, account: str, schema: str) -> Flow[DefaultCatalog]:
        """Set the catalog of an account.

        Args:
            account: the account's id, as text.
            schema: the id of the catalog's schema, as text.
        """
        body = {"account": _id_text(account, "account"), "schema": _id_text(schema, "schema")}
        made: DefaultCatalog = yield from self._one("default_catalogs.set", body=body)
        return made


def _flags(flags: Mapping[str, bool]) -> list[tuple[str, str]]:
    return [(name, "true") for name, wanted in flags.items() if wanted]


def _id_text(value: object, field: str) -> str:
    if not isinstance(value, str) or not value.isascii() or not value.isdigit():
        raise InvalidError('must be the id as a text of digits, "123"', field=field)
    return value
