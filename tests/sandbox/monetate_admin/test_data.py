"""The Data API: records, their checks, uploads that are resumed, single records by hand."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest

from flagmw.admin import (
    AmbiguousError,
    ConflictError,
    InvalidError,
    MonetateAdmin,
    NotFoundError,
    ServerError,
    ThrottledError,
)
from flagmw.sandbox import SandboxServer
from tests.sandbox.monetate_admin import boxed

ROW = {
    "customer_id": "c1",
    "loyalty": "gold",
    "points": 12.5,
    "vip": True,
    "seen_at": "2026-01-31T10:00:00.000000Z",
    "tags": "a,b",
}


def rows_of(box: SandboxServer, schema: str = "customers") -> list[dict[str, Any]]:
    """Return the records of a dataset, without what is null."""
    dataset = box.sandbox.monetate.stores[boxed.RETAILER].datasets[schema]
    return [{name: value for name, value in row.items() if value is not None} for row in dataset.rows.values()]


def posts(box: SandboxServer) -> int:
    """Return how often records were sent."""
    return sum(one["action"] == "upsertRows" for one in box.ledger()["requests"])


def test_one_record(admin: MonetateAdmin, box: SandboxServer) -> None:
    """Created, then replaced as a whole."""
    result = admin.data.upsert("customers", ROW)
    assert (result.rows, len(result.parts), result.warnings) == (1, 1, ())
    assert rows_of(box) == [ROW]
    admin.data.upsert("customers", {"customer_id": "c1", "loyalty": "silver"})
    assert rows_of(box) == [{"customer_id": "c1", "loyalty": "silver"}]
    assert admin.data.check("customers", "c1")["points"] is None


async def test_the_asynchronous_client(box: SandboxServer, clock: boxed.Clock) -> None:
    """The same upload and the same check."""
    async with boxed.async_admin(box, clock) as admin:
        result = await admin.data.upsert("customers", [ROW, {"customer_id": "c2"}])
        assert result.rows == 2
        assert (await admin.data.check("customers", "c2"))["customer_id"] == "c2"
        assert [one["name"] async for one in admin.schemas.list()] == ["customers", "visits", "products"]


def test_sources_of_every_kind(admin: MonetateAdmin, box: SandboxServer, tmp_path: Path) -> None:
    """CSV, JSON lines, gzip, sequences and iterators make the same records, with the schema's types."""
    (tmp_path / "a.csv").write_text(
        'customer_id,loyalty,points,vip,seen_at,tags\nc1,gold,12.5,TRUE,2026-01-31T10:00:00.000000Z,"a,b"\n'
    )
    (tmp_path / "a.jsonl").write_text(json.dumps(ROW) + "\n")
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(json.dumps(ROW).encode()))
    sources: list[tuple[Any, dict[str, Any]]] = [
        (tmp_path / "a.csv", {}),
        (str(tmp_path / "a.jsonl"), {}),
        (tmp_path / "a.jsonl.gz", {}),
        (iter([ROW]), {}),
        ([list(ROW.values())], {"columns": list(ROW)}),
        ([{**ROW, "points": Decimal("12.5"), "tags": ["a", "b"]}], {}),
        ([{**ROW, "loyalty": "gold", "vip": True, "points": 12.5}], {"check": False}),
    ]
    for source, options in sources:
        box.reset()
        assert admin.data.upsert("customers", source, **options).rows == 1
        assert rows_of(box) == [ROW], source


def test_many_records_in_parts(admin: MonetateAdmin, box: SandboxServer) -> None:
    """At most so many rows and bytes to a call, one call after the other, with progress and a result for each."""
    told: list[Any] = []
    results: list[Any] = []
    many: Iterator[Any] = ({"customer_id": f"c{number}", "points": number} for number in range(1201))
    result = admin.data.upsert("customers", many, on_progress=told.append, on_record=results.append)
    assert (result.rows, [part.rows for part in result.parts]) == (1201, [500, 500, 201])
    assert [(one.step, one.rows) for one in told] == [("sent", 500), ("sent", 1000), ("sent", 1201)]
    assert len(rows_of(box)) == 1201 and posts(box) == 3
    assert [(one.row, one.id, one.state) for one in results[:2]] == [(1, "c0", "accepted"), (2, "c1", "accepted")]
    large = [{"customer_id": f"d{number}", "loyalty": "x" * 400} for number in range(10)]
    assert [part.rows for part in admin.data.upsert("customers", large, max_bytes=1000).parts] == [2] * 5


