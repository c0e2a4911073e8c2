"""Bulk updates of profiles: encoding, parts, merging, uploads, resumption."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flagmw.admin import AmbiguousError, ConflictError, InvalidError
from flagmw.admin.adobe.profiles.encode import RowEncoder, encoded
from flagmw.admin.adobe.profiles.parts import PartBuilder
from flagmw.admin.adobe.profiles.upload import BulkResult, Progress
from flagmw.admin.bulk.ids import SeenIds
from flagmw.admin.bulk.sources import Rejected
from tests.support.http_vendor import Answer, HttpVendor, Request
from tests.unit.admin.adobe import SAMPLES, Clock, async_client, client


def accepted(status_url: str = "") -> Answer:
    status = f"<batchStatus>{status_url}</batchStatus>" if status_url else ""
    return Answer(200, f"<response><success>true</success>{status}<message>submitted</message></response>".encode())


def taking(_: Request) -> Answer:
    return accepted()


def parsed(body: bytes) -> list[dict[str, str]]:
    """Return the rows of an upload, decoded, without what is empty."""
    text = body.decode("ascii")
    assert text.startswith("batch=")
    assert text.endswith("\n")
    header, *lines = text.removeprefix("batch=")[:-1].split("\n")
    names = [unquote(name) for name in header.split(",")]
    rows = [dict(zip(names, map(unquote, line.split(",")), strict=False)) for line in lines]
    return [{name: value for name, value in row.items() if value} for row in rows]


def upload(source: Any, vendor: HttpVendor, **options: Any) -> BulkResult:
    with client(vendor.url) as admin:
        return admin.profiles.bulk_update(source, **{"id_kind": "pcId", **options})


def test_the_printed_file(tmp_path: Path) -> None:
    """The printed batch is sent as it is, from the vendor's own form and from rows."""
    printed = (SAMPLES / "profiles.bulk_update" / "call_body.txt").read_bytes()
    names = ["pcId", "param1", "param2", "param3", "param4"]
    rows = [
        ["123", "value1"],
        ["124", "value1", "", None, "value4"],
        ["125", "", "value2"],
        ["126", "value1", "value2", "value3", "value4"],
    ]
    path = tmp_path / "BATCH.TXT".lower()
    path.write_bytes(printed.replace(b",", b", "))
    with HttpVendor(taking) as vendor:
        result = upload(path, vendor)
        upload(rows, vendor, columns=names)
    first, second = vendor.requests
    assert first.body == second.body == printed
    assert (first.method, first.target) == ("POST", "/m2/acme/v2/profile/batchUpdate")
    assert int(first.headers["content-length"]) == len(printed)
    assert (result.rows, len(result.parts), result.parts[0].bytes) == (4, 1, len(printed))


TRICKY = {
    "thirdPartyId": "ü/1+2",
    "city": "Paris, Île\r\n",
    "vip": True,
    "age": 41,
    "note": None,
    "profile.pets": "cat",
}


def test_sources_of_every_kind(tmp_path: Path) -> None:
    """Mappings, JSON lines, CSV, gzip, an open file and a database cursor all make the same rows."""
    expected = [{"thirdPartyId": "ü/1+2", "city": "Paris, Île\r\n", "vip": "true", "age": "41", "pets": "cat"}]
    texts = {name: "" if value is None else "true" if value is True else str(value) for name, value in TRICKY.items()}
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, texts)
    writer.writeheader()
    writer.writerow(texts)
    (tmp_path / "rows.csv").write_bytes(b"\xef\xbb\xbf" + table.getvalue().encode())
    (tmp_path / "rows.csv.gz").write_bytes(gzip.compress(table.getvalue().encode()))
    (tmp_path / "rows.jsonl").write_text(json.dumps(TRICKY) + "\n\n")
    database = sqlite3.connect(":memory:")
    select = 'SELECT ? AS thirdPartyId, ? AS city, "true" AS vip, 41 AS age, NULL AS note, "cat" AS pets'
    cursor = database.execute(select.replace('"', "'"), (TRICKY["thirdPartyId"], TRICKY["city"]))
    sources: list[tuple[Any, dict[str, Any]]] = [
        ([TRICKY], {}),
        (iter([TRICKY]), {}),
        (tmp_path / "rows.csv", {}),
        (str(tmp_path / "rows.csv.gz"), {}),
        (tmp_path / "rows.jsonl", {}),
        (io.BytesIO(table.getvalue().encode()), {"format": "csv"}),
        (io.StringIO(json.dumps(TRICKY)), {"format": "jsonl"}),
        (cursor, {}),
    ]
    with HttpVendor(taking) as vendor:
        for source, options in sources:
            upload(source, vendor, id_kind="thirdPartyId", **options)
            assert parsed(vendor.requests[-1].body) == expected, source
    database.close()


