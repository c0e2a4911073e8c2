"""The commands of `flagmw adobe` on the sandbox: what they do is there afterwards."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import pty
from pathlib import Path
from typing import Any

import pytest

from flagmw.admin import SharedLimiter
from flagmw.admin.flow.blocking import BlockingDriver
from flagmw.sandbox import SandboxServer
from tests.cli.admin.conftest import Done, Typed
from tests.cli.admin.samples import AB, AP, AUDIENCE, JSON_OFFER, OFFER, PROPERTY, RULE, SAMPLES, XT
from tests.cli.admin.test_shared import credentials
from tests.contracts.outbox.on_valkey import address
from tests.sandbox.adobe_admin.boxed import MBOX, activity
from tests.sandbox.adobe_admin.test_operations import visit


def made(adobe: Typed, *words: Any, stdin: str = AB) -> dict[str, Any]:
    """Run a command that must succeed and return what it prints."""
    done = adobe("adobe", *words, "--json", stdin=stdin)
    assert (done.code, done.err) == (0, ""), done.err
    document: dict[str, Any] = done.json
    return document


def test_activity_from_beginning_to_end(adobe: Typed) -> None:
    """Created, found by each filter, changed field by field, its changes listed, deleted."""
    own = made(adobe, "activities", "create", "-")["id"]
    assert made(adobe, "activities", "get", own)["name"] == "Offer test"
    assert made(adobe, "activities", "name", own, "Renamed")["name"] == "Renamed"
    assert made(adobe, "activities", "state", own, "approved")["state"] == "approved"
    assert made(adobe, "activities", "priority", own, 7)["priority"] == 7
    dates = ("2026-01-01", "2036-06-30T08:00:00+02:00")
    assert made(adobe, "activities", "schedule", own, *dates)["endsAt"] == dates[1]
    filters = ("--id", own, "--name", "Renamed", "--type", "ab", "--state", "approved", "--state", "saved")
    more = ("--priority", "!8", "--starts-at", "2025-01-01/2026-12-31", "--ends-at", "2036-01-01/2037-01-01")
    assert [row["id"] for row in made(adobe, "activities", "list", *filters, *more)] == [own]
    assert made(adobe, "activities", "list", "--name", "!Renamed", "--id", own) == []
    by_time = ("--modified-at", "2020-01-01/2100-01-01", "--filter", "name=Renamed", "--sort-by", "-id")
    assert [row["id"] for row in made(adobe, "activities", "list", *by_time)] == [own]
    changed = made(adobe, "activities", "update", own, "-", stdin=json.dumps(activity(name="Replaced")))
    assert (changed["id"], changed["name"]) == (own, "Replaced")
    changes = made(adobe, "activities", "changelog", own, "--limit", 20)
    assert {name for one in changes for name in one["activityParameters"]} >= {"activityName", "state", "priority"}
    table = adobe("adobe", "activities", "changelog", own)
    assert table.code == 0 and "activityName" in table.out
    assert made(adobe, "activities", "activate", own)["state"] == "approved"
    assert made(adobe, "activities", "pause", own)["state"] == "saved"
    assert made(adobe, "activities", "delete", own, "--yes")["state"] == "deleted"
    assert adobe("adobe", "activities", "get", own).code == 3


@pytest.mark.parametrize("kind", ["ab", "xt", "auto-allocate", "ap"])
def test_activities_of_every_kind(adobe: Typed, kind: str) -> None:
    """Each kind is created, read, replaced, linked and deleted by --kind."""
    body = {"ap": AP, "xt": XT}.get(kind, AB)
    option = ("--kind", kind)
    another = adobe("adobe", "activities", "get", 999_999, *option)
    assert another.code == 3 and "add --kind" in another.err
    own = made(adobe, "activities", "create", "-", *option, stdin=body)["id"]
    assert made(adobe, "activities", "get", own, *option)["id"] == own
    assert made(adobe, "activities", "update", own, "-", *option, stdin=body)["id"] == own
    links = made(adobe, "activities", "qa-links", own, "https://shop.example/", *option)
    assert len(links["qaModeExperiences"]) == (0 if kind == "ap" else 1)
    assert made(adobe, "activities", "delete", own, *option, "--yes")["state"] == "deleted"


def test_split_experience_and_copy(adobe: Typed) -> None:
    """Changes of the whole activity; names with "=" are names."""
    own = made(adobe, "activities", "create", "-", stdin=json.dumps(activity((0, 0))))["id"]
    changed = made(adobe, "activities", "split", own, "A=80", "B=20")
    assert [one["visitorPercentage"] for one in changed["experiences"]] == [80, 20]
    offer = made(adobe, "offers", "create", "-", stdin=OFFER)["id"]
    changed = made(adobe, "activities", "add-experience", own, "x=y", "--offer", f"{MBOX}={offer}")
    assert changed["experiences"][2]["offerLocations"] == [{"locationLocalId": 0, "offerId": offer}]
    changed = made(
        adobe, "activities", "add-experience", own, "D", "--offer", offer, "--share", "x=y=60", "--share", "D=40"
    )
    assert [one["visitorPercentage"] for one in changed["experiences"]] == [0, 0, 60, 40]
    copy = made(adobe, "activities", "clone", own, "A copy")
    assert (copy["name"], copy["state"], len(copy["experiences"])) == ("A copy", "saved", 4)
    planned = adobe("adobe", "activities", "split", own, "A=100", "--dry-run", "--json").json
    assert [one["visitorPercentage"] for one in planned["body"]["experiences"]] == [100, 0, 0, 0]


def test_reports(adobe: Typed) -> None:
    """A report has a line for each experience and one for all; JSON is the vendor's answer."""
    own = made(adobe, "activities", "create", "-")["id"]
    done = adobe("adobe", "activities", "report", own, "--csv")
    assert list(csv.reader(io.StringIO(done.out))) == [
        ["experience", "name", "entries", "conversions", "rate"],
        ["0", "A", "0", "0", ""],
        ["", "total", "0", "0", ""],
    ]
    assert made(adobe, "activities", "report", own)["reportParameters"]["activityId"] == own
    table = adobe("adobe", "activities", "report", own, "--counted", "impression", "--parameter", "environmentId=1")
    assert table.code == 0 and "total" in table.out and "environment" in table.err
    assert made(adobe, "activities", "orders", own) == []


