"""Files to and from Monetate over SFTP, with a real server on loopback."""

from __future__ import annotations

import gzip
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from flagmw.admin import AdminError, AmbiguousError, AuthError, InvalidError, NotFoundError, UnreachableError
from flagmw.admin.monetate.sftp.connection import MonetateSFTP
from flagmw.admin.monetate.sftp.dataset_files import check_file, remote_name
from flagmw.admin.monetate.sftp.stream_files import days_between, stream_file, time_range
from flagmw.exceptions import ConfigError
from tests.support.sftp_server import PASSWORD, SftpServer

CSV = b'customer_id,name\nc1,"Doe, Jane"\nc2,Max\n'


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SftpServer]:
    folder = tmp_path / "server"
    for mode in ("full", "partial"):
        (folder / "datasets" / mode).mkdir(parents=True)
    with SftpServer(folder, tmp_path) as running:
        yield running


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "my customers.csv"
    path.write_bytes(CSV)
    return path


@pytest.mark.parametrize("mode", ["full", "partial"])
def test_an_upload(server: SftpServer, file: Path, tmp_path: Path, mode: Any) -> None:
    """The file is checked and stands where Monetate takes it, whole from the first moment."""
    checked = check_file(file, 1001, identifier="customer_id")
    told: list[tuple[int, int]] = []
    path = server.client().upload(checked, mode, on_bytes=lambda *one: told.append(one))
    assert path == f"/datasets/{mode}/1001-my-customers.csv"
    assert (tmp_path / "server" / path.lstrip("/")).read_bytes() == CSV
    assert told[-1] == (len(CSV), len(CSV)) and len(server.names) == 1
    assert (checked.rows, checked.bytes, checked.columns) == (2, len(CSV), ("customer_id", "name"))


async def test_from_asynchronous_code(server: SftpServer, file: Path) -> None:
    """It works where an event loop is running."""
    assert server.client().upload(check_file(file, 1), "full").endswith("/1-my-customers.csv")


def test_nothing_half_written(server: SftpServer, tmp_path: Path) -> None:
    """A connection that breaks in the middle leaves nothing under the file's own name."""
    path = tmp_path / "large.csv"
    path.write_bytes(b"id,text\n" + b"".join(b"%d,%s\n" % (number, b"x" * 100) for number in range(20_000)))
    server.broken_after = 500_000
    with pytest.raises(UnreachableError, match="nothing was changed"):
        server.client().upload(check_file(path, 7), "full")
    assert [one.name for one in (tmp_path / "server" / "datasets" / "full").iterdir() if one.suffix == ".csv"] == []
    server.broken_after = None
    assert server.client().upload(check_file(path, 7), "full")
    assert server.names == ["/datasets/full/7-large.csv"]


def test_an_earlier_file_that_is_still_there(server: SftpServer, file: Path, tmp_path: Path) -> None:
    """It is not overwritten while Monetate may be reading it."""
    checked = check_file(file, 1)
    server.client().upload(checked, "full")
    with pytest.raises(AmbiguousError, match="wait until it is gone"):
        server.client().upload(checked, "full")
    assert len(list((tmp_path / "server" / "datasets" / "full").iterdir())) == 1


def test_who_may_not(server: SftpServer, file: Path, tmp_path: Path) -> None:
    """A wrong password, a host of another key, no known hosts, nobody there: each with what to do."""
    checked = check_file(file, 1)
    with pytest.raises(AuthError, match="check name and password") as refused:
        server.client(password="wrong").upload(checked, "full")
    assert PASSWORD not in str(refused.value)
    other = tmp_path / "other_hosts"
    other.write_text("elsewhere ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ8Jf0dGxWFzbKJ9pEYZCQ7mxFV3LI2BxUbzTv0f0fZJ\n")
    with pytest.raises(AuthError, match="ssh-keyscan"):
        server.client(known_hosts=other).upload(checked, "full")
    with pytest.raises(ConfigError, match="ssh-keyscan"):
        server.client(known_hosts=tmp_path / "none").upload(checked, "full")
    for options in ({}, {"password": "x", "private_key": "y"}):
        with pytest.raises(ConfigError, match="password or a private_key"):
            MonetateSFTP("someone", **options)
    with pytest.raises(ConfigError, match="no private key"):
        server.client(password=None, private_key=file).upload(checked, "full")
    with pytest.raises(ConfigError, match="cannot be read"):
        server.client(password=None, private_key=tmp_path / "none").upload(checked, "full")
    with pytest.raises(UnreachableError):
        server.client(port=1, known_hosts=server.known_hosts).upload(checked, "full")
    assert PASSWORD not in repr(server.client())
    with pytest.raises(InvalidError, match="full"):
        server.client().upload(checked, "both")  # type: ignore[arg-type]