VALUES = st.one_of(st.none(), st.text(st.characters(codec="utf-8"), max_size=6), st.integers(), st.booleans())
ROWS = st.lists(st.tuples(st.integers(0, 12), st.dictionaries(st.sampled_from("abcdef"), VALUES)), max_size=40)


@settings(max_examples=40)
@given(ROWS, st.integers(1, 9), st.booleans())
def test_every_row_arrives_once(rows: list[tuple[int, dict[str, Any]]], most: int, reject: bool) -> None:
    """Whatever the rows: what was set by all rows of one id in a part is set by one line of it."""
    given_rows: Iterator[Any] = iter([{"pcId": f"v{identity}", **values} for identity, values in rows])
    sent: list[list[dict[str, str]]] = []
    with tempfile.TemporaryDirectory() as folder:
        builder = PartBuilder(given_rows, RowEncoder("pcId"), Path(folder), reject_repeats=reject, max_rows=most)
        while part := builder.next_part():
            body = part.header + part.file.read_bytes()
            assert part.digest == hashlib.sha256(body).hexdigest()
            sent.append(parsed(body))
            assert (part.rows, part.bytes) == (len(sent[-1]), len(body))
    assert all(len({row["pcId"] for row in part}) == len(part) <= most for part in sent)
    merged: dict[str, dict[str, str]] = {}
    for rows_of_part in sent:
        for row in rows_of_part:
            merged[row["pcId"]] = {**merged.get(row["pcId"], {}), **row}
    tally = builder.tally
    rejected = {one.row for one in tally.rejected}
    expected: dict[str, dict[str, str]] = {}
    for number, (identity, values) in enumerate(rows, 1):
        texts = {name: text for name, value in values.items() if (text := unquote(encoded(value)))}
        if texts and number not in rejected:
            key = f"v{identity}"
            expected[key] = {**expected.get(key, {"pcId": key}), **texts}
    assert merged == expected
    assert reject or not rejected
    assert sum(map(len, sent)) + tally.merged + tally.empty + len(rejected) == len(rows) == tally.read


def test_rows_that_cannot_be_sent_are_reported() -> None:
    """Each has its number and the reason; the others are sent."""
    rows: list[Any] = [
        {"pcId": "1", "a": "x"},
        {"a": "no id"},
        {"pcId": "", "a": "x"},
        {"pcId": "2", "a": ["x"]},
        {"pcId": "3", "a": "\ud800"},
        {"pcId": "i" * 129, "a": "x"},
        {"pcId": "4", "": "x"},
        {"pcId": "4", "mbox3rdPartyId": "x"},
        ["5", "x"],
        {"pcId": "6", "n" * 129: "x"},
        {"pcId": "7", "a": ""},
        {"pcId": "8", "a": "y"},
    ]
    told: list[Rejected] = []
    with HttpVendor(taking) as vendor:
        result = upload(rows, vendor, on_rejected=told.append)
    assert parsed(vendor.requests[0].body) == [{"pcId": "1", "a": "x"}, {"pcId": "8", "a": "y"}]
    assert result.tally.rejected == told
    assert [(one.row, one.reason) for one in told] == [
        (2, 'has no "pcId"'),
        (3, 'has an empty "pcId"'),
        (4, "has a list as a value; use text, numbers or nothing"),
        (5, "has text that is not UTF-8"),
        (6, "has an id of more than 128 characters"),
        (7, "has a column without a name"),
        (8, 'has the column "mbox3rdPartyId", which is there already or is an id'),
        (9, "is no mapping"),
        (10, "has a column whose name is longer than 128 characters"),
    ]
    assert (result.tally.empty, result.tally.read) == (1, 12)


def test_broken_lines_of_files(tmp_path: Path) -> None:
    """A broken line costs that line alone."""
    (tmp_path / "a.jsonl").write_bytes(
        b'{"pcId": 1, "a": 1}\n{"pcId": 2\n[3]\n{"pcId": 4, "a": "\xff"}\n{"pcId": 5, "a": 5}'
    )
    (tmp_path / "b.csv").write_bytes(b'pcId,a\n1,1\n2,2,3\n3,"\xff"\n\n"4","4')
    with HttpVendor(taking) as vendor:
        first = upload(tmp_path / "a.jsonl", vendor)
        second = upload(tmp_path / "b.csv", vendor)
    assert [row["pcId"] for row in parsed(vendor.requests[0].body)] == ["1", "5"]
    assert [one.row for one in first.tally.rejected] == [2, 3, 4]
    assert [row["pcId"] for row in parsed(vendor.requests[1].body)] == ["1", "4"]
    assert [one.row for one in second.tally.rejected] == [2, 3]