@pytest.mark.parametrize("kind", ["content", "json"])
def test_offers(adobe: Typed, kind: str, tmp_path: Path) -> None:
    """Both kinds, from a file and from standard input."""
    body = {"content": OFFER, "json": JSON_OFFER}[kind]
    path = tmp_path / "offer.json"
    path.write_text("\ufeff" + body)
    option = ("--kind", kind)
    own = made(adobe, "offers", "create", path, *option)["id"]
    assert made(adobe, "offers", "get", own, *option)["content"] == json.loads(body)["content"]
    changed = made(adobe, "offers", "update", own, "-", *option, stdin=body.replace("Spring", "Summer"))
    assert changed["name"] == "Summer"
    rows = made(adobe, "offers", "list", "--name", "Summer", "--type", kind)
    assert [row["id"] for row in rows] == [own]
    assert made(adobe, "offers", "delete", own, *option, "--yes")["id"] == own
    assert adobe("adobe", "offers", "get", own, *option).code == 3


def test_audiences(adobe: Typed) -> None:
    """Created, changed, moved, listed, deleted."""
    own = made(adobe, "audiences", "create", "-", stdin=AUDIENCE)["id"]
    changed = made(adobe, "audiences", "update", own, "-", stdin=AUDIENCE.replace("Gold", "Members"))
    assert changed["name"] == "Members"
    assert made(adobe, "audiences", "move", own, "7654321")["workspace"] == "7654321"
    assert made(adobe, "audiences", "get", own)["targetRule"] == RULE
    assert [row["id"] for row in made(adobe, "audiences", "list", "--workspace", "7654321", "--name", "Members")] == [
        own
    ]
    assert made(adobe, "audiences", "delete", own, "--yes")["id"] == own


