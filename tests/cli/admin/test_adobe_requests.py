"""Every endpoint of Adobe Target has a command, and the command makes that request."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest

from flagmw.admin.adobe.endpoints import ENDPOINTS, PROFILE_ENDPOINTS
from flagmw.cli.adobe.app import commands
from flagmw.sandbox import SandboxServer
from tests.cli.admin.conftest import Typed
from tests.cli.admin.samples import SAMPLES

CALLED = {call: f"{one.words} {options}".strip() for one in commands.registered for call, options in one.calls.items()}


def _pattern(path: str) -> str:
    parts = [part if part.startswith("{") else re.escape(part) for part in re.split(r"(\{\w+\})", path)]
    return "".join("[^/]+" if part.startswith("{") else part for part in parts)


def test_every_endpoint_has_its_command() -> None:
    """What the client can call, the command line can; the status of an upload has an address instead of a path."""
    everything = set(ENDPOINTS) | set(PROFILE_ENDPOINTS)
    assert everything <= set(CALLED)
    assert set(SAMPLES) == everything - {"profiles.bulk_status"}


@pytest.mark.parametrize("name", SAMPLES)
def test_request_of_a_command(adobe: Typed, adobe_box: SandboxServer, name: str) -> None:
    """`--dry-run --json` prints the endpoint's method and path, and nothing is sent."""
    words, stdin = SAMPLES[name]
    typed = " ".join(map(str, ("flagmw", "adobe", *words)))
    command, _, options = CALLED[name].partition(" --")
    assert typed.startswith(command) and options in typed
    done = adobe("adobe", *words, "--dry-run", "--json", stdin=stdin)
    assert (done.code, done.err) == (0, "")
    planned = done.json
    path = urlsplit(planned["url"]).path
    if name in ENDPOINTS:
        endpoint = ENDPOINTS[name]
        assert (planned["operation"], planned["method"]) == (name, endpoint.method)
        assert re.fullmatch(_pattern(f"/demo/target{endpoint.path}"), path)
        assert endpoint.media_type in planned["headers"].values()
    else:
        profile = PROFILE_ENDPOINTS[name]
        assert planned["method"] in profile.methods
        assert re.fullmatch(_pattern(profile.path.partition("?")[0]), path)
    assert adobe_box.ledger()["requests"] == []


@pytest.mark.parametrize("name", [*SAMPLES][::9])
def test_command_for_a_shell(adobe: Typed, name: str) -> None:
    """`--curl` prints a command in which no secret stands."""
    words, stdin = SAMPLES[name]
    done = adobe("adobe", *words, "--curl", stdin=stdin)
    assert done.code == 0 and done.out.startswith("curl -X ")
    assert "sandbox-secret" not in done.out and "sandbox-client" not in done.out
    assert "Bearer ***" in done.out or name.startswith("profiles.")
