"""`flagmw override mint`: links, cookies and headers for testers."""

from __future__ import annotations

import json
import time
from typing import Annotated, Any
from urllib.parse import quote, urlsplit

import typer

from flagmw._support.link_token import OVERRIDE
from flagmw._web.overrides import HEADER, Override, mint
from flagmw.cli.common import AppOption, ConfigOption, JsonOption, configured, fail
from flagmw.cli.text import say, say_json

app = typer.Typer(no_args_is_help=True, help="Choose variants by a signed token, for quality assurance.")


@app.callback()
def _group() -> None:
    """Keep `mint` a command of its own although it is the only one."""


@app.command("mint")
def mint_token(
    url: Annotated[str, typer.Argument(help="A page of the site; the token works on its host only.")],
    flag: Annotated[
        list[str] | None, typer.Option("--flag", "-f", help='A variant to be given, "alias=variant".')
    ] = None,
    staging: Annotated[bool, typer.Option(help="Ask vendors for tests in staging.")] = False,
    preview: Annotated[
        list[str] | None, typer.Option(help='A vendor\'s own preview, "vendor={...}" with its parameters as JSON.')
    ] = None,
    hours: Annotated[float, typer.Option(help="How long it works.")] = 8.0,
    config: ConfigOption = None,
    app_path: AppOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make an override token, and show it as a link, a cookie and a header.

    Whoever has it sees these variants until it runs out; nothing they do is reported to vendors.
    """
    fm = configured(config, app_path)
    host = urlsplit(url).hostname
    if not host:
        fail(f"{url!r} names no host: give a page such as https://www.mysite.com/checkout")
    if not fm.config.signing_keys:
        fail("overrides are signed: set signing_keys in the configuration")
    if not fm.config.overrides:
        fail("the site accepts no overrides: set overrides = true in the configuration")
    now = time.time()
    chosen = Override(
        variants=dict(_pair(part) for part in flag or ()),
        staging=staging,
        preview=dict(_preview(part, [vendor.name for vendor in fm.config.vendors]) for part in preview or ()),
        until=now + hours * 3600,
    )
    try:
        token = mint(fm.config.signing_keys, chosen, host.lower(), now)
    except ValueError as error:
        fail(str(error))
    separator = "&" if urlsplit(url).query else "?"
    outputs = {
        "link": f"{url}{separator}{OVERRIDE}={quote(token)}",
        "cookie": f"{OVERRIDE}={token}",
        "header": f"{HEADER.title()}: {token}",
        "works_until": time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(chosen.until)),
        "off": f"{url}{separator}{OVERRIDE}=off",
    }
    if as_json:
        say_json(outputs)
    else:
        for name, text in outputs.items():
            say(f"{name:12} {text}")


def _pair(text: str) -> tuple[str, str]:
    alias, equals, variant = text.partition("=")
    if not equals:
        fail(f'{text!r} is not "alias=variant"')
    return alias, variant


def _preview(text: str, vendors: list[str]) -> tuple[str, dict[str, Any]]:
    vendor, parameters = _pair(text)
    if vendor not in vendors:
        fail(f"no vendor is named {vendor!r}; there are: {', '.join(vendors)}")
    try:
        document = json.loads(parameters)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        fail(f"the preview of {vendor!r} must be a JSON object")
    return vendor, document
