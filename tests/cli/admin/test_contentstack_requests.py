"""`flagmw contentstack`: each command makes the request of its endpoint."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flagmw.admin.contentstack.endpoints import ENDPOINTS
from flagmw.admin.contentstack.rules import Country
from flagmw.admin.contentstack.versions import ab_test
from flagmw.cli.contentstack.app import commands
from tests.cli.admin.conftest import Typed
from tests.support.http_vendor import HttpVendor, answer
from tests.unit.admin.contentstack import (
    ACTIVE,
    AUDIENCE,
    DRAFT,
    EVENT,
    EXPERIENCE,
    PROJECT,
    TOKEN,
    Scripted,
    sample,
)

RULES = json.dumps(Country.equals("US").to_json())
VERSION = json.dumps({**ab_test(["Control", "Purple"], metric=EVENT), "status": "DRAFT"})
# By endpoint: the words after `flagmw contentstack`, and standard input.
SAMPLES: dict[str, tuple[list[str], str]] = {
    "attributes.create": (["attributes", "create", "Age", "age", "--description", "In years"], ""),
    "attributes.list": (["attributes", "list"], ""),
    "attributes.update": (["attributes", "update", EVENT, "Age", "age"], ""),
    "attributes.delete": (["attributes", "delete", EVENT], ""),
    "audiences.create": (["audiences", "create", "US", "-"], RULES),
    "audiences.list": (["audiences", "list"], ""),
    "audiences.update": (["audiences", "update", AUDIENCE, "US", "-"], RULES),
    "audiences.delete": (["audiences", "delete", AUDIENCE], ""),
    "experiences.create": (["experiences", "create", "Button", "--kind", "AB_TEST", "--tag", "shop"], ""),
    "experiences.list": (["experiences", "list"], ""),
    "experiences.update": (["experiences", "update", EXPERIENCE, "Button"], ""),
    "experiences.get": (["experiences", "get", EXPERIENCE], ""),
    "experiences.delete": (["experiences", "delete", EXPERIENCE], ""),
    "versions.create": (["versions", "create", EXPERIENCE, "-"], VERSION),
    "versions.list": (["versions", "list", EXPERIENCE], ""),
    "versions.update": (["versions", "update", EXPERIENCE, DRAFT, "-"], VERSION),
    "versions.delete": (["versions", "delete", EXPERIENCE, DRAFT], ""),
    "events.create": (["events", "create", "clickCTA"], ""),
    "events.list": (["events", "list"], ""),
    "events.update": (["events", "update", EVENT, "clickCTA"], ""),
    "events.delete": (["events", "delete", EVENT], ""),
    "priority.get": (["priority", "get"], ""),
    "priority.set": (["priority", "set", EXPERIENCE, EVENT], ""),
    "analytics.summary": (["analytics", "summary", EXPERIENCE, ACTIVE], ""),
    "analytics.time_series": (["analytics", "time-series", EXPERIENCE, ACTIVE, "--start", "2026-11-27T00:00:00Z"], ""),
    "geolocation.regions": (["places", "regions", "--name", "Cali"], ""),
    "geolocation.countries": (["places", "countries", "--code", "US", "--code", "DE"], ""),
    "geolocation.cities": (["places", "cities", "--limit", "3"], ""),
}


@pytest.fixture
def box() -> Iterator[Scripted]:
    """A vendor whose experience has an active version."""
    body = sample("version_pause")
    with Scripted({"uid": ACTIVE, **body, "status": "ACTIVE"}) as scripted:
        yield scripted


@pytest.fixture
def contentstack(bare: Typed, box: Scripted, monkeypatch: pytest.MonkeyPatch) -> Typed:
    """`flagmw contentstack` on that vendor, with credentials in the environment."""
    monkeypatch.setenv("CONTENTSTACK_AUTHTOKEN", TOKEN)
    monkeypatch.setenv("CONTENTSTACK_PROJECT_UID", PROJECT)
    bare.always = ["--base-url", box.vendor.url]
    return bare


def test_every_endpoint_has_its_command() -> None:
    """What the client can call, the command line can."""
    called = {call for one in commands.registered for call in one.calls}
    assert set(ENDPOINTS) == set(SAMPLES) and set(ENDPOINTS) <= called


@pytest.mark.parametrize("name", SAMPLES)
def test_request_of_a_command(contentstack: Typed, box: Scripted, name: str) -> None:
    """`--dry-run --json` prints the endpoint's method and path; nothing is written, no secret is shown."""
    words, stdin = SAMPLES[name]
    done = contentstack("contentstack", *words, "--dry-run", "--json", stdin=stdin)
    assert (done.code, done.err) == (0, "")
    planned, endpoint = done.json, ENDPOINTS[name]
    path = planned["url"].removeprefix(box.vendor.url).partition("?")[0]
    uid = words[2] if "{uid}" in endpoint.path else ""
    assert (planned["operation"], planned["method"]) == (name, endpoint.method)
    assert path == endpoint.path.format(uid=uid, version=DRAFT)
    assert planned["headers"]["authtoken"] == "***" and TOKEN not in done.out
    assert all(method == "GET" for method, *_ in box.sent)