def test_account(adobe: Typed, adobe_box: SandboxServer) -> None:
    """Properties, mboxes, profile attributes, environments and response tokens."""
    visit(adobe_box)
    own = made(adobe, "properties", "create", "-", stdin=PROPERTY)["id"]
    assert made(adobe, "properties", "update", own, "-", stdin=PROPERTY.replace("Shop", "App"))["name"] == "App"
    assert made(adobe, "properties", "get", own)["name"] == "App"
    assert [row["id"] for row in made(adobe, "properties", "list", "--filter", "name=App")] == [own]
    assert made(adobe, "properties", "delete", own, "--yes")["id"] == own
    assert MBOX in [row["name"] for row in made(adobe, "mboxes", "list", "--sort-by", "-name")]
    assert made(adobe, "mboxes", "parameters", MBOX) == [{"name": "color", "parameterType": "MBOX"}]
    assert {"name": "memberLevel"} in made(adobe, "profile-attributes")
    assert [row["name"] for row in made(adobe, "environments", "--sort-by", "-name", "--limit", 2)] == [
        "Staging",
        "Production",
    ]
    token = made(adobe, "response-tokens", "create", "profile.memberLevel", "SCRIPT")
    assert token in made(adobe, "response-tokens", "list")
    assert made(adobe, "response-tokens", "delete", token["id"], "--yes") == token


def test_batch(adobe: Typed) -> None:
    """The results as rows; what was skipped or refused makes the exit code 1."""
    operations: list[dict[str, Any]] = [
        {"operationId": 0, "method": "POST", "relativeUrl": "/v2/offers/content", "body": json.loads(OFFER)},
        {
            "operationId": 1,
            "dependsOnOperationIds": [0],
            "method": "DELETE",
            "relativeUrl": "/v2/offers/content/{operationIdResponse:0}",
        },
    ]
    text = json.dumps({"operations": operations})
    refused = adobe("adobe", "batch", "-", stdin=text)
    assert refused.code == 2 and "--yes" in refused.err
    rows = made(adobe, "batch", "-", "--yes", stdin=text)
    assert [row["status"] for row in rows] == [201, 200]
    operations[0]["body"] = {"name": ""}
    failed = adobe("adobe", "batch", "-", "--yes", "--json", stdin=json.dumps(operations))
    assert failed.code == 1
    assert [row["status"] for row in failed.json] == [400, "skipped"]
    circle = [{**operations[0], "dependsOnOperationIds": [0]}]
    done = adobe("adobe", "batch", "-", stdin=json.dumps(circle))
    assert done.code == 2 and "dependsOnOperationIds" in done.err


def test_profiles(adobe: Typed, adobe_box: SandboxServer) -> None:
    """Attributes that are set are there, by each kind of id."""
    visit(adobe_box)
    assert made(adobe, "profiles", "update", "memberLevel=gold", "profile.city=Köln=Süd", "--tnt-id", "d1")["success"]
    found = made(adobe, "profiles", "get", "d1")["profileAttributes"]
    assert (found["memberLevel"]["value"], found["city"]["value"]) == ("gold", "Köln=Süd")
    for whose, own in (("third-party-id", "user-1"), ("ecid", "ecid-1")):
        assert made(adobe, "profiles", "get", own, "--by", whose)["visitorId"] == own
    assert "memberLevel" in adobe("adobe", "profiles", "get", "d1").out
    assert adobe("adobe", "profiles", "get", "nobody").code == 3
    both = adobe("adobe", "profiles", "update", "a=b", "--tnt-id", "d1", "--third-party-id", "u", "--method", "GET")
    assert both.code == 2 and "third_party_id" in both.err