WRONG: list[tuple[bytes, dict[str, Any], str]] = [
    (b"", {}, "is empty"),
    (b"customer_id,name\n", {}, "no rows"),
    (b"customer_id,\n1,2\n", {}, "without a name"),
    (b"a,a\n1,2\n", {}, '"a" twice'),
    (",".join(f"c{n}" for n in range(31)).encode() + b"\n", {}, "31 columns"),
    (b"customer_id,name\nc1,Doe, Jane\n", {}, "3 values for 2 columns"),
    (b"customer_id,name\nc1\n", {}, "1 values for 2 columns"),
    (b"customer_id,name\nc1,a\nc1,b\n", {}, "the same"),
    (b"customer_id,name\n ,a\n", {}, 'row 1 has no "customer_id"'),
    (b"customer_id,name\nc1,\xff\n", {}, "not UTF-8"),
    (b'customer_id,name\nc1,"open\n', {}, "no CSV"),
    (b"name,age\nc1,1\n", {"identifier": "customer_id"}, "no column"),
    (b"customer_id,age\nc1,1\n", {"fields": ["customer_id", "name"]}, "schemas.add_fields"),
    (b"customer_id,name\nc1," + b"x" * (1 << 20) + b"\n", {}, "longer than"),
]


@pytest.mark.parametrize(("content", "options", "says"), WRONG, ids=[one[2] for one in WRONG])
def test_files_that_monetate_would_refuse(tmp_path: Path, content: bytes, options: Any, says: str) -> None:
    """Each with the line, before anything is sent."""
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(InvalidError, match=says):
        check_file(path, 1, **options)


def test_packed_files(tmp_path: Path) -> None:
    """Gzip, zip with one file, tabs; damage is named."""
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(CSV))
    (tmp_path / "b.tsv").write_bytes(b"\xef\xbb\xbfcustomer_id\tname\nc1\tDoe, Jane\n")
    for count in (1, 2):
        with zipfile.ZipFile(tmp_path / f"{count}.csv.zip", "w") as archive:
            for number in range(count):
                archive.writestr(f"{number}.csv", CSV)
    assert check_file(tmp_path / "a.csv.gz", 5).name == "5-a.csv.gz"
    assert check_file(tmp_path / "b.tsv", 5).columns == ("customer_id", "name")
    assert check_file(tmp_path / "1.csv.zip", 5).rows == 2
    with pytest.raises(InvalidError, match="holds 2 files"):
        check_file(tmp_path / "2.csv.zip", 5)
    (tmp_path / "c.csv.gz").write_bytes(gzip.compress(CSV * 1)[:-6])
    (tmp_path / "d.csv.zip").write_bytes(b"PK")
    for name in ("c.csv.gz", "d.csv.zip", "none.csv"):
        with pytest.raises(InvalidError, match=r"damaged|cannot be read"):
            check_file(tmp_path / name, 5)


def test_names_at_monetate() -> None:
    """The dataset's id stands in front, once; ends that Monetate does not take are refused."""
    assert remote_name(Path("/x/Käufer 1.csv"), 12) == "12-K-ufer-1.csv"
    assert remote_name(Path("12-a.csv"), 12) == "12-a.csv"
    for name in ("a.gzip", "a.xlsx", "a", ".csv"):
        with pytest.raises(InvalidError, match=r"\.csv or \.tsv"):
            remote_name(Path(name), 12)
    for own in (0, -1, True, "12"):
        with pytest.raises(InvalidError, match="dataset_id"):
            remote_name(Path("a.csv"), own)  # type: ignore[arg-type]


