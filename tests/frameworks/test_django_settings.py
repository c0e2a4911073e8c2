"""Settings, system checks and templates of Django."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpResponse
from django.shortcuts import render
from django.template import Context, engines

from flagmw import Flagmw, Static
from flagmw.django import FlagsMiddleware, from_settings
from flagmw.exceptions import ConfigError
from tests.contracts.edges.driver import TOKEN, Make
from tests.frameworks.sites import OURS, DjangoAsgi, DjangoWsgi

UPDATE = "django.middleware.cache.UpdateCacheMiddleware"
OPTIONS = {"vendors": [{"type": "static", "flags": {"ta_A": "b"}}], "defaults": {"ta_Z": "calm"}}
MADE = Flagmw(vendors=[Static(flags={"ta_A": "b"})])
HERE = __name__
Site = DjangoWsgi | DjangoAsgi


class Derived(FlagsMiddleware):
    """What a site may make of our middleware."""


@pytest.mark.parametrize("setting", [OPTIONS, MADE, f"{HERE}.OPTIONS", f"{HERE}.MADE"], ids=str)
def test_setting(django_site: Site, setting: Any) -> None:
    """FLAGMW may be options, a `Flagmw`, or the path of either; there is one `Flagmw` for all handlers."""
    app = django_site.project(lambda request: HttpResponse(request.flags["ta_A"]), MIDDLEWARE=[OURS], FLAGMW=setting)
    assert django_site.get(app).body == b"b"
    fm = from_settings()
    django_site.handler()
    assert from_settings() is fm
    assert (fm is MADE) == (setting is MADE or setting == f"{HERE}.MADE")
    django_site.close(fm)


SECRET = {"type": "webtrends", "domain_id": 1, "key_token": TOKEN, "url": "https://a.test", "exposur": "off"}
WRONG = {
    "missing": (None, "flagmw.E001", "is missing"),
    "a wrong type": (["a"], "flagmw.E001", "is of type list"),
    "no such module": ("shop.nowhere.fm", "flagmw.E001", "cannot be imported: No module named 'shop"),
    "no such name": (f"{HERE}.nothing", "flagmw.E001", 'does not define a "nothing"'),
    "an unknown option": ({"deadlin_ms": 3}, "flagmw.E002", "did you mean 'deadline_ms'"),
    "a wrong value": ({"deadline_ms": "s3cret"}, "flagmw.E002", "deadline_ms must be a whole number"),
    "a wrong vendor option": ({"vendors": [SECRET]}, "flagmw.E002", "did you mean 'exposure'"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_A31_wrong_setting(kind: str) -> None:
    """A check names what is wrong and the cure, without the value; the server does not start either."""
    setting, code, text = WRONG[kind]
    with DjangoWsgi() as site:
        site.configure(MIDDLEWARE=[OURS], FLAGMW=setting)
        (found,) = run_checks()
        assert (found.id, found.is_serious()) == (code, True)
        assert text in found.msg
        assert TOKEN not in found.msg and "s3cret" not in found.msg
        with pytest.raises((ConfigError, ImproperlyConfigured)) as caught:
            site.handler()
        assert str(caught.value) in found.msg


ORDERS = {
    "right": ([UPDATE, OURS], []),
    "above the cache": ([OURS, UPDATE], ["flagmw.W001"]),
    "derived, above the cache": ([f"{HERE}.Derived", UPDATE], ["flagmw.W001"]),
    "twice": ([OURS, OURS], ["flagmw.W002"]),
    "twice, around the cache": ([OURS, UPDATE, OURS], ["flagmw.W001", "flagmw.W002"]),
    "not at all": ([UPDATE], ["flagmw.W003"]),
    "beside what cannot be imported": ([OURS, "shop.nowhere.Middleware"], []),
}


@pytest.mark.parametrize("kind", ORDERS)
def test_wrong_order(kind: str) -> None:
    """A check names each wrong order of the middleware."""
    middleware, codes = ORDERS[kind]
    with DjangoWsgi() as site:
        site.configure(MIDDLEWARE=middleware, FLAGMW=MADE)
        found = run_checks()
        assert [message.id for message in found] == codes
        assert all(message.hint and not message.is_serious() for message in found)


def test_wrong_order_is_logged_at_the_start(caplog: pytest.LogCaptureFixture) -> None:
    """Servers run no checks, so that a wrong order is in their log."""
    with DjangoWsgi() as site, caplog.at_level(logging.WARNING, "flagmw"):
        site.project(lambda request: HttpResponse(), MIDDLEWARE=[OURS, UPDATE], FLAGMW=MADE)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("flagmw.W001: FlagsMiddleware stands above UpdateCacheMiddleware")
    assert line.endswith("Move FlagsMiddleware below it.")


def test_checks_are_silent_where_flagmw_is_not_used() -> None:
    """A project that does not mount us hears nothing from us."""
    with DjangoWsgi() as site:
        site.configure(MIDDLEWARE=[])
        assert run_checks() == []


def test_app_is_only_for_checks() -> None:
    """ "flagmw.django" may be among the INSTALLED_APPS; it has no models, and nothing to complain of."""
    with DjangoWsgi() as site:
        site.configure(INSTALLED_APPS=["flagmw.django"], MIDDLEWARE=[OURS], FLAGMW=MADE)
        assert run_checks() == []


# Templates.

PAGES = {
    "{{ request.flags.ta_A }}": "b",
    "{{ request.flags.ta_Nobody }}": "control",
    "{{ request.flags.ta_Z }}": "calm",
    "{% for alias, variant in request.flags.items %}{{ alias }}={{ variant }};{% endfor %}": "ta_A=b;exp:b=&lt;c&gt;;",
    '{% if request.flags.ta_A == "b" %}yes{% endif %}': "yes",
    '{% load flagmw %}{% flag "exp:b" %}': "&lt;c&gt;",
    '{% load flagmw %}{% flag "exp:b" as variant %}{{ variant|length }}': "3",
    '{% load flagmw %}{% flag "ta_Nobody" %}': "control",
    '{% load flagmw %}{% flag "items" %}': "control",
}


def templates(**options: Any) -> list[dict[str, Any]]:
    sources = {f"page{n}": source for n, source in enumerate(PAGES)}
    loaders = [("django.template.loaders.locmem.Loader", sources)]
    used = {"loaders": loaders, "libraries": {"flagmw": "flagmw.django"}, **options}
    return [{"BACKEND": "django.template.backends.django.DjangoTemplates", "OPTIONS": used}]


@pytest.mark.parametrize("is_given", [True, False], ids=["context processor", ""])
@pytest.mark.parametrize("source", PAGES)
def test_templates(django_site: Site, make: Make, source: str, is_given: bool) -> None:
    """Templates read flags by attribute, and by tag what they cannot spell; what vendors send is escaped."""
    if not is_given and "load" not in source:
        return  # Django gives `request` to templates through its context processor only
    processors = ["django.template.context_processors.request"] if is_given else []
    name = f"page{list(PAGES).index(source)}"
    fm = make(vendors=[Static(flags={"ta_A": "b", "exp:b": "<c>"})], defaults={"ta_Z": "calm"})
    app = django_site.project(
        lambda request: render(request, name),
        MIDDLEWARE=[OURS],
        FLAGMW=fm,
        TEMPLATES=templates(context_processors=processors),
    )
    page = django_site.get(app)
    assert page.body.decode() == PAGES[source]
    assert page.values("cache-control") == ["private"]


def test_template_without_a_request() -> None:
    """A template that is rendered for no request, such as a mail, gets defaults from the tag."""
    with DjangoWsgi() as site:
        site.configure(TEMPLATES=templates())
        template = engines["django"].from_string('{% load flagmw %}{% flag "ta_A" %}')
        assert template.render({}) == "control"
        assert template.template.render(Context()) == "control"  # type: ignore[attr-defined]


def test_template_that_reads_no_flag_stays_public(django_site: Site, make: Make, everyone_b: Static) -> None:
    """The request is in every template's context; only one that reads flags makes the page private."""
    processors = ["django.template.context_processors.request"]
    app = django_site.project(
        lambda request: HttpResponse(engines["django"].from_string("{{ request.path }}").render({}, request)),
        MIDDLEWARE=[OURS],
        FLAGMW=make(vendors=[everyone_b]),
        TEMPLATES=templates(context_processors=processors),
    )
    page = django_site.get(app, "/a")
    assert (page.body, page.values("cache-control"), page.values("vary")) == (b"/a", [], [])