def test_bulk(adobe: Typed, tmp_path: Path) -> None:
    """From files and standard input; rows that cannot be sent are reported, and the exit code says so."""
    path = tmp_path / "rows.csv"
    path.write_text("pcId,city\nd1,Bonn\n,nobody\nd2,Ulm\n")
    done = adobe("adobe", "profiles", "bulk", path, "--json", "--wait", 5, "--rejected", "bad.csv")
    assert done.code == 1 and done.err == ""
    assert (done.json["rows"], done.json["rejected"]) == (2, 1)
    assert Path("bad.csv").read_text().splitlines()[1].startswith("2,")
    assert adobe("adobe", "profiles", "bulk", path).err.startswith("flagmw: row 2 ")
    assert made(adobe, "profiles", "get", "d1")["profileAttributes"]["city"]["value"] == "Bonn"
    (part,) = done.json["parts"]
    state = made(adobe, "profiles", "status", part["status_url"])
    assert (state["state"], state["size"]) == ("complete", 2)
    zipped = tmp_path / "rows.jsonl.gz"
    zipped.write_bytes(gzip.compress(b'{"who": "u1", "city": "Bonn"}\n{"who": "u2", "city": "Ulm"}\n'))
    named = ("--id-kind", "thirdPartyId", "--id-column", "who")
    assert made(adobe, "profiles", "bulk", zipped, *named)["rows"] == 2
    rows = made(adobe, "profiles", "bulk", "-", "--format", "csv", "--version", 1, stdin="pcId,city\nd1,Rom\n")
    assert rows["rows"] == 1
    assert adobe("adobe", "profiles", "bulk", "-", stdin="pcId\n").code == 2


def test_bulk_goes_on_with_its_journal(adobe: Typed, adobe_box: SandboxServer, tmp_path: Path) -> None:
    """A second run with the same journal sends nothing again; another source is refused."""
    path, journal = tmp_path / "rows.csv", tmp_path / "journal"
    path.write_text("pcId,city\n" + "".join(f"d{number},x{number}\n" for number in range(50)))
    words = ("profiles", "bulk", path, "--journal", journal, "--max-rows", 20)
    assert [part["earlier"] for part in made(adobe, *words)["parts"]] == [False] * 3
    assert [part["earlier"] for part in made(adobe, *words)["parts"]] == [True] * 3
    sent = [one for one in adobe_box.ledger()["requests"] if one["action"] == "bulkUpdateV2"]
    assert len(sent) == 3
    path.write_text("pcId,city\nd1,other\n")
    done = adobe("adobe", *words)
    assert done.code == 7 and "the source has changed" in done.err


def test_tokens_are_not_printed(adobe: Typed) -> None:
    """Only --show prints a token, and then nothing else, so that a script can take it."""
    for words in (("get",), ("create", "--yes"), ("get", "--scope", "profile_api"), ("current",)):
        shown = adobe("adobe", "token", *words, "--show")
        assert shown.code == 0 and shown.out.count("\n") == 1
        value = shown.out.strip()
        hidden = adobe("adobe", "token", *words)
        assert hidden.code == 0 and value not in hidden.out and "***" in hidden.out
        document = adobe("adobe", "token", *words, "--json").json
        assert document["accessToken"] == "***" and document["expiresIn"] > 3600
    assert made(adobe, "token", "get", "--show")["accessToken"] == adobe("adobe", "token", "get", "--show").out.strip()


def test_token_that_there_is_not(adobe: Typed) -> None:
    """No token of a scope is no such resource; an access token is made by no command."""
    assert adobe("adobe", "token", "get", "--scope", "debug_tools").code == 3
    assert adobe("adobe", "token", "create", "--scope", "access").code == 2
    assert adobe("adobe", "token", "get", "--curl").code == 2


# Bad input


