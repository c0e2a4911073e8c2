"""The `flagmw` command and its subcommands."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import Annotated, Any

try:
    import typer
    from rich.table import Table
    from rich.text import Text
except ImportError as error:
    raise ImportError(
        "the flagmw command needs its extra: pip install 'flagmw[cli]'; to manage vendors, 'flagmw[cli,admin]'"
    ) from error

from flagmw._cookies import header as cookie_header
from flagmw.cli import outbox as cli_outbox
from flagmw.cli import override
from flagmw.cli import shadow as cli_shadow
from flagmw.cli.common import (
    FAILED,
    SAMPLE_URL,
    WRONG,
    ConfigOption,
    JsonOption,
    Runtime,
    SandboxOption,
    fail,
)
from flagmw.cli.deliver import deliver
from flagmw.cli.lazy import add_module
from flagmw.cli.open_outbox import purge
from flagmw.cli.text import cell, console, mended_streams, say, say_json, shown
from flagmw.exceptions import ConfigError, FlagmwError
from flagmw.flags.flags import Flags
from flagmw.runtime import Flagmw
from flagmw.types import Variant, Visit

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_show_locals=False)
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

CookieOption = Annotated[
    list[str] | None,
    typer.Option("--cookie", "-b", help='A cookie the visitor carries, "name=value", or a whole Cookie header.'),
]


@app.command()
def sandbox(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8765,
    scenario: Annotated[str | None, typer.Option(help="A scenario's TOML file, or the name of one that ships.")] = None,
    seed: Annotated[int | None, typer.Option(help="Make assignments the same in every run.")] = None,
    allow_remote: Annotated[bool, typer.Option(help="Listen beyond this machine.")] = False,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="A further name by which it, and pages that use it, are reached.")
    ] = None,
    control_token: Annotated[
        str | None, typer.Option(help="Let only those change it who send this in the header Sandbox-Token.")
    ] = None,
) -> None:
    """Run an emulator of the vendors, to develop and test without an account."""
    try:
        from flagmw.sandbox import server
    except ImportError as error:
        fail(str(error))
    say(f"sandbox on http://{host}:{port}; ledger at http://{host}:{port}/__sandbox__/ledger; Ctrl-C ends it")
    try:
        server.serve(
            host,
            port,
            scenario,
            seed=seed,
            allow_remote=allow_remote,
            allow_hosts=allow_host or (),
            control_token=control_token,
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
    sandbox: SandboxOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask the vendors once what a visitor would get. Exit code 1 when a vendor failed."""
    runtime = Runtime(config, sandbox)
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
    sandbox: SandboxOption = None,
    as_json: JsonOption = False,
) -> None:
    """Report what a visitor did, and wait until the vendors have it. Exit code 1 when they have not."""
    with Runtime(config, sandbox) as fm:
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
        say("not taken: the visitor is in no such test, or the data is bad", sys.stderr)
    else:
        say("  ".join(f"{name} {value}" for name, value in document.items()))
    if not delivered or stats.delivered < stats.accepted:
        raise typer.Exit(FAILED)


@app.command()
def doctor(
    config: ConfigOption = None,
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
        fm = Runtime(config, sandbox, debug=False).unstarted
    except ConfigError as error:
        findings = [Finding("FAIL", "configuration", str(error))]
    else:
        findings = examine(fm, site=site, recorded=not no_decide)
        fm.close(1.0)
    if as_json:
        say_json(to_json(findings))
    else:
        say(render(findings))
    raise typer.Exit(exit_code(findings))


def main() -> None:
    """Run the command; a wrong configuration is one line, not a traceback."""
    with mended_streams():
        try:
            app()
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
    out = console()
    table = Table("alias", "variant", "reason", "vendor", "experiment")
    for variant in variants:
        row = (variant.alias, variant.key, variant.reason, variant.vendor or "", variant.experiment_id or "")
        table.add_row(*map(cell, row))
    for alias in flags.missed:
        missed = flags.variant(alias)
        dim = Text(shown(missed.key), style="dim")
        table.add_row(cell(alias), dim, f"{missed.reason} {missed.error_code}", "", "")
    out.print(table)
    code = f"; {flags.error_code}" if flags.error_code else ""
    out.print(f"{len(variants)} decided, {len(flags.set_cookies)} cookies to set, {elapsed_ms:.0f} ms{code}")
