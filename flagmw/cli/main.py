"""The `flagmw` command and its subcommands."""

from __future__ import annotations

import dataclasses
import json
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

try:
    import typer
    from rich.text import Text
except ImportError as error:
    raise ImportError(
        "the flagmw command needs its extra: pip install 'flagmw[cli]'; to manage vendors, 'flagmw[cli,admin]'"
    ) from error

from flagmw import __version__
from flagmw._cookies import header as cookie_header
from flagmw.cli import outbox as cli_outbox
from flagmw.cli import override
from flagmw.cli import shadow as cli_shadow
from flagmw.cli.common import (
    FAILED,
    SAMPLE_URL,
    WRONG,
    AppOption,
    ConfigOption,
    JsonOption,
    Runtime,
    SandboxOption,
    fail,
)
from flagmw.cli.deliver import deliver
from flagmw.cli.lazy import add_module
from flagmw.cli.open_outbox import purge
from flagmw.cli.table import print_table
from flagmw.cli.text import cell, console, mended_streams, say, say_json, shown
from flagmw.exceptions import ConfigError, FlagmwError
from flagmw.flags.flags import Flags
from flagmw.runtime import Flagmw
from flagmw.types import Variant, Visit

app = typer.Typer(no_args_is_help=True, pretty_exceptions_show_locals=False)
app.add_typer(cli_shadow.app, name="shadow")

app.command()(deliver)
app.command()(purge)
app.add_typer(cli_outbox.app, name="outbox")
app.add_typer(override.app, name="override")
add_module(
    app, "adobe", "flagmw.cli.adobe.app", "Manage Adobe Target: activities, offers, audiences, reports, profiles."
)
add_module(
    app,
    "contentstack",
    "flagmw.cli.contentstack.app",
    "Manage Contentstack Personalize: attributes, audiences, events, experiences, analytics.",
)
add_module(app, "monetate", "flagmw.cli.monetate.app", "Manage Monetate: names of ids, datasets, Session Stream.")

_COLOURS = {"OK": "green", "WARN": "yellow", "FAIL": "red"}

CookieOption = Annotated[
    list[str] | None,
    typer.Option("--cookie", "-b", help='A cookie the visitor carries, "name=value", or a whole Cookie header.'),
]


def _print_version(asked: bool) -> None:
    if asked:
        say(f"flagmw {__version__} (Python {platform.python_version()})")
        raise typer.Exit


@app.callback()
def _flagmw(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Develop with vendors' tests, examine a set-up, see to its outbox, and manage vendors."""


@app.command()
def sandbox(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8765,
    scenario: Annotated[str | None, typer.Option(help="A scenario's TOML file, or the name of one that ships.")] = None,
    seed: Annotated[int | None, typer.Option(help="Make assignments the same in every run.")] = None,
    allow_remote: Annotated[bool, typer.Option(help="Listen beyond this machine.")] = False,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="A further name by which it, and pages that use it, are reached.")
    ] = None,
    control_token: Annotated[
        str | None, typer.Option(help="Let only those change it who send this in the header Sandbox-Token.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the address alone, nothing to paste.")] = False,
) -> None:
    """Run an emulator of the vendors, to develop and test without an account.

    It prints a configuration for each vendor, and an application for each framework, to paste.
    """
    try:
        from flagmw.sandbox import paste, server
        from flagmw.sandbox import scenario as scenarios
    except ImportError as error:
        fail(str(error))
    served = scenarios.load_scenario(scenarios.QUICKSTART if scenario is None else scenario)

    def told(url: str) -> None:
        if not quiet:
            say(paste.text(served, url))
        say(f"sandbox on {url}; ledger at {url}/__sandbox__/ledger; Ctrl-C ends it")

    try:
        server.serve(
            host,
            port,
            served,
            seed=seed,
            allow_remote=allow_remote,
            allow_hosts=allow_host or (),
            control_token=control_token,
            ready=told,
        )
    except OSError as error:
        fail(f"cannot listen on {host} port {port}: {error.strerror}")