@pytest.mark.parametrize(
    ("words", "stdin", "problem"),
    [
        (("activities", "name", 12, "x" * 251), "", "name: "),
        (("activities", "priority", 12, 1000), "", "priority: must be a whole number from 0 to 999"),
        (("activities", "state", 12, "live"), "", "state: "),
        (("activities", "schedule", 12, "tomorrow", "2026-01-01"), "", "startsAt: "),
        (("activities", "schedule", 12, "2026-02-01", "2026-01-01"), "", "endsAt: "),
        (("activities", "split", 12, "A"), "", "SHARES: 'A' is not \"name=value\""),
        (("activities", "split", 12, "A=x"), "", "SHARES: 'x' of 'A' is no whole number"),
        (("activities", "split", 12, "A=1", "A=2"), "", "SHARES: names 'A' twice"),
        (("activities", "add-experience", 12, "B", "--offer", "mbox"), "", "--offer: 'mbox' is not"),
        (("activities", "list", "--filter", "name"), "", "--filter: 'name' is not \"field=value\""),
        (("activities", "list", "--filter", "limit=3"), "", "--filter: limit is no field of a row"),
        (("mboxes", "list", "--filter", "sort_by=x"), "", "--filter: sort_by is no field of a row"),
        (("activities", "name", 12, "a\udcff"), "", ""),
        (("activities", "list", "--starts-at", "now/then"), "", "startsAt: "),
        (("activities", "list", "--sort-by", "na me"), "", "sort_by: "),
        (("activities", "create", "-"), "", "FILE: standard input is no JSON"),
        (("activities", "create", "-"), "[]", "FILE: standard input must hold a JSON object"),
        (("activities", "create", "none.json"), "", "FILE: none.json cannot be read: No such file"),
        (("activities", "create", "."), "", "FILE: . cannot be read"),
        (("activities", "create", "-"), '{"name": ""}', "name: "),
        (("activities", "create", "-"), json.dumps({**activity(), "priority": -1}), "priority: "),
        (("activities", "clone", 12, ""), "", "name: "),
        (("activities", "split", 12, "A=100", "--kind", "ap"), "", "--kind: "),
        (("activities", "qa-links", 12, "shop"), "", "url: "),
        (("audiences", "create", "-"), json.dumps({"name": "x", "targetRule": RULE, "audienceRule": RULE}), "Rule"),
        (("offers", "create", "-"), '{"name": "x"}', "content: "),
        (("properties", "create", "-"), '{"name": "x", "channel": "tv"}', "channel: "),
        (("response-tokens", "create", "x", "y"), "", "type: "),
        (("batch", "-"), "{}", "FILE: must hold"),
        (
            ("batch", "-"),
            json.dumps([{"operationId": n, "method": "GET", "relativeUrl": "/v1/x"} for n in range(257)]),
            "256",
        ),
        (("profiles", "update", "a", "--tnt-id", "d1"), "", "ATTRIBUTES: 'a' is not"),
        (("profiles", "update", "a=b"), "", "tnt_id"),
        (("profiles", "bulk", "none.csv"), "", "source: none.csv cannot be read"),
        (("profiles", "bulk", "-"), "", "--format: "),
        (("profiles", "bulk", "-", "--format", "csv"), "", "source: holds no rows"),
        (("profiles", "bulk", "-", "--format", "csv"), "mbox3rdPartyId,a\nx,y\n", "id_kind"),
        (("profiles", "bulk", "-", "--format", "csv", "--max-rows", 0), "pcId,a\nd,y\n", "max_rows"),
        (("profiles", "bulk", "-", "--format", "csv", "--rejected", "no/x"), "pcId,a\nd,y\n", "--rejected: no/x"),
    ],
    ids=lambda value: "-".join(map(str, value))[:40] if isinstance(value, tuple) else "",
)
def test_bad_input(adobe: Typed, words: tuple[Any, ...], stdin: str, problem: str) -> None:
    """One line names the field; the exit code is 2 and nothing was changed."""
    done = adobe("adobe", *words, stdin=stdin)
    assert done.code == 2, done.err
    assert problem in done.err and done.err.count("\n") == 1 and done.err.startswith("flagmw: ")
    assert done.out == ""


@pytest.mark.parametrize("words", [("activities", "get", "x"), ("activities", "priority", 1, "high"), ("activities",)])
def test_usage(adobe: Typed, words: tuple[Any, ...]) -> None:
    """What is no number or no command is a wrong usage."""
    assert adobe("adobe", *words).code == 2


def test_schedule_takes_the_form_of_the_sample(adobe: Typed) -> None:
    """A time without seconds, with Z, as the vendor's page has it."""
    own = made(adobe, "activities", "create", "-")["id"]
    dates = ("2017-05-01T08:00Z", "2017-07-01T08:00Z")
    assert made(adobe, "activities", "schedule", own, *dates)["startsAt"] == dates[0]


DELETIONS = [name for name in SAMPLES if name.endswith(".delete")] + ["tokens.create"]


@pytest.mark.parametrize("name", DELETIONS)
def test_deletion_without_a_terminal(adobe: Typed, adobe_box: SandboxServer, name: str) -> None:
    """Where nobody can be asked, --yes is needed; nothing is sent."""
    words, _ = SAMPLES[name]
    done = adobe("adobe", *words)
    assert done.code == 2 and done.err.startswith("flagmw: add --yes to ")
    assert adobe_box.ledger()["requests"] == []


