"""Configurations and applications to paste, which use a sandbox."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from flagmw.sandbox.contentstack.routes import BASE as CONTENTSTACK
from flagmw.sandbox.monetate.routes import BASE as MONETATE
from flagmw.sandbox.scenario import Scenario
from flagmw.sandbox.webtrends.request import BASE as WEBTRENDS

Table = Mapping[str, Any]

FASTAPI = """\
from fastapi import FastAPI
from flagmw import Flagmw
from flagmw.fastapi import FlagsDep, FlagsMiddleware

fm = Flagmw.from_mapping(file="flagmw.toml")
app = FastAPI()
app.add_middleware(FlagsMiddleware, flagmw=fm)


@app.get("/")
def page(flags: FlagsDep) -> dict[str, str]:
    return {"@alias@": flags["@alias@"]}
"""

FLASK = """\
from flagmw import Flagmw
from flagmw.flask import init_app, request
from flask import Flask

fm = Flagmw.from_mapping(file="flagmw.toml")
app = Flask(__name__)
init_app(app, fm)


@app.get("/")
def page() -> dict[str, str]:
    return {"@alias@": request.flags["@alias@"]}
"""

DJANGO_SETTINGS = """\
from flagmw import Flagmw

INSTALLED_APPS += ["flagmw.django"]  # python manage.py flagmw doctor
MIDDLEWARE += ["flagmw.django.FlagsMiddleware"]
FLAGMW = Flagmw.from_mapping(file=BASE_DIR / "flagmw.toml")
"""

DJANGO_URLS = """\
from django.http import JsonResponse
from django.urls import path


def page(request):
    return JsonResponse({"@alias@": request.flags["@alias@"]})


urlpatterns += [path("", page)]
"""


def text(scenario: Scenario, url: str) -> str:
    """Return what a newcomer pastes to use the sandbox at *url*, in sections that begin with "=== "."""
    tables = vendors(scenario, url)
    if not tables:
        return ""
    alias = _alias(tables)
    sections = {
        "flagmw.toml (keep the vendors that you need; the first one that knows a test decides it)": toml(tables),
        "or variables in place of the file; then write Flagmw.from_mapping() below": environment(tables),
        "FastAPI: shop.py; pip install 'flagmw[fastapi]' uvicorn; uvicorn shop:app": FASTAPI,
        "Flask: shop.py; pip install 'flagmw[flask]'; flask --app shop run": FLASK,
        "Django: at the end of settings.py; pip install 'flagmw[django]'": DJANGO_SETTINGS,
        "Django: at the end of urls.py; python manage.py runserver": DJANGO_URLS,
    }
    return "\n".join(f"=== {title} ===\n{body.replace('@alias@', alias)}" for title, body in sections.items())


def vendors(scenario: Scenario, url: str) -> list[tuple[Table, list[str]]]:
    """Return each account as a table of `vendors`, with the aliases of its tests."""
    found: list[tuple[dict[str, Any], list[str]]] = []
    for wt in scenario.webtrends:
        place = next((location.url for location in wt.locations if location.match != "regex"), None)
        site = place or f"https://www.{wt.cookie_domain.lstrip('.')}"
        options = {"domain_id": wt.domain_id, "key_token": wt.key_token, "url": site, "base_url": url + WEBTRENDS}
        found.append(({"type": "webtrends", **options}, [project.alias for project in wt.projects]))
    for adobe in scenario.adobe:
        mboxes = list(dict.fromkeys(activity.mbox for activity in adobe.activities))
        options = {"client": adobe.client, "mboxes": mboxes, "org_id": adobe.org_id, "base_url": url}
        found.append(({"type": "adobe_target", **options}, mboxes))
    for monetate in scenario.monetate:
        options = {"retailer": monetate.retailer, "channel": monetate.channel, "base_url": url + MONETATE}
        found.append(({"type": "monetate", **options}, [experience.alias for experience in monetate.experiences]))
    for project in scenario.contentstack:
        aliases = {each.short_uid: _named(each.name or each.short_uid) for each in project.experiences}
        options = {"project_uid": project.project_uid, "aliases": aliases, "base_url": url + CONTENTSTACK}
        found.append(({"type": "contentstack", **options}, list(aliases.values())))
    kinds = [table["type"] for table, _ in found]
    for number, (table, _) in enumerate(found):
        # Several accounts of one vendor need names of their own.
        if kinds.count(table["type"]) > 1:
            table["name"] = f"{table['type']}_{kinds[: number + 1].count(table['type'])}"
    return [({name: value for name, value in table.items() if value is not None}, tests) for table, tests in found]


def toml(tables: Sequence[tuple[Table, list[str]]]) -> str:
    """Return the tables as a configuration file."""
    lines = []
    for table, aliases in tables:
        lines += ["[[vendors]]", *(f"{name} = {_toml_value(value)}" for name, value in table.items())]
        lines += [f"# its tests: {', '.join(aliases)}" if aliases else "# it has no tests", ""]
    return "\n".join(lines)


def environment(tables: Sequence[tuple[Table, list[str]]]) -> str:
    """Return the tables as lines for a shell."""
    return "\n".join(line for table, _ in tables for line in _variables(table)) + "\n"


def _variables(table: Table) -> Iterator[str]:
    name = str(table.get("name", table["type"])).upper()
    for option, value in table.items():
        if option != "name":
            yield f"export FLAGMW_VENDORS__{name}__{option.upper()}={shlex.quote(_variable_text(value))}"


def _variable_text(value: object) -> str:
    return json.dumps(value) if isinstance(value, dict | list) else str(value)


def _toml_value(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {_toml_value(each)}" for key, each in value.items()) + " }"
    return json.dumps(value)


def _named(name: str) -> str:
    return "ta_" + re.sub(r"\W+", "_", name, flags=re.ASCII)


def _alias(tables: Sequence[tuple[Table, list[str]]]) -> str:
    """Return the test that the sample pages read."""
    aliases = [alias for _, tests in tables for alias in tests]
    plain = [alias for alias in aliases if re.fullmatch(r"\w+", alias)]
    return "ta_Checkout" if "ta_Checkout" in plain or not plain else plain[0]