def test_records_that_the_schema_refuses(admin: MonetateAdmin, box: SandboxServer) -> None:
    """Each has its number and the reason; the others are sent."""
    wrong: list[Any] = [
        {"loyalty": "no id"},
        {"customer_id": " c"},
        {"customer_id": ""},
        {"customer_id": 1},
        {"customer_id": "c", "points": "12"},
        {"customer_id": "c", "points": True},
        {"customer_id": "c", "points": float("nan")},
        {"customer_id": "c", "vip": "yes"},
        {"customer_id": "c", "seen_at": "yesterday"},
        {"customer_id": "c", "tags": ["a,b"]},
        {"customer_id": "c", "colour": "red"},
        {"customer_id": "c", "loyalty": "\ud800"},
        {"customer_id": "c", "loyalty": {"a": 1}},
        {"": "c"},
        {},
        ["c"],
    ]
    results: list[Any] = []
    result = admin.data.upsert("customers", [ROW, *wrong, {"customer_id": "last"}], on_record=results.append)
    assert result.rows == 2 and result.tally.rejected_count == len(wrong)
    assert [one.row for one in result.tally.rejected] == list(range(2, len(wrong) + 2))
    reasons = [one.reason for one in result.tally.rejected]
    assert 'has no "customer_id"' in reasons[0] and "schemas.add_fields" in reasons[10]
    assert sum(one.state == "rejected" for one in results) == len(wrong)
    with pytest.raises(InvalidError, match=r"none of its 1 records.*has no"):
        admin.data.upsert("customers", {"loyalty": "x"})
    assert posts(box) == 1


def test_a_record_that_only_monetate_refuses(admin: MonetateAdmin, box: SandboxServer) -> None:
    """Without a check before, the one that is wrong is found in halves; the others are taken."""
    many: list[dict[str, Any]] = [{"customer_id": f"c{number}"} for number in range(100)]
    many[37]["points"] = "many"
    result = admin.data.upsert("customers", many, check=False)
    assert result.rows == 99 and len(rows_of(box)) == 99
    assert [one.row for one in result.tally.rejected] == [38]
    assert "points: is no NUMBER" in result.tally.rejected[0].reason
    assert posts(box) < 20


def test_a_mistake_in_all_records(admin: MonetateAdmin, box: SandboxServer) -> None:
    """After twenty refusals the run ends: it is not sent record by record."""
    many = [{"customer_id": f"c{number}", "colour": "red"} for number in range(500)]
    with pytest.raises(InvalidError, match="colour"):
        admin.data.upsert("customers", many, check=False)
    assert posts(box) < 60 and rows_of(box) == []


def test_two_records_of_one_key(admin: MonetateAdmin, box: SandboxServer) -> None:
    """In one call the later one is sent alone, and the other is reported as replaced."""
    results: list[Any] = []
    rows = [{"customer_id": "c1", "points": 1}, {"customer_id": "c1", "points": 2}]
    result = admin.data.upsert("customers", rows, on_record=results.append)
    assert (result.rows, result.tally.replaced, rows_of(box)) == (1, 1, [rows[1]])
    assert [(one.row, one.state) for one in results] == [(1, "replaced"), (2, "accepted")]


def test_a_dataset_without_a_unique_key(admin: MonetateAdmin, box: SandboxServer) -> None:
    """Every record is a new one, and without an Identifier Name nobody can use them: warned."""
    rows = [{"customer_id": "c1", "at": datetime(2026, 1, 1, tzinfo=UTC)}] * 2
    result = admin.data.upsert("visits", rows)
    assert len(rows_of(box, "visits")) == 2
    assert result.warnings == ("the dataset cannot be used until its Identifier Name is set: schemas.set_identifier",)
    admin.schemas.set_identifier("visits", "customer")
    assert admin.data.upsert("visits", rows).warnings == ()


def failing(box: SandboxServer, times: int = 1, **fault: Any) -> None:
    box.faults([{"route": "monetate.data", "times": times, **fault}])