@pytest.mark.parametrize(("answer", "code"), [("n", 1), ("y", 0), ("", 1), ("yes", 0)])
def test_question_on_a_terminal(adobe: Typed, adobe_box: SandboxServer, answer: str, code: int) -> None:
    """On a terminal the command asks, and does what the answer says."""
    own = made(adobe, "offers", "create", "-", stdin=OFFER)["id"]
    master, slave = pty.openpty()
    os.write(master, f"{answer}\n".encode())
    with open(slave, closefd=False) as reader, open(slave, "w", closefd=False) as writer:
        done = adobe("adobe", "offers", "delete", own, terminal=reader, stderr=writer)
    shown = b""
    while b"[y/N]" not in shown:
        shown += os.read(master, 4096)
    os.close(slave)
    os.close(master)
    assert f"Delete offer {own}? [y/N]" in shown.decode()
    assert done.code == code
    assert adobe("adobe", "offers", "get", own).code == (0 if code else 3)


def test_standard_input_that_is_closed(adobe: Typed) -> None:
    """A body cannot come from it, and nobody can be asked."""
    assert adobe("adobe", "offers", "create", "-", terminal=None).code == 2
    assert adobe("adobe", "offers", "delete", 12, terminal=None).code == 2
    assert adobe("adobe", "profiles", "bulk", "-", "--format", "csv", terminal=None).code == 2


# Failures of the vendor


@pytest.mark.parametrize(
    "words",
    [("activities", "get"), ("activities", "pause"), ("activities", "report"), ("offers", "get"), ("audiences", "get"),
     ("properties", "get"), ("activities", "changelog")],
)  # fmt: skip
def test_unknown_id(adobe: Typed, words: tuple[str, ...]) -> None:
    """Exit code 3, in one line."""
    done = adobe("adobe", *words, 999_999)
    assert done.code == 3 and done.err.count("\n") == 1


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ({"kind": "error", "code": 403}, 4),
        ({"kind": "error", "code": 409}, 7),
        ({"kind": "error", "code": 400}, 1),
        ({"kind": "error", "code": 500}, 6),
        ({"kind": "error", "code": 503}, 6),
        ({"kind": "trailing_comma"}, 0),
    ],
    ids=str,
)
def test_refused_write(adobe: Typed, adobe_box: SandboxServer, fault: dict[str, Any], code: int) -> None:
    """The exit code says whether a write can be tried again."""
    assert adobe("adobe", "environments").code == 0  # a token is there
    adobe_box.faults([{"route": "admin", **fault}])
    done = adobe("adobe", "offers", "create", "-", stdin=OFFER)
    adobe_box.faults([])
    if fault["kind"] != "trailing_comma":
        assert done.code == code and "Traceback" not in done.err
    else:
        assert done.code in (0, 6)


def test_throttled_read(adobe: Typed, adobe_box: SandboxServer) -> None:
    """What would wait for longer than --max-wait ends with exit code 5."""
    assert adobe("adobe", "environments").code == 0
    adobe_box.faults([{"route": "admin", "kind": "error", "code": 503}])
    done = adobe("adobe", "environments", "--max-wait", 5)
    adobe_box.faults([])
    assert done.code == 5 and done.err.count("\n") == 1


def test_limit_that_processes_share(
    bare: Typed, adobe_box: SandboxServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a Valkey server in the settings, calls of other processes count."""
    url = address()
    path = credentials(tmp_path / "own.toml", adobe_box, limit_url=url)
    monkeypatch.setenv("ADOBE_CREDENTIALS", str(path))
    assert bare("adobe", "environments").code == 0
    BlockingDriver().run(SharedLimiter(url, "adobe-demo", 50).acquire(49, 1.0))
    done = bare("adobe", "environments", "--max-wait", 1)
    assert done.code == 5 and "used up" in done.err


def ended(done: Done) -> tuple[int, int]:
    return done.code, done.err.count("\n")


def test_wrong_tenant(adobe: Typed) -> None:
    """Somebody else's tenant is no access, or no such resource."""
    code, lines = ended(adobe("adobe", "environments", "--tenant", "another"))
    assert code in (3, 4) and lines == 1