def put(folder: Path, name: str, content: bytes) -> None:
    place = folder / "server" / "a-1" / "raw_data" / "session_stream" / name[:4] / name[4:6] / name[6:8]
    place.mkdir(parents=True, exist_ok=True)
    (place / name).write_bytes(content)


def test_session_stream_files(server: SftpServer, tmp_path: Path) -> None:
    """Those of the range, over the border of a day, each once; a second run fetches nothing."""
    names = [
        "20170430T234500.000Z_PT15M-1.json.gz",
        "20170501T000000.000Z_PT15M-2.json.gz",
        "20170501T000000.000Z_PT15M-1477542463784.json.gz",
        "20170501T001500.000Z_PT15M-3.json.gz",
    ]
    for name in [*names, "20170501T000000.000Z_PT15M-2.json.gz.part", "README"]:
        if name != "README":
            put(tmp_path, name, gzip.compress(name.encode()))
    begin, end = time_range("2017-05-01T01:45+02:00..2017-05-01T00:15")
    told: list[str] = []
    target = tmp_path / "fetched"
    found = server.client().fetch("a-1", begin, end, target, on_file=lambda one: told.append(one.name))
    assert [one.name for one in found.files] == [names[0], names[2], names[1]] == told
    assert gzip.decompress(found.files[0].read_bytes()) == names[0].encode()
    again = server.client().fetch("a-1", begin, end, target)
    assert (again.files, again.bytes) == (found.files, 0)
    assert sorted(one.name for one in target.iterdir()) == sorted(told)
    with pytest.raises(NotFoundError, match="there are no files"):
        server.client().fetch("a-2", begin, end, target)
    for account in ("", "..", "a/b"):
        with pytest.raises(InvalidError, match="account"):
            server.client().fetch(account, begin, end, target)


def test_ranges_and_names() -> None:
    """Dates include their day; what is no range is refused."""
    day = datetime(2026, 1, 30, tzinfo=UTC)
    assert time_range("2026-01-30..2026-01-31") == (day, day.replace(month=2, day=1))
    assert time_range("2026-01-30T10:00..2026-01-30T10:15")[1].minute == 15
    for text in ("2026-01-30", "x..y", "2026-01-31..2026-01-29", "..", "2026-01-30T10:00..2026-01-30T10:00"):
        with pytest.raises(InvalidError, match="fetch"):
            time_range(text)
    assert stream_file("20171301T000000.000Z_PT15M-1.json") is None
    assert stream_file("../20170501T034500.000Z_PT15M-1.json") is None
    assert [f"{one:%d}" for one in days_between(day, day.replace(day=31))] == ["30", "31"]


def test_errors_are_of_the_clients_kind(server: SftpServer, file: Path, tmp_path: Path) -> None:
    """A folder that is missing at Monetate."""
    (tmp_path / "server" / "datasets" / "full").rmdir()
    with pytest.raises(AdminError) as failed:
        server.client().upload(check_file(file, 1), "full")
    assert isinstance(failed.value, NotFoundError)


def test_a_folder_that_cannot_be_written(server: SftpServer, tmp_path: Path) -> None:
    """A problem of this machine is not taken for one of the network."""
    name = "20170501T000000.000Z_PT15M-1.json.gz"
    put(tmp_path, name, b"x")
    target = tmp_path / "fetched"
    target.mkdir()
    (target / f"{name}.part").symlink_to(tmp_path / "missing" / "file")
    begin, end = time_range("2017-05-01..2017-05-01")
    with pytest.raises(InvalidError, match="cannot be used"):
        server.client().fetch("a-1", begin, end, target)
    with pytest.raises(InvalidError, match="cannot be made"):
        server.client().fetch("a-1", begin, end, server.known_hosts)