@pytest.mark.parametrize("schema", ["customers", "visits"])
def test_resumed_after_an_end_in_the_middle(
    admin: MonetateAdmin, box: SandboxServer, tmp_path: Path, schema: str
) -> None:
    """What was taken is not sent again; what may have been is, only where that does no harm."""
    at = {} if schema == "customers" else {"at": "2026-01-01"}
    rows = [{"customer_id": f"c{number}", **at} for number in range(30)]
    options: dict[str, Any] = {"journal": tmp_path / "run", "max_rows": 10}
    count = 0

    def broken(progress: Any) -> None:
        nonlocal count
        count += 1
        if count == 1:
            # The next answer never comes, though the records are taken.
            failing(box, 3, kind="reset", processed=True)

    with pytest.raises(AmbiguousError, match="part 2") as unsure:
        admin.data.upsert(schema, rows, on_progress=broken, **options)
    assert ("same journal" in str(unsure.value)) == (schema == "customers")
    box.faults([])
    if schema == "visits":
        with pytest.raises(AmbiguousError, match=r"without a unique key.*resend=True"):
            admin.data.upsert(schema, rows, **options)
    result = admin.data.upsert(schema, rows, **options, **({"resend": True} if schema == "visits" else {}))
    assert [(part.earlier, part.maybe_twice) for part in result.parts] == [(True, False), (False, True), (False, False)]
    assert result.rows == 30 and len(rows_of(box, schema)) == (30 if schema == "customers" else 40)
    before = posts(box)
    assert all(part.earlier for part in admin.data.upsert(schema, rows, **options).parts) and posts(box) == before
    with pytest.raises(ConflictError, match="source has changed"):
        admin.data.upsert(schema, [{**rows[0], "customer_id": "other"}, *rows[1:]], **options)
    with pytest.raises(InvalidError, match="other options"):
        admin.data.upsert(schema, rows, **{**options, "max_rows": 11})


def test_an_outage_is_sat_out(admin: MonetateAdmin, box: SandboxServer) -> None:
    """With a unique key a failed call is made again by itself; without one it is not."""

    def once(progress: Any) -> None:
        failing(box, 2, kind="status", status=503)

    many = [{"customer_id": f"c{number}"} for number in range(20)]
    assert admin.data.upsert("customers", many, max_rows=10, on_progress=once).rows == 20
    box.faults([])
    rows = [{"customer_id": "c", "at": "2026-01-01"}] * 20
    with pytest.raises(AmbiguousError, match="no unique key"):
        admin.data.upsert("visits", rows, max_rows=10, on_progress=once)
    assert len(rows_of(box, "visits")) == 10


def test_what_is_refused_before_anything_is_sent(admin: MonetateAdmin, box: SandboxServer, tmp_path: Path) -> None:
    """Nothing to send, a file that is not there, options out of range, an unknown dataset."""
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "data.bin").write_text("x")
    cases: list[tuple[Any, dict[str, Any], str]] = [
        ([], {}, "no records"),
        (tmp_path / "empty.csv", {}, "no records"),
        (tmp_path / "none.csv", {}, "cannot be read"),
        (tmp_path / "data.bin", {}, "format="),
        ([["c1"]], {}, "name the columns"),
        ([ROW], {"max_rows": 0}, "max_rows"),
        ([ROW], {"format": "batch"}, "csv"),
    ]
    for source, options, says in cases:
        with pytest.raises(InvalidError, match=says):
            admin.data.upsert("customers", source, **options)
    with pytest.raises(NotFoundError):
        admin.data.upsert("nobody", ROW)
    for name in ("", ".", "..", None):
        with pytest.raises(InvalidError, match="schema"):
            admin.data.upsert(name, ROW)  # type: ignore[arg-type]
    assert posts(box) == 0


def test_a_dry_run(admin: MonetateAdmin, box: SandboxServer) -> None:
    """The request for the first part, without a call."""
    planned = admin.data.upsert.request("customers", [ROW], sent_time="2026-01-31T10:00:01.000000Z")
    assert planned.json() == {"schema_rows": [ROW], "_sent_time": "2026-01-31T10:00:01.000000Z"}
    assert planned.url == f"{box.url}/api/data/v1/acme/production/data/customers/"
    assert box.ledger()["requests"] == []