def test_a_line_without_end(tmp_path: Path) -> None:
    """A line of many megabytes costs neither the memory for it nor its neighbours."""
    long = b"x" * (3 << 20)
    (tmp_path / "a.jsonl").write_bytes(b'{"pcId": 1, "a": "' + long + b'"}\n{"pcId": 2, "a": 2}\n')
    (tmp_path / "b.csv").write_bytes(b"pcId,a\n1," + long + b"\n2,2\n")
    with HttpVendor(taking) as vendor:
        for name in ("a.jsonl", "b.csv"):
            result = upload(tmp_path / name, vendor)
            assert [one.row for one in result.tally.rejected] == [1]
            assert parsed(vendor.requests[-1].body) == [{"pcId": "2", "a": "2"}]


def test_a_file_that_breaks_off(tmp_path: Path) -> None:
    """A cut gzip file ends the run with its row; what was sent before is in the journal."""
    whole = gzip.compress("".join(f"{number},{number * 7919}\n" for number in range(20_000)).encode())
    (tmp_path / "a.csv.gz").write_bytes(whole[: len(whole) // 2])
    with HttpVendor(taking) as vendor, pytest.raises(InvalidError, match="cannot be read after row"):
        upload(tmp_path / "a.csv.gz", vendor, columns=["pcId", "a"])


def test_what_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    """An empty source, an unknown id, columns that nobody named: the error says what to do."""
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "header.csv").write_text("pcId,a\n")
    (tmp_path / "other.csv").write_text("email,a\nx,1\n")
    (tmp_path / "no.batch").write_text("pcId,a\n1,2\n")
    (tmp_path / "data.bin").write_text("")
    cases: list[tuple[Any, dict[str, Any], str]] = [
        ([], {}, "no rows"),
        (tmp_path / "empty.csv", {}, "pcId|no rows"),
        (tmp_path / "header.csv", {}, "no rows"),
        ([{"pcId": "1"}], {}, "none of its 1 rows"),
        (tmp_path / "other.csv", {}, 'no column "pcId"'),
        (tmp_path / "other.csv", {"id_kind": "email"}, "must be pcId or thirdPartyId"),
        ([{"pcId": "1", "a": 1}], {"id_kind": "mbox3rdPartyId"}, "must be pcId or thirdPartyId"),
        (tmp_path / "no.batch", {}, 'begins with "batch="'),
        (tmp_path / "data.bin", {}, "format="),
        (tmp_path / "missing.csv", {}, "cannot be read"),
        ([["1", "a"]], {}, "name the columns"),
        ([["1", "a"]], {"columns": ["pcId", "pcId"]}, "already"),
        (io.StringIO("x"), {}, "say what the file holds"),
        ([{"pcId": "1", "a": 1}], {"version": 3}, "1 or 2"),
        ([{"pcId": "1", "a": 1}], {"max_rows": 500_001}, "at most"),
    ]
    with HttpVendor(taking) as vendor:
        for source, options, says in cases:
            with pytest.raises(InvalidError, match=says):
                upload(source, vendor, **options)
        assert vendor.requests == []


def test_an_id_column_of_another_name() -> None:
    """The column that holds the id can be called anything and stand anywhere."""
    with HttpVendor(taking) as vendor:
        upload([["x", "9"]], vendor, columns=["a", "crm"], id_column="crm", id_kind="thirdPartyId", version=1)
    (request,) = vendor.requests
    assert request.target == "/m2/acme/profile/batchUpdate"
    assert request.body == b"batch=thirdPartyId,a\n9,x\n"


def test_the_first_column_says_what_identifies_a_row(tmp_path: Path) -> None:
    """Without `id_kind` the first column must be one of the two; rows without an order of columns need it."""
    (tmp_path / "good.csv").write_text("thirdPartyId,a\nc1,x\n")
    (tmp_path / "bad.csv").write_text("email,pcId\nx,1\n")
    (tmp_path / "empty.csv").write_text("")
    with HttpVendor(taking) as vendor:
        assert upload(tmp_path / "good.csv", vendor, id_kind=None).rows == 1
        for name, says in (("bad.csv", 'first column is "email"'), ("empty.csv", "no rows")):
            with pytest.raises(InvalidError, match=says):
                upload(tmp_path / name, vendor, id_kind=None)
        with pytest.raises(InvalidError, match="say what identifies"):
            upload([{"pcId": "1", "a": 1}], vendor, id_kind=None)
    assert [request.body for request in vendor.requests] == [b"batch=thirdPartyId,a\nc1,x\n"]


def numbered(count: int) -> list[dict[str, Any]]:
    return [{"thirdPartyId": f"c{number}", "a": f"value {number}", "b": number} for number in range(count)]


def test_parts_are_cut_by_rows_and_bytes() -> None:
    """No part has more rows or bytes than allowed, and every row is in one."""
    progress: list[Progress] = []
    with HttpVendor(taking) as vendor:
        result = upload(numbered(100), vendor, id_kind="thirdPartyId", max_rows=30, on_progress=progress.append)
        assert [part.rows for part in result.parts] == [30, 30, 30, 10]
        assert [row["thirdPartyId"] for one in vendor.requests for row in parsed(one.body)] == [
            f"c{number}" for number in range(100)
        ]
        small = upload(numbered(100), vendor, id_kind="thirdPartyId", max_bytes=1000)
    sizes = [len(one.body) for one in vendor.requests[4:]]
    assert sizes == [part.bytes for part in small.parts]
    assert max(sizes) < 1000
    assert sum(part.rows for part in small.parts) == 100
    assert [(one.step, one.part, one.rows) for one in progress] == [
        ("sent", 1, 30),
        ("sent", 2, 60),
        ("sent", 3, 90),
        ("sent", 4, 100),
    ]


def test_repeats_over_parts() -> None:
    """An id that comes again in a later part is held back where it would override the earlier one, and only there."""
    rows = [*numbered(4), {"thirdPartyId": "c0", "c": "late"}, {"thirdPartyId": "c3", "b": 33}]
    with HttpVendor(taking) as vendor:
        held = upload(rows, vendor, id_kind="thirdPartyId", max_rows=2)
        sent = upload(rows, vendor, id_kind="thirdPartyId", max_rows=2, version=1)
        told = upload(rows, vendor, id_kind="thirdPartyId", max_rows=2, send_repeats=True)
    assert [(one.row, one.reason) for one in held.tally.rejected] == [
        (5, "has an id that is in part 1 already, which it would override"),
        (6, "has an id that is in part 2 already, which it would override"),
    ]
    assert (sent.rows, told.rows, sent.tally.rejected_count) == (6, 6, 0)


@given(st.lists(st.integers(0, 2000), max_size=400))
def test_ids_are_remembered(numbers: list[int]) -> None:
    """The table of ids answers as a dictionary would, over its growth too."""
    seen, model = SeenIds(), dict[str, int]()
    for at, number in enumerate(numbers):
        key, part = f"id-{number}", 1 + at // 50
        assert seen.add(key, part) == model.get(key, 0)
        model.setdefault(key, part)
    for number in range(60_000 if len(numbers) == 400 else 0):
        seen.add(f"more-{number}", 9)
    assert all(seen.add(key, 99) == part for key, part in model.items())


def test_status_is_followed() -> None:
    """Each part is asked about until it is done, in growing pauses; a foreign address is told, not asked."""
    clock = Clock()
    states: Iterator[str] = iter(["incomplete", "incomplete", "complete"])

    def handle(request: Request) -> Answer:
        if request.method == "GET":
            return Answer(200, f"<response><batchId>b</batchId><status>{next(states)}</status></response>".encode())
        foreign = b"c0" not in request.body
        return accepted("http://evil.example/x" if foreign else f"http://{request.headers['host']}/m2/acme/s?batchId=b")

    with HttpVendor(handle) as vendor, client(vendor.url, clock) as admin:
        result = admin.profiles.bulk_update(numbered(4), id_kind="thirdPartyId", max_rows=2, wait_s=600)
    first, second = result.parts
    assert first.status is not None
    assert (first.status.state, first.trouble) == ("complete", None)
    assert second.status is None
    assert second.trouble is not None
    assert "evil.example" in second.trouble
    assert clock.slept == [10.0, 15.0]
    assert all(request.headers["host"] in vendor.url for request in vendor.requests)


def test_following_ends() -> None:
    """Following stops when the time is up; the upload itself is done."""
    clock = Clock()

    def handle(request: Request) -> Answer:
        if request.method == "GET":
            return Answer(200, b"<response><status>incomplete</status></response>")
        return accepted(f"http://{request.headers['host']}/s")

    with HttpVendor(handle) as vendor, client(vendor.url, clock) as admin:
        result = admin.profiles.bulk_update(numbered(1), id_kind="thirdPartyId", wait_s=30)
    assert result.parts[0].status is not None
    assert not result.parts[0].status.done
    assert clock.slept == [10.0, 15.0, 5.0]


def test_resuming_after_a_failure(tmp_path: Path) -> None:
    """Parts that the vendor took are not sent again; one that it surely did not take is, without a mark."""
    folder = tmp_path / "journal"
    replies = iter([accepted(), Answer(404, b"no"), accepted(), accepted()])
    with HttpVendor(lambda _: next(replies)) as vendor:
        options = {"id_kind": "thirdPartyId", "max_rows": 2, "journal": folder}
        with pytest.raises(Exception, match="nothing at"):
            upload(numbered(6), vendor, **options)
        result = upload(numbered(6), vendor, **options)
        bodies = [request.body for request in vendor.requests]
    assert [(part.earlier, part.maybe_twice) for part in result.parts] == [
        (True, False),
        (False, False),
        (False, False),
    ]
    assert bodies[1] == bodies[2]
    assert len({*bodies}) == 3
    assert not list(folder.glob("part-*"))


def test_resuming_after_an_ambiguous_failure(tmp_path: Path) -> None:
    """A part that may have been taken is sent again and marked."""
    folder = tmp_path / "journal"
    replies = iter([Answer(502, b""), accepted(), accepted()])
    with HttpVendor(lambda _: next(replies)) as vendor:
        options = {"id_kind": "thirdPartyId", "max_rows": 2, "journal": folder}
        with pytest.raises(AmbiguousError):
            upload(numbered(4), vendor, **options)
        result = upload(numbered(4), vendor, **options)
        again = upload(numbered(4), vendor, **options)
    assert [(part.earlier, part.maybe_twice) for part in result.parts] == [(False, True), (False, False)]
    assert [(part.earlier, part.maybe_twice) for part in again.parts] == [(True, True), (True, False)]
    assert len(vendor.requests) == 3


def test_a_journal_of_something_else(tmp_path: Path) -> None:
    """Another source, other options or another process at the same folder end the run before anything is sent."""
    folder = tmp_path / "journal"
    options = {"id_kind": "thirdPartyId", "max_rows": 2, "journal": folder}
    with HttpVendor(taking) as vendor:
        upload(numbered(4), vendor, **options)
        changed = [*numbered(2), {"thirdPartyId": "c9", "a": "new"}]
        with pytest.raises(ConflictError, match="source has changed"):
            upload(changed, vendor, **options)
        with pytest.raises(InvalidError, match="other options"):
            upload(numbered(4), vendor, **{**options, "max_rows": 3})

        def interfering() -> Iterator[dict[str, Any]]:
            yield from numbered(1)
            with pytest.raises(ConflictError, match="another process"):
                upload(numbered(4), vendor, **options)
            yield from numbered(4)[1:]

        upload(interfering(), vendor, **options)
        # Half of a line that a kill left is not taken for anything.
        with (folder / "journal.jsonl").open("ab") as journal:
            journal.write(b'{"part": 3, "dig')
        assert len(upload(numbered(4), vendor, **options).parts) == 2
    assert len(vendor.requests) == 2


async def test_bulk_update_asynchronously(tmp_path: Path) -> None:
    """The asynchronous client does the same; the source is read in another thread."""
    with HttpVendor(taking) as vendor:
        async with async_client(vendor.url) as admin:
            result = await admin.profiles.bulk_update(
                numbered(5), id_kind="thirdPartyId", max_rows=2, journal=tmp_path / "j"
            )
            planned = await admin.profiles.bulk_update.request(numbered(5), id_kind="thirdPartyId")
    assert [part.rows for part in result.parts] == [2, 2, 1]
    assert [len(parsed(request.body)) for request in vendor.requests] == [2, 2, 1]
    assert parsed(planned.body) == [{name: str(value) for name, value in row.items()} for row in numbered(5)]


def test_an_upload_that_is_refused() -> None:
    """`success=false` and failures of the vendor end the run with the part's number or the vendor's words."""
    refusal = Answer(200, b"<response><success>false</success><message>too many rows</message></response>")
    with HttpVendor(lambda _: refusal) as vendor, pytest.raises(InvalidError, match="part 1: too many rows"):
        upload(numbered(1), vendor, id_kind="thirdPartyId")
    with HttpVendor(lambda _: Answer(200, b"<html>")) as vendor, pytest.raises(AmbiguousError, match="part 1"):
        upload(numbered(1), vendor, id_kind="thirdPartyId")
