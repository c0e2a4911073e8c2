"""Session Stream with names: what the article's demo script means to do, and its faults."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flagmw.admin import InvalidError
from flagmw.admin.monetate.sessions.counting import OTHERS, SessionCounter, SessionReport, count_sessions
from flagmw.admin.monetate.sessions.names import Names
from flagmw.admin.monetate.sessions.output import RowWriter, format_of, report_rows, write_report
from flagmw.admin.monetate.sessions.plot import bars, save_png, top
from flagmw.admin.monetate.sessions.reading import BLOCK, MAX_LINE
from flagmw.admin.monetate.sessions.rows import readable

VARIANTS = [
    {"id": 901, "experience_id": 1, "experience_name": "Hero", "split_name": "A", "split_description": "New"},
    {"id": 902, "experience_id": 1, "experience_name": "Hero", "split_name": "B", "split_description": ""},
    {"id": 903, "experience_id": 2, "experience_name": "Layout $5", "experience_type": "Dynamic Testing"},
]
SESSIONS: list[dict[str, Any]] = [
    {
        "city": "Paris",
        "offers": ["1-A", "2-x"],
        "page_event_ids": {"133": 1767225660000, "132": 1767225600000},
        "custom_targets": {"7": "sunny"},
    },
    {"city": "London", "offers": ["1-902"], "page_event_ids": {"132": 1767225600}, "custom_targets": {}},
    {"city": "Paris", "offer_ids": ["1-A", "1-B", "77-A"], "page_event_ids": {"999": 1}, "custom_targets": {"8": 1}},
]


def names() -> Names:
    made = Names()
    made.add_variants(VARIANTS)
    made.add_page_events([{"id": 132, "title": "Added to cart"}, {"id": 133, "title": "Signed up"}])
    made.add_targets([{"id": 7, "title": "Weather"}])
    return made


def as_lines(sessions: list[Any]) -> bytes:
    return b"".join(json.dumps(one).encode() + b"\n" for one in sessions)


def counted(content: bytes, **more: Any) -> SessionReport:
    return count_sessions([io.BytesIO(content)], names(), **more)


def test_fault_1_the_file_is_read(tmp_path: Path) -> None:
    """The script never reads its file; the first line of ours is the first session."""
    (tmp_path / "one_hour.json").write_bytes(as_lines(SESSIONS))
    assert count_sessions([tmp_path / "one_hour.json"], names()).sessions == 3


def test_fault_3_every_session_is_reported() -> None:
    """The script prints the last session alone; rows have each, with its city and page events in order of time."""
    rows: list[dict[str, Any]] = []
    counted(as_lines(SESSIONS), on_session=lambda session: rows.append(readable(session, names())))
    assert [row["city"] for row in rows] == ["Paris", "London", "Paris"]
    assert [event["title"] for event in rows[0]["page_events"]] == ["Added to cart", "Signed up"]
    assert rows[0]["targets"] == [{"id": "7", "title": "Weather", "value": "sunny"}]
    assert rows[2]["page_events"] == [{"id": "999", "title": None, "time": 1}]
    assert [(one["name"], one["variant"]) for one in rows[0]["experiences"]] == [("Hero", "A New"), ("Layout $5", None)]


def test_fault_3_a_number_where_a_number_is_meant() -> None:
    """What nothing matches is listed by id; the counts are numbers."""
    report = counted(as_lines(SESSIONS))
    assert report.unmatched == {"experiences": ["77"], "page_events": ["999"], "targets": ["8"]}
    assert [one.sessions for one in report.page_events] == [2, 1, 1]


def test_fault_5_experiences_are_found_by_their_own_id() -> None:
    """The script looks a text up among numbers, and among the ids of variants."""
    found = {one.id: one.name for one in counted(as_lines(SESSIONS)).experiences}
    assert found == {"1": "Hero", "2": "Layout $5", "77": None}


def test_fault_5_the_variant_is_matched_by_letter_or_id() -> None:
    """Else it is shown as it was received."""
    hero = counted(as_lines(SESSIONS)).experiences[0]
    shown = {one.part: (one.name, one.sessions) for one in hero.variants}
    assert shown == {"A": ("A New", 2), "902": ("B", 1), "B": ("B", 1)}
    layout = next(one for one in counted(as_lines(SESSIONS)).experiences if one.id == "2")
    assert [(one.part, one.name) for one in layout.variants] == [("x", None)]


def test_fault_6_the_counter_is_filled_under_both_names() -> None:
    """`offers` in the script, `offer_ids` in its comment; a session counts once for an experience."""
    report = counted(as_lines(SESSIONS))
    assert [(one.name, one.sessions) for one in report.experiences] == [("Hero", 3), ("Layout $5", 1), (None, 1)]


def test_fault_7_targets_are_targets() -> None:
    """The script reads them from the answer with the page events."""
    targets = counted(as_lines(SESSIONS)).targets
    assert [(one.id, one.name) for one in targets] == [("7", "Weather"), ("8", None)]


def test_sessions_by_a_column() -> None:
    """By city, by a column that is missing, by one with lists, numbers and booleans."""
    assert counted(as_lines(SESSIONS), by="city").by == (("Paris", 2), ("London", 1))
    assert counted(as_lines(SESSIONS), by="nothing").by == (("(none)", 3),)
    mixed = [{"x": 1}, {"x": "1"}, {"x": True}, {"x": [1]}, {"x": {"a": 1}}, {"x": None}, {"x": "y" * 900}]
    found = dict(counted(as_lines(mixed), by="x").by)
    assert sum(found.values()) == 7 and found["[1]"] == 1 and found["y" * 200] == 1


def test_plain_gzip_and_several_files(tmp_path: Path) -> None:
    """By what a file begins with, whatever its name; members of gzip one after the other; standard input."""
    plain = as_lines(SESSIONS)
    packed = gzip.compress(plain) + gzip.compress(plain)
    (tmp_path / "a.json").write_bytes(packed)
    (tmp_path / "b.json.gz").write_bytes(plain)
    told: list[int] = []
    report = count_sessions(
        [tmp_path / "a.json", str(tmp_path / "b.json.gz"), io.BytesIO(packed)], names(), on_bytes=told.append
    )
    assert (report.sessions, report.broken) == (15, 0)
    assert sum(told) == 2 * len(packed) + len(plain)
    with pytest.raises(InvalidError, match="cannot be read"):
        count_sessions([tmp_path / "none.json"], names())


def test_broken_lines_are_reported() -> None:
    """Each with its number; the others count. A last line that is cut is no reason to fail."""
    content = (
        as_lines(SESSIONS[:1]) + b'{"city": \n[1]\n"x"\n\n  \n\xff\xfe{}\n' + as_lines(SESSIONS[:1]) + b'{"city": "Par'
    )
    report = counted(content)
    assert report.sessions == 2
    assert [(one.line, one.reason) for one in report.problems] == [
        (2, "is no JSON, or is cut off"),
        (3, "is no JSON object"),
        (4, "is no JSON object"),
        (7, "is not UTF-8"),
        (9, "is no JSON, or is cut off"),
    ]
    assert counted(as_lines(SESSIONS).rstrip()).sessions == 3
    assert counted(as_lines(SESSIONS).replace(b"\n", b"\r\n")).sessions == 3
    assert counted(b"").sessions == counted(b"\n\n").sessions == 0


@pytest.mark.parametrize(("encoding", "says"), [("utf-16", "UTF-16"), ("utf-16-be", ""), ("utf-32", "UTF-32")])
def test_other_encodings(encoding: str, says: str) -> None:
    """Named where the file says which one it is; a byte order mark of UTF-8 is nothing."""
    report = counted(as_lines(SESSIONS).decode().encode(encoding))
    assert report.sessions == 0 and report.broken >= 1
    assert says in report.problems[0].reason
    assert counted(b"\xef\xbb\xbf" + as_lines(SESSIONS)).sessions == 3


def test_a_gzip_file_that_breaks_off(tmp_path: Path) -> None:
    """What came before its end counts."""
    many = as_lines([{"city": f"city {number}", "offers": [f"{number}-A"]} for number in range(5_000)])
    packed = gzip.compress(many)
    for cut in (packed[: len(packed) // 2], packed[:-4], packed[:1000] + b"x" * 100 + packed[1100:]):
        report = counted(cut)
        assert report.broken >= 1
        assert "damaged" in " ".join(one.reason for one in report.problems)
    assert counted(packed[:-4]).sessions == 5_000
    assert counted(packed + bytes(512)).broken == 0


class Endless:
    """A stream of *size* bytes in one line, then a session."""

    def __init__(self, size: int) -> None:
        self.left, self.tail = size, b"\n" + as_lines(SESSIONS[:1])

    def read(self, size: int = -1) -> bytes:
        if self.left > 0:
            count = min(size, self.left)
            self.left -= count
            return b"x" * count
        tail, self.tail = self.tail, b""
        return tail


# A gigabyte takes seconds and comes to the same: FLAGMW_LONG_LINE=1000000000.
LONG_LINE = int(os.environ.get("FLAGMW_LONG_LINE", "100000000"))


def test_a_line_of_a_gigabyte() -> None:
    """It is skipped and reported, in bounded memory; what follows is read."""
    tracemalloc.start()
    report = count_sessions([Endless(LONG_LINE)], names())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert report.sessions == 1 and report.broken == 1
    assert "longer than 16 MiB" in report.problems[0].reason and report.problems[0].line == 1
    assert peak < 4 * MAX_LINE


def test_values_without_an_end() -> None:
    """As many different values as sessions: what comes beyond the bound is counted together."""
    many = b"".join(b'{"id": "v%d", "offers": ["%d-A"]}\n' % (n, n) for n in range(1050))
    counter = SessionCounter(by="id", most=1000)
    counter.read(io.BytesIO(many))
    report = counter.report(names())
    assert len(report.by) == 1001 and dict(report.by)[OTHERS] == 50
    assert sum(one.sessions for one in report.experiences) == sum(count for _, count in report.by) == 1050


def test_ids_that_are_none() -> None:
    """Left out and counted; nothing fails."""
    odd: list[dict[str, Any]] = [
        {"offers": ["x-A", None, 5, [], "1-A", "", "-A", "1" * 30]},
        {"offers": "1-A", "page_event_ids": {"x": 1, "132": 2, "": 3}, "custom_targets": 5},
        {"offers": 7, "page_event_ids": ["132", 133, "132"], "custom_targets": {"²": 1}},
        {"offers": {"1-A": 1}},
        {"offers": [], "page_event_ids": None},
    ]
    report = counted(as_lines(odd))
    assert report.sessions == 5 and report.broken == 0 and report.odd >= 13
    assert [(one.id, one.sessions) for one in report.page_events] == [("132", 2), ("133", 1)]
    for session in odd:
        assert readable(session, names())["city"] is None


IDS = st.one_of(st.integers(0, 5).map(str), st.text(max_size=3))
OFFERS = st.lists(st.tuples(st.integers(0, 4), st.sampled_from("AB")).map(lambda one: f"{one[0]}-{one[1]}"), max_size=5)
SESSION = st.fixed_dictionaries(
    {}, optional={"city": st.text(max_size=2), "offers": OFFERS, "page_event_ids": st.dictionaries(IDS, st.integers())}
)


@settings(max_examples=100, deadline=None)
@given(st.lists(SESSION, max_size=30))
def test_counts_are_those_of_a_plain_program(sessions: list[dict[str, Any]]) -> None:
    """Whatever the sessions: as many as three simple loops count."""
    report = counted(as_lines(sessions), by="city")
    shown = Counter(own for one in sessions for own in {offer.split("-")[0] for offer in one.get("offers", [])})
    events = Counter(
        own for one in sessions for own in one.get("page_event_ids", {}) if own.isascii() and own.isdigit()
    )
    assert {one.id: one.sessions for one in report.experiences} == shown
    assert {one.id: one.sessions for one in report.page_events} == events
    assert dict(report.by) == Counter(one.get("city", "(none)") for one in sessions)


def test_lines_over_the_borders_of_blocks() -> None:
    """Sessions of every length come out whole."""
    many = [{"city": "x" * (number * 37 % 5000), "offers": ["1-A"]} for number in range(400)]
    assert len(as_lines(many)) > 4 * BLOCK
    report = counted(as_lines(many))
    assert report.sessions == 400 and report.broken == 0


def test_reports_as_files(tmp_path: Path) -> None:
    """JSON, CSV and Parquet say the same."""
    report = counted(as_lines(SESSIONS), by="city")
    rows = list(report_rows(report))
    assert rows[0] == {
        "kind": "experience", "id": "1", "name": "Hero", "variant_id": None, "variant": None, "sessions": 3
    }  # fmt: skip
    for name in ("a.json", "a.csv", "a.parquet"):
        write_report(report, tmp_path / name)
    assert json.loads((tmp_path / "a.json").read_bytes())["experiences"][0]["name"] == "Hero"
    with (tmp_path / "a.csv").open(newline="") as file:
        assert [row["name"] for row in csv.DictReader(file)] == [row["name"] or "" for row in rows]
    assert pyarrow.parquet.read_table(tmp_path / "a.parquet").to_pylist() == rows
    with pytest.raises(InvalidError, match=r"\.parquet"):
        format_of("a.xlsx")


def test_rows_as_files(tmp_path: Path) -> None:
    """Lines of JSON, CSV and Parquet; a text that a spreadsheet would take for a formula is marked."""
    session = {**SESSIONS[0], "city": "=1+1", "device": {"os": "x"}}
    for kind, name in (("json", "a.jsonl"), ("csv", "a.csv"), ("parquet", "a.parquet")):
        with RowWriter(tmp_path / name, kind, ["device"]) as writer:  # type: ignore[arg-type]
            for one in (session, SESSIONS[1], {}):
                writer.write(readable(one, names(), ["device"]))
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_bytes().splitlines()]
    assert [one["city"] for one in lines] == ["=1+1", "London", None]
    with (tmp_path / "a.csv").open(newline="") as file:
        first = next(csv.DictReader(file))
    assert first["city"] == "'=1+1" and json.loads(first["page_events"])[0]["title"] == "Added to cart"
    table = pyarrow.parquet.read_table(tmp_path / "a.parquet").to_pylist()
    assert table[0]["device"] == '{"os":"x"}' and table[0]["targets"][0]["value"] == "sunny" and len(table) == 3
    with pytest.raises(InvalidError, match="file"):
        RowWriter(io.BytesIO(), "parquet")


def test_plots(tmp_path: Path) -> None:
    """The ten with the most sessions, as a picture and as text of the asked width."""
    many = [{"offers": [f"{own}-A" for own in range(1, 13) if number % own == 0]} for number in range(60)]
    report = counted(as_lines(many))
    assert len(top(report)) == 10 and top(report)[0] == ("Hero", 60)
    lines = bars(report, 40)
    assert len(lines) == 10 and max(map(len, lines)) <= 40 and lines[0].endswith(" 60")
    assert "#" in bars(report, 40, bar="#")[0] and bars(counted(b"")) == []
    save_png(report, tmp_path / "top.png")
    assert (tmp_path / "top.png").read_bytes().startswith(b"\x89PNG")


def test_names_are_kept_in_a_file(tmp_path: Path) -> None:
    """What is saved is read back; another file is refused."""
    made = names()
    made.add_experiences(
        [
            {
                "id": 3,
                "experience_name": "Old",
                "variant_splits": [{"id": 7, "variant": "A", "label": "A"}, {"variant": "Control"}],
            }
        ]
    )
    made.save(tmp_path / "names.json")
    assert Names.load(tmp_path / "names.json") == made
    assert (made.variant(3, "7"), made.variant(3, "control"), made.variant(9, "A")) == ("A", "Control", None)
    for text in (b"{}", b"[", b"[]", b'{"flagmw_names": 1, "types": {"x": "y"}}'):
        (tmp_path / "other.json").write_bytes(text)
        with pytest.raises(InvalidError, match="holds no names"):
            Names.load(tmp_path / "other.json")
    with pytest.raises(InvalidError, match="cannot be read"):
        Names.load(tmp_path / "none.json")