def test_checks_are_held_to_one_a_second(admin: MonetateAdmin, clock: boxed.Clock, box: SandboxServer) -> None:
    """The client waits; many checks in a row are refused as what they are."""
    admin.data.upsert("customers", ROW)
    begun = clock.now
    for _ in range(30):
        assert admin.data.check("customers", "c1")["loyalty"] == "gold"
    assert clock.now - begun == pytest.approx(29, abs=0.01)
    assert all(one["answer"]["status"] == 200 for one in box.ledger()["requests"][1:] if one["action"] == "checkRow")
    with pytest.raises(InvalidError, match="Monetate forbids reading many"):
        admin.data.check("customers", "c1")
    clock.now += 300
    assert admin.data.check("customers", "c1", address="article")["loyalty"] == "gold"
    for wrong in (["c1", "c2"], "", None, 1):
        with pytest.raises(InvalidError, match="one record"):
            admin.data.check("customers", wrong)  # type: ignore[arg-type]
    clock.now += 1
    with pytest.raises(NotFoundError):
        admin.data.check("customers", "nobody")


def test_more_checks_than_one_a_second(box: SandboxServer, clock: boxed.Clock) -> None:
    """Two clients of one key: Monetate's 429 is an error, and the call is not made again."""
    box.sandbox.replace(boxed.scenario(retry_after=True))
    auth = boxed.key(box, clock)
    with boxed.admin(box, clock, auth=auth) as one, boxed.admin(box, clock, auth=auth) as two:
        one.data.upsert("customers", ROW)
        one.data.check("customers", "c1")
        before = len(box.ledger()["requests"])
        with pytest.raises(ThrottledError) as many:
            two.data.check("customers", "c1")
    assert many.value.seconds == 1 and len(box.ledger()["requests"]) == before + 1


def test_both_forms_of_the_address(box: SandboxServer, admin: MonetateAdmin, http: httpx2.Client) -> None:
    """The article has the schema where the published description has the retailer; the sandbox takes both."""
    admin.data.upsert("customers", ROW)
    headers = {"Authorization": f"Token {next(iter(box.sandbox.monetate.tokens))}"}
    for path in ("acme/production/data/customers/", "customers/production/data/"):
        box.sandbox.monetate.checks.clear()
        answer = http.get(f"{box.url}/api/data/v1/{path}", params={"id": "c1"}, headers=headers)
        assert answer.json()["data"]["schema_rows"][0]["loyalty"] == "gold"


def test_schemas(admin: MonetateAdmin, caplog: pytest.LogCaptureFixture) -> None:
    """Listed, read with their flags, changed, created with the vendor's own warning."""
    admin.data.upsert("customers", ROW)
    found = admin.schemas.get("customers", row_count=True, latest_upload=True)
    assert (found["id"], found["row_count"], found["last_file_upload"]) == (1001, 1, None)
    assert [one["usable_in_accounts"] != [] for one in admin.schemas.list(usable_in_accounts=True)] == [
        True,
        False,
        False,
    ]
    changed = admin.schemas.add_fields("customers", {"colour": {"data_type": "STRING"}})
    assert changed["fields"]["colour"] == {"data_type": "STRING"}
    admin.data.upsert("customers", {"customer_id": "c2", "colour": "red"})
    assert admin.schemas.set_identifier("customers", "person") == {"named_identifier": "person"}
    assert admin.schemas.get("customers")["named_identifier"] == "person"
    made = admin.schemas.create({"name": "loyalty", "fields": {"id": {"data_type": "STRING", "identifier": True}}})
    assert made["id"] == 1004
    assert "does not recommend" in caplog.text and "Identifier Name" in caplog.text
    assert "event" in [one["name"] for one in admin.schema_types.list()]
    assert admin.schema_types.get("event")["fields"]["event_time"]["data_type"] == "DATETIME"
    assert list(admin.uploads.list("customers")) == []
    assert admin.default_catalogs.set("1", "1003")["schema_name"] == "products"
    assert [one["account"] for one in admin.default_catalogs.list()] == ["1"]