@pytest.mark.parametrize("name", SAMPLES)
def test_command(contentstack: Typed, box: Scripted, name: str) -> None:
    """Each command does its call and prints the answer; what deletes needs --yes."""
    words, stdin = SAMPLES[name]
    if ENDPOINTS[name].method == "DELETE":
        refused = contentstack("contentstack", *words)
        assert refused.code == 2 and "--yes" in refused.err and box.sent == []
        words = [*words, "--yes"]
    done = contentstack("contentstack", *words, stdin=stdin)
    reads = name in ("analytics.summary", "analytics.time_series", "experiences.get")
    # The scripted vendor answers reads with a list.
    assert done.code == (1 if reads else 0), done.err
    assert box.sent[-1][0] == ENDPOINTS[name].method
    assert done.err.startswith("flagmw: ") if reads else done.out


@pytest.mark.parametrize(("verb", "status"), [("pause", "PAUSED"), ("activate", "ACTIVE"), ("resume", "ACTIVE")])
def test_steps_of_a_version(contentstack: Typed, box: Scripted, verb: str, status: str) -> None:
    """A step sends the version back with its new status."""
    before = {"pause": "ACTIVE", "activate": "DRAFT", "resume": "PAUSED"}[verb]
    box.versions[0]["status"] = before
    done = contentstack("contentstack", "versions", verb, EXPERIENCE, "--json")
    assert (done.code, done.json["status"]) == (0, status)
    assert box.sent[-1][2] == {**sample("version_pause"), "status": status}
    box.versions.clear()
    done = contentstack("contentstack", "versions", verb, EXPERIENCE)
    assert done.code == 3 and "no version that is" in done.err


def test_versions_from_words(contentstack: Typed, box: Scripted) -> None:
    """An A/B test and a segmented version are made without a file; drafts are kept or written; shares are checked."""
    test = ["contentstack", "versions", "ab-test", EXPERIENCE, "Control", "Purple", "--metric", EVENT]
    assert contentstack(*test, "--metric-name", "Click", "--audience", AUDIENCE, "--status", "ACTIVE").code == 0
    body = box.sent[-1][2]
    assert body["status"] == "ACTIVE" and body["variantSplit"] == "EQUALLY_SPLIT"
    assert body["targeting"]["audience"] == {"audiences": [AUDIENCE], "audienceCombinationType": "AND"}
    wrong = contentstack(*test, "--share", 49, "--share", 50)
    assert wrong.code == 2 and "99, not 100" in wrong.err
    box.versions.append({"uid": DRAFT, "status": "DRAFT", "variants": []})
    there = contentstack(*test)
    assert there.code == 7 and DRAFT in there.err
    assert contentstack(*test, "--update-draft").code == 0
    assert box.sent[-1][:2] == ("PUT", f"/experiences/{EXPERIENCE}/versions/{DRAFT}")
    segments = ["contentstack", "versions", "segmented", EXPERIENCE, "--update-draft"]
    assert contentstack(*segments, f"AU={AUDIENCE},{EVENT}", f"US={EVENT}").code == 0
    first = box.sent[-1][2]["variants"][0]
    assert (first["name"], first["audiences"], first["audienceCombinationType"]) == ("AU", [AUDIENCE, EVENT], "OR")
    assert contentstack(*segments, "AU").code == 2
    assert contentstack(*segments, f"AU={AUDIENCE}", f"AU={EVENT}").code == 2
    discard = ["contentstack", "versions", "discard", EXPERIENCE]
    assert contentstack(*discard).code == 2
    assert contentstack(*discard, "--yes").code == 0
    assert box.sent[-1][:2] == ("DELETE", f"/experiences/{EXPERIENCE}/versions/{DRAFT}")