@app.command()
def decide(
    url: Annotated[str, typer.Argument(help="The page that the visitor is on.")],
    cookie: CookieOption = None,
    user_agent: Annotated[str | None, typer.Option(help="The visitor's browser.")] = None,
    client_ip: Annotated[str | None, typer.Option(help="The visitor's address, sent as it is.")] = None,
    user_id: Annotated[str | None, typer.Option(help="The site's own id of the visitor.")] = None,
    data: Annotated[list[str] | None, typer.Option("--data", "-d", help='An attribute, "name=value".')] = None,
    save: Annotated[Path | None, typer.Option(help="Keep the visitor in this file, for `flagmw track`.")] = None,
    config: ConfigOption = None,
    app_path: AppOption = None,
    sandbox: SandboxOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask the vendors once what a visitor would get. Exit code 1 when a vendor failed."""
    runtime = Runtime(config, sandbox, app_path)
    with runtime as fm:
        visit = Visit(
            url=url,
            secure=url.startswith("https:"),
            user_agent=user_agent,
            client_ip=client_ip,
            user_id=user_id,
            data=_pairs(data),
            cookies=_jar(fm, cookie),
            now=time.time(),
        )
        started = time.perf_counter()
        flags = fm.decide(visit)
        elapsed_ms = (time.perf_counter() - started) * 1000
        if save is not None:
            try:
                save.touch(0o600)
                save.write_bytes(flags.save())
            except OSError as error:
                fail(f"cannot write {str(save)!r}: {error.strerror}")
    aliases = list(flags.items())
    variants = [flags.variant(alias) for alias, _ in aliases]
    if as_json:
        say_json(_document(flags, variants, elapsed_ms))
    else:
        _print(flags, variants, elapsed_ms)
    # An answer such as "no test here" has a code too, and is no failure.
    if runtime.failed:
        raise typer.Exit(FAILED)


@app.command()
def track(
    metric: Annotated[str, typer.Argument(help="The metric's name (Webtrends: the conversion point).")],
    visitor: Annotated[Path | None, typer.Option(help="A file that `flagmw decide --save` wrote.")] = None,
    cookie: CookieOption = None,
    url: Annotated[str, typer.Option(help="The page, when the visitor is given by cookies.")] = SAMPLE_URL,
    alias: Annotated[
        list[str] | None, typer.Option(help="A test it counts for; all that the visitor is in if none.")
    ] = None,
    data: Annotated[list[str] | None, typer.Option("--data", "-d", help='Custom data, "name=value".')] = None,
    key: Annotated[str | None, typer.Option(help="The business key, such as an order number.")] = None,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for the delivery.")] = 10.0,
    config: ConfigOption = None,
    app_path: AppOption = None,
    sandbox: SandboxOption = None,
    as_json: JsonOption = False,
) -> None:
    """Report what a visitor did, and wait until the vendors have it. Exit code 1 when they have not."""
    with Runtime(config, sandbox, app_path) as fm:
        try:
            who = (
                visitor.read_bytes()
                if visitor is not None
                else Visit(url=url, cookies=_jar(fm, cookie), now=time.time())
            )
            id = fm.track(metric, visitor=who, data=_pairs(data), aliases=alias, key=key)
        except (OSError, ValueError) as error:
            fail(str(error))
        delivered = fm.flush(timeout) if id is not None else False
        stats = fm.outbox_stats()
    document = {
        "id": id,
        "accepted": stats.accepted,
        "delivered": stats.delivered,
        "queued": stats.queued,
        "dead": stats.dead,
        "dropped": {code.value: n for code, n in stats.dropped.items()},
    }
    if as_json:
        say_json(document)
    elif id is None:
        say("not tracked: the visitor is in no such test, or the data is invalid", sys.stderr)
    else:
        say("  ".join(f"{name} {value}" for name, value in document.items()))
    if not delivered or stats.delivered < stats.accepted:
        raise typer.Exit(FAILED)


@app.command()
def doctor(
    config: ConfigOption = None,
    app_path: AppOption = None,
    sandbox: SandboxOption = None,
    site: Annotated[
        str | None, typer.Option(metavar="URL", help="A page as visitors see it, to check cookies and proxies against.")
    ] = None,
    no_decide: Annotated[
        bool, typer.Option("--no-decide", help="Ask no vendor that records a page view with each decision (Monetate).")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Examine the set-up: options, vendors, outbox, cookies, proxies. Exit code 1 when anything fails."""
    from flagmw.doctor import Finding, examine, exit_code, render, to_json

    try:
        fm = Runtime(config, sandbox, app_path, debug=False).unstarted
    except ConfigError as error:
        findings = [Finding("FAIL", "configuration", str(error))]
    else:
        findings = examine(fm, site=site, recorded=not no_decide)
        fm.close(1.0)
    if as_json:
        say_json(to_json(findings))
    else:
        out = console()
        for line in render(findings).splitlines():
            level = line.partition(" ")[0]
            out.print(cell(line), style=_COLOURS.get(level), soft_wrap=True)
    raise typer.Exit(exit_code(findings))


def main(arguments: Sequence[str] | None = None, program: str = "flagmw") -> None:
    """Run the command; what is wrong with its set-up is one line, not a traceback.

    Args:
        arguments: those of the process where omitted.
        program: what help and errors call the command.
    """
    with mended_streams():
        try:
            app(args=arguments, prog_name=program)
        except FlagmwError as error:
            say(f"flagmw: {shown(error)}", sys.stderr)
            sys.exit(WRONG)


def _jar(fm: Flagmw, cookies: list[str] | None) -> dict[str, str]:
    parsed_cookies = cookie_header.read(["; ".join(cookies or ())], [vendor.cookies for vendor in fm.config.vendors])
    return {name: value for cookies_of_vendor in parsed_cookies.own for name, value in cookies_of_vendor.items()}


def _pairs(pairs: list[str] | None) -> dict[str, Any]:
    """Read "name=value" pairs; numbers and true/false become what they look like."""
    read: dict[str, Any] = {}
    for pair in pairs or ():
        name, equals, text = pair.partition("=")
        if not equals:
            fail(f'{pair!r} is not "name=value"')
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        read[name] = value if isinstance(value, str | int | float | bool) else text
    return read


def _document(flags: Flags, variants: list[Variant], elapsed_ms: float) -> dict[str, Any]:
    return {
        "flags": dict(flags),
        "error_code": flags.error_code,
        "misses": {alias: flags.variant(alias).error_code for alias in flags.missed},
        "variants": [
            {
                **{
                    f.name: getattr(variant, f.name)
                    for f in dataclasses.fields(variant)
                    if f.name not in ("factors", "ids")
                },
                "factors": [factor._asdict() for factor in variant.factors],
                "ids": dict(variant.ids),
            }
            for variant in variants
        ],
        "set_cookies": list(flags.set_cookies),
        "elapsed_ms": round(elapsed_ms, 1),
    }


def _print(flags: Flags, variants: list[Variant], elapsed_ms: float) -> None:
    rows: list[tuple[object, ...]] = [
        (variant.alias, variant.key, variant.reason, variant.vendor or "", variant.experiment_id or "")
        for variant in variants
    ]
    for alias in flags.missed:
        missed = flags.variant(alias)
        rows.append((alias, Text(shown(missed.key), style="dim"), f"{missed.reason} {missed.error_code}", "", ""))
    print_table(("alias", "variant", "reason", "vendor", "experiment"), rows)
    code = f"; {flags.error_code}" if flags.error_code else ""
    say(f"{len(variants)} decided, {len(flags.set_cookies)} cookies to set, {elapsed_ms:.0f} ms{code}")