FIELD = {"data_type": "STRING", "identifier": True}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": "1a", "fields": {"id": FIELD}}, "name"),
        ({"name": "a-b", "fields": {"id": FIELD}}, "name"),
        ({"name": "a" * 65, "fields": {"id": FIELD}}, "name"),
        ({"name": "a", "fields": {}}, "fields"),
        ({"name": "a", "fields": {"id": {"data_type": "STRING"}}}, "fields"),
        ({"name": "a", "fields": {"id": FIELD, "x": FIELD}}, "fields"),
        ({"name": "a", "fields": {"id": {**FIELD, "data_type": "NUMBER"}}}, "fields"),
        ({"name": "a", "fields": {"id": FIELD, "x": {"data_type": "TEXT"}}}, "fields.x"),
        ({"name": "a", "type": "event", "fields": {"id": FIELD}}, "fields"),
        ({"name": "a", "type": "other", "fields": {"id": FIELD}}, "type"),
        ({"name": "a", "fields": {"id": FIELD}, "named_identifier": "a b"}, "named_identifier"),
        ({"name": "a", "fields": {"id": FIELD, **{f"f{n}": {"data_type": "NUMBER"} for n in range(40)}}}, "fields"),
    ],
)
def test_structures_that_cannot_be(
    admin: MonetateAdmin, box: SandboxServer, http: httpx2.Client, body: Any, field: str
) -> None:
    """Refused before they are sent, and by the sandbox too."""
    with pytest.raises(InvalidError) as refused:
        admin.schemas.create(body)
    assert (refused.value.field or "").startswith(field) and refused.value.status is None
    admin.accounts.get(1)
    headers = {"Authorization": f"Token {next(iter(box.sandbox.monetate.tokens))}"}
    answer = http.post(f"{box.url}/api/data/v1/acme/production/schema/", json=body, headers=headers)
    assert answer.status_code == 400, answer.text


def test_changes_that_cannot_be(admin: MonetateAdmin, box: SandboxServer, http: httpx2.Client) -> None:
    """Fields and Identifier Name never together; no new identifier; no second field of a name."""
    with pytest.raises(InvalidError, match="identifier or unique key"):
        admin.schemas.add_fields("customers", {"other": {"data_type": "STRING", "identifier": True}})
    with pytest.raises(InvalidError, match="letters, digits"):
        admin.schemas.set_identifier("customers", "a b")
    with pytest.raises(InvalidError, match="is there already"):
        admin.schemas.add_fields("customers", {"points": {"data_type": "NUMBER"}})
    with pytest.raises(InvalidError, match="digits"):
        admin.default_catalogs.set(1, "1003")  # type: ignore[arg-type]
    headers = {"Authorization": f"Token {next(iter(box.sandbox.monetate.tokens))}"}
    both = {"fields": {"a": {"data_type": "STRING"}}, "named_identifier": "x"}
    answer = http.patch(f"{box.url}/api/data/v1/acme/production/schema/customers/", json=both, headers=headers)
    assert answer.status_code == 400
    for raw in (b"[1]", b"{", b'{"schema_rows": 1}', b'{"schema_rows": [1]}', b'{"schema_rows": [], "_sent_time": 1}'):
        url = f"{box.url}/api/data/v1/acme/production/data/customers/"
        assert http.post(url, content=raw, headers=headers).status_code == 400


def test_a_server_error_while_reading(admin: MonetateAdmin, box: SandboxServer) -> None:
    """A schema that cannot be read stops the upload before anything is sent."""
    failing(box, 9, kind="error", code=500, status=500)
    with pytest.raises(ServerError):
        admin.data.upsert("customers", ROW)
    assert posts(box) == 0


def test_a_throttled_upload_waits(admin: MonetateAdmin, box: SandboxServer, clock: boxed.Clock) -> None:
    """A 429 means that nothing was done: the call is made again after the time that it names, else a minute."""
    begun = clock.now
    box.faults([{"route": "monetate.data", "kind": "status", "status": 429, "retry_after": 7, "times": 1}])
    assert admin.data.upsert("customers", ROW, check=False).rows == 1
    assert clock.now - begun == 7
    box.faults([{"route": "monetate.data", "kind": "status", "status": 429, "times": 9}])
    with pytest.raises(ThrottledError) as many:
        admin.data.upsert("customers", ROW, check=False)
    assert many.value.seconds == 60
    box.faults([])


@pytest.mark.parametrize("text", ["1_000", "١٢", "0x10", "1e", "--1", "1.2.3", "nan", "inf", "1" * 30, " 1"])
def test_texts_that_are_no_numbers(admin: MonetateAdmin, text: str, tmp_path: Path) -> None:
    """What only Python takes for a number is none."""
    (tmp_path / "a.csv").write_text(f"customer_id,points\nc1,{text}\nc2,-1.5e3\nc3,.5\nc4,+7\n")
    result = admin.data.upsert("customers", tmp_path / "a.csv")
    assert (result.rows, [one.row for one in result.tally.rejected]) == (3, [1])


def test_a_time_that_is_none(admin: MonetateAdmin, box: SandboxServer) -> None:
    """It is refused before it makes Monetate refuse every record."""
    with pytest.raises(InvalidError, match="sent_time"):
        admin.data.upsert("customers", ROW, sent_time="yesterday")
    assert posts(box) == 0