def test_tables_of_analytics(bare: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Variants are rows, with who leads beside them; hours come one after the other."""
    monkeypatch.setenv("CONTENTSTACK_AUTHTOKEN", TOKEN)
    counts = [{"shortUid": "0", "impressions": 120, "conversions": 8, "probabilityToBeBest": 0.41}]
    summary = {"variants": counts, "leadingVariant": "0", "winningVariant": None}
    hours = {"interval": "PT1H", "series": [{"interval": "2026-01-31T10:00:00Z/PT1H", "variants": counts}]}
    reply: dict[str, Any] = {}
    with HttpVendor(lambda request: answer(reply)) as vendor:
        bare.always = ["--base-url", vendor.url, "--project", PROJECT]
        reply.update(summary)
        done = bare("contentstack", "analytics", "summary", EXPERIENCE, ACTIVE, "--csv")
        assert done.out.split() == ["shortUid,impressions,conversions,probabilityToBeBest", "0,120,8,0.41"]
        assert "variant 0 leads" in done.err
        reply.clear()
        reply.update(hours)
        done = bare("contentstack", "analytics", "time-series", EXPERIENCE, ACTIVE, "--csv")
        assert done.out.splitlines()[1] == "2026-01-31T10:00:00Z/PT1H,0,120,8"


def test_credentials(bare: Typed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An authtoken's file, an OAuth token, or a refresh token; without any the error names the settings."""
    with HttpVendor(lambda request: answer([])) as vendor:
        bare.always = ["--base-url", vendor.url, "--project", PROJECT]
        done = bare("contentstack", "events", "list")
        assert done.code == 2 and "CONTENTSTACK_AUTHTOKEN_FILE" in done.err and vendor.requests == []
        file = tmp_path / "authtoken"
        file.write_text(f"{TOKEN}\n", "utf-8")
        credentials = tmp_path / "credentials.toml"
        credentials.write_text(f'[contentstack]\nauthtoken_file = "{file}"\n', "utf-8")
        credentials.chmod(stat.S_IRUSR | stat.S_IWUSR)
        assert bare("contentstack", "events", "list", "--credentials", credentials).code == 0
        assert vendor.requests[-1].headers["authtoken"] == TOKEN
        monkeypatch.setenv("CONTENTSTACK_TOKEN", "oauth-token")
        assert bare("contentstack", "events", "list").code == 0
        assert vendor.requests[-1].headers["authorization"] == "Bearer oauth-token"
        monkeypatch.delenv("CONTENTSTACK_TOKEN")
        for name, value in {"REFRESH_TOKEN": "r", "CLIENT_ID": "c", "REDIRECT_URI": "https://app.example/"}.items():
            monkeypatch.setenv(f"CONTENTSTACK_{name}", value)
        planned = bare("contentstack", "events", "list", "--dry-run", "--json").json
        assert planned["headers"]["Authorization"] == "Bearer ***"
        monkeypatch.setenv("CONTENTSTACK_TOKEN_URL", "http://developerhub.example/token")
        assert "token_url must be https" in bare("contentstack", "events", "list").err


def test_values_that_are_refused(contentstack: Typed, box: Scripted) -> None:
    """Exit code 2, one line, and nothing is sent."""
    for words, stdin in (
        (["experiences", "get", "b"], ""),
        (["audiences", "create", "US", "-"], '{"combinationType": "AND", "rules": [{"__type": "Regel"}]}'),
        (["audiences", "create", "US", "-"], "{"),
        (["priority", "set", EXPERIENCE, EXPERIENCE], ""),
        (["analytics", "summary", EXPERIENCE, ACTIVE, "--start", "yesterday"], ""),
        (["events", "list", "--region", "MARS"], ""),
        (["events", "list", "--project", "shop"], ""),
    ):
        contentstack.always = contentstack.always if "--region" not in words else []
        done = contentstack("contentstack", *words, stdin=stdin)
        assert done.code == 2 and done.err.count("\n") == 1, done.err
    assert box.sent == []
