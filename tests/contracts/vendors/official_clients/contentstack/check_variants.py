"""Contentstack's own exporter and importer (npm `@contentstack/cli-variants`) against the sandbox.

Run by `make official-clients-contentstack`, which installs them; they are no part of `make test`.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from flagmw.sandbox import SandboxServer

HERE = Path(__file__).parent
PROJECT, STACK, PAGE = "64c7787b333555469a861224", "sandbox-stack", {"uid": "page", "status": "linked"}
COUNTRIES = {"AU": "203.0.113.9", "US": "198.51.100.9", "DE": "192.0.2.9"}


@pytest.fixture(scope="module")
def server() -> Iterator[SandboxServer]:
    with SandboxServer("contentstack", seed=5) as server:
        # The tool asks as fast as it can, and has no patience with 429.
        server.sandbox.personalize.calls_per_second = 0
        yield server


@pytest.fixture
def sandbox(server: SandboxServer) -> SandboxServer:
    server.reset()
    return server


class Api:
    """Requests of one project by hand."""

    def __init__(self, sandbox: SandboxServer, project: str = PROJECT) -> None:
        self.url, self.edge, self.project = sandbox.contentstack_admin_url, sandbox.contentstack_url, project

    def __call__(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"authtoken": "sandbox-authtoken", "x-project-uid": self.project}
        answer = httpx2.request(method, self.url + path, headers=headers, **({"json": body} if body else {}))
        assert answer.status_code < 300, answer.text
        return answer.json() if answer.content else None

    def variants(self, **headers: str) -> list[str | None]:
        """Return the active variants of one visitor, in order of priority."""
        given = {"x-project-uid": self.project, "x-cs-personalize-user-uid": "u1", **headers}
        answer = httpx2.get(f"{self.edge}/manifest", headers=given)
        return [one["activeVariantShortUid"] for one in answer.json()["experiences"]]


def tool(sandbox: SandboxServer, place: Path, action: str, **more: str) -> str:
    """Run the tool, and return the project that it worked on."""
    asked = {
        "url": sandbox.contentstack_admin_url,
        "action": action,
        "data": str(place / "data"),
        "stack": STACK,
        **more,
    }
    own = {"CS_CLI_CONFIG_PATH": str(place), "CS_CLI_LOG_PATH": str(place / "logs"), "HOME": str(place)}
    done = subprocess.run(
        ["node", "variants.mjs"],
        input=json.dumps({**asked, "action": action, **more}),
        cwd=HERE,
        env={**os.environ, **own},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    project: str = json.loads(done.stdout.splitlines()[-1])["project"]
    refused = [one for one in sandbox.ledger()["requests"] if one["answer"]["status"] >= 300]
    assert refused == [], done.stdout
    return project


def built(api: Api) -> None:
    """Add what the scenario has none of: nested rules, several metrics, a draft beside the active version."""
    attribute = api("POST", "/attributes", {"name": "Points", "key": "points", "description": "of the shop"})
    rule = {
        "__type": "Rule",
        "attribute": {"__type": "CustomAttributeReference", "ref": attribute["uid"]},
        "attributeMatchCondition": "NUMBER_GREATER_THAN",
        "attributeMatchOptions": {"__type": "NumberMatchOptions", "value": 10},
        "invertCondition": True,
    }
    country = {
        "__type": "Rule",
        "attribute": {"__type": "PresetAttributeReference", "ref": "COUNTRY"},
        "attributeMatchCondition": "STRING_EQUALS",
        "attributeMatchOptions": {"__type": "StringMatchOptions", "value": "US"},
        "invertCondition": False,
    }
    inner = {"__type": "RuleCombination", "combinationType": "OR", "rules": [rule, country]}
    definition = {"__type": "RuleCombination", "combinationType": "AND", "rules": [inner, country]}
    audience = api("POST", "/audiences", {"name": "Nested", "description": "two levels", "definition": definition})
    events = [api("POST", "/events", {"key": key, "description": key}) for key in ("tapped", "rated")]
    made = api("POST", "/experiences", {"name": "Button", "__type": "AB_TEST", "description": "d", "tags": ["env:x"]})
    metrics = [
        {"__type": kind, "event": event["uid"], "name": event["key"]}
        for kind, event in zip(("Primary", "Secondary"), events, strict=True)
    ]
    variants = [{"__type": "ABTestVariant", "name": name, "trafficDistribution": 50} for name in ("Red", "Blue")]
    body = {
        "status": "ACTIVE",
        "variants": variants,
        "variantSplit": "EQUALLY_SPLIT",
        "metrics": metrics,
        "targeting": {"audience": {"audiences": [audience["uid"]], "audienceCombinationType": "AND"}},
    }
    version = f"/experiences/{made['uid']}/versions"
    active = api("PUT", f"{version}/{made['latestVersion']}", body)
    api("POST", version, {**body, "status": "DRAFT", "variants": active["variants"], "metrics": metrics[:1]})
    group = api("GET", f"/experiences/{made['uid']}/cms-integration/variant-group")
    assert group["content_types"] == []
    api("POST", f"/experiences/{made['uid']}/cms-integration/variant-group", {"content_types": [PAGE]})


def resume(api: Api) -> None:
    """Let what is paused run again."""
    for experience in api("GET", "/experiences"):
        for version in api("GET", f"/experiences/{experience['uid']}/versions"):
            if version["status"] == "PAUSED":
                path = f"/experiences/{experience['uid']}/versions/{version['uid']}"
                api("PUT", path, {**version, "status": "ACTIVE"})


def wipe(api: Api) -> None:
    """Delete everything that is in the project."""
    for kind in ("experiences", "audiences", "events", "attributes"):
        for one in api("GET", f"/{kind}"):
            if one.get("__type") != "PRESET":
                api("DELETE", f"/{kind}/{one['uid']}")


def content(api: Api) -> Any:
    """Return everything that is in the project, by names and keys instead of uids and times."""
    names: dict[str, str] = {api.project: "project"}
    found: dict[str, Any] = {}
    for kind in ("attributes", "audiences", "events", "experiences"):
        found[kind] = api("GET", f"/{kind}")
        names |= {one["uid"]: f"{kind}/{one.get('key') or one['name']}" for one in found[kind]}
    found["versions"] = {}
    found["groups"] = {}
    for one in found["experiences"]:
        versions = api("GET", f"/experiences/{one['uid']}/versions")
        group = api("GET", f"/experiences/{one['uid']}/cms-integration/variant-group")
        names |= {version["uid"]: version["status"] for version in versions}
        names |= {group["uid"]: "group", **{cms: short for short, cms in one["_cms"]["variants"].items()}}
        found["versions"][one["uid"]], found["groups"][one["uid"]] = versions, group
    found["priority"] = api("GET", "/experiences-priority")

    def named(value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            kept = {name: one for name, one in value.items() if not name.endswith("At") and name != "shortUid"}
            return {names.get(name, name): named(one, name) for name, one in kept.items()}
        if isinstance(value, list):
            return [named(one) for one in value]
        return names.get(value, value) if isinstance(value, str) else value

    return named(found)


def test_export_wipe_import_gives_the_same_project(sandbox: SandboxServer, tmp_path: Path) -> None:
    """Definitions, versions, priority and linked content types; visitors by country get the same variants."""
    api = Api(sandbox)
    resume(api)
    built(api)
    before = content(api)
    segmented = [one["__type"] == "SEGMENTED" for one in api("GET", "/experiences") if one["status"] != "DRAFT"]
    served = {code: api.variants(**{"x-forwarded-for": ip}) for code, ip in COUNTRIES.items()}
    assert tool(sandbox, tmp_path, "export") == PROJECT
    wipe(api)
    assert api.variants() == [] and api("GET", "/experiences") == []
    types = tmp_path / "data" / "mapper" / "content_types" / "success.json"
    types.parent.mkdir(parents=True)
    types.write_text('["page"]')
    project = tool(sandbox, tmp_path, "import", name="Copy")
    copy = Api(sandbox, project)
    assert project != PROJECT
    assert content(copy) == before
    assert [one["status"] for one in before["versions"]["experiences/Button"]] == ["DRAFT", "ACTIVE"]
    assert before["groups"]["experiences/Button"]["content_types"] == [PAGE]
    assert any(segmented)
    for code, ip in COUNTRIES.items():
        again = copy.variants(**{"x-forwarded-for": ip})
        assert len(again) == len(served[code])
        for test, first, second in zip(segmented, served[code], again, strict=False):
            # A/B tests deal by the version, which is another one now; who takes part is the same.
            assert first == second if test else (first is None) == (second is None)


def test_names_of_projects_are_taken_once(sandbox: SandboxServer) -> None:
    """The code is the one that the importer looks for."""
    api = Api(sandbox)
    made = api("POST", "/projects", {"name": "Shop", "connectedStackApiKey": "other"})
    assert [one["uid"] for one in api("GET", "/projects?connectedStackApiKey=other")] == [made["uid"]]
    assert api("PUT", f"/projects/{made['uid']}", {"name": "Shop", "description": "d"})["description"] == "d"
    headers = {"authtoken": "sandbox-authtoken"}
    answer = httpx2.post(f"{api.url}/projects", headers=headers, json={"name": "Shop"})
    assert answer.status_code == 400
    assert "personalize.PROJECTS.DUPLICATE_NAME" in answer.text


def test_the_importer_leaves_paused_experiences_empty(sandbox: SandboxServer, tmp_path: Path) -> None:
    """It looks for a status "PAUSE" that the API does not have; what it does send is taken."""
    api = Api(sandbox)
    paused = [one["name"] for one in api("GET", "/experiences") if one["status"] == "PAUSED"]
    tool(sandbox, tmp_path, "export")
    copy = Api(sandbox, tool(sandbox, tmp_path, "import", name="Copy"))
    empty = [one["name"] for one in copy("GET", "/experiences") if not one["_cms"]["variants"]]
    assert paused == empty != []
