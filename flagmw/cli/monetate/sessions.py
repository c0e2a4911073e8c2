"""`flagmw monetate sessions`: Session Stream with names beside ids."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from flagmw.admin.errors import InvalidError
from flagmw.admin.monetate.client import MonetateAdmin
from flagmw.admin.monetate.sessions.counting import NameCount, SessionReport, count_sessions
from flagmw.admin.monetate.sessions.names import Names
from flagmw.admin.monetate.sessions.output import RowWriter, format_of, report_json, report_rows, write_report
from flagmw.admin.monetate.sessions.plot import BAR, bars, save_png
from flagmw.admin.monetate.sessions.rows import readable
from flagmw.admin.monetate.sftp.stream_files import time_range
from flagmw.cli.admin.progress import Steps
from flagmw.cli.admin.session import Session
from flagmw.cli.monetate.connect import connect_sftp
from flagmw.cli.monetate.root import commands
from flagmw.cli.text import console, say, shown

SHOWN_PROBLEMS = 10
STEP_BYTES = 4 << 20


class RowFormat(StrEnum):
    """How rows are written to standard output."""

    JSON = "json"
    CSV = "csv"


@commands.command("sessions", calls=["sessions.names"], lists=True, plans=False)
def sessions(
    session: Session[MonetateAdmin],
    files: Annotated[
        list[str] | None, typer.Argument(metavar="[FILE]...", help="JSON lines, plain or gzip; - for standard input.")
    ] = None,
    by: Annotated[str | None, typer.Option(metavar="COLUMN", help="Count sessions by this column too.")] = None,
    top: Annotated[int, typer.Option(min=1, help="Rows of each kind in the table.")] = 10,
    rows: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Write each session with names: .jsonl, .csv or .parquet; - for output."),
    ] = None,
    rows_format: Annotated[RowFormat, typer.Option(help="Of --rows -.")] = RowFormat.JSON,
    column: Annotated[list[str] | None, typer.Option(help="A column to take over into --rows; may come again.")] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the counts too: .json, .csv or .parquet.")
    ] = None,
    plot: Annotated[
        str | None, typer.Option(metavar="FILE", help="Draw the ten with the most sessions: a .png file, - for text.")
    ] = None,
    names: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Take names from this file instead of the Metadata API.")
    ] = None,
    save_names: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the names down.")] = None,
    fetch: Annotated[
        str | None,
        typer.Option(metavar="FROM..TO", help="Fetch the files of this time by SFTP and read them, UTC by default."),
    ] = None,
    folder: Annotated[Path, typer.Option(metavar="FOLDER", help="Where --fetch puts files.")] = Path(),
    account: Annotated[str | None, typer.Option(help="For --fetch: the account's id; else $MONETATE_ACCOUNT.")] = None,
) -> None:
    """Count sessions by experience, page event and target, with their names."""
    if ("-" in (files or ()) and sys.stdin is None) or (rows == "-" and sys.stdout is None):
        raise InvalidError("is closed; name files instead", field="-")
    sources: list[Any] = [sys.stdin.buffer if one == "-" else one for one in files or ()]
    if rows == "-" and (plot == "-" or session.as_json or session.as_csv):
        raise InvalidError("rows go to standard output; write all other output to files", field="--rows")
    if plot not in (None, "-") and not str(plot).lower().endswith(".png"):
        raise InvalidError("let the name end with .png, or give - for text", field="--plot")
    if output is not None:
        format_of(output)
    if fetch is not None:
        sources += _fetched(session, fetch, account, folder)
    if not sources:
        raise InvalidError("name files, - for standard input, or --fetch FROM..TO", field="FILE")
    known = Names.load(names) if names is not None else session.client.sessions.names()
    if save_names is not None:
        known.save(save_names)
    with ExitStack() as stack:
        on_session = _row_writer(stack, known, rows, rows_format, column or [])
        steps = stack.enter_context(Steps("reading"))
        report = count_sessions(sources, known, by=by, on_session=on_session, on_bytes=_meter(steps, sources))
    for problem in report.problems[:SHOWN_PROBLEMS]:
        where = f"{problem.file}, line {problem.line}" if problem.line else problem.file
        say(shown(f"flagmw: {where}: {problem.reason}"), sys.stderr)
    if output is not None:
        write_report(report, output)
    if plot is not None and plot != "-":
        save_png(report, plot)
    if rows != "-":
        _print(session, report, top, bars_too=plot == "-")
    session.note(_summary(report))


def _fetched(session: Session[MonetateAdmin], fetch: str, account: str | None, folder: Path) -> list[Any]:
    begin, end = time_range(fetch)
    sftp = connect_sftp(session.settings)
    name = account or session.settings.need("account", "--account")
    with Steps("fetching") as steps:
        found = sftp.fetch(name, begin, end, folder, on_file=lambda file: steps.say(f"{file.name} fetched"))
    session.note(f"{len(found.files)} files in {folder}, {found.bytes} bytes transferred")
    return list(found.files)


def _row_writer(
    stack: ExitStack, names: Names, rows: str | None, rows_format: RowFormat, columns: list[str]
) -> Callable[[dict[str, Any]], object] | None:
    if rows is None:
        return None
    kind: Any = rows_format.value if rows == "-" else format_of(rows)
    try:
        writer = stack.enter_context(RowWriter(sys.stdout.buffer if rows == "-" else rows, kind, columns))
    except OSError as error:
        raise InvalidError(f"{rows} cannot be written: {error.strerror}", field="--rows") from None
    return lambda one: writer.write(readable(one, names, columns))


def _meter(steps: Steps, sources: list[Any]) -> Callable[[int], None]:
    """Return what shows how many bytes were read, and of how many where that is known."""
    sizes = [Path(one).stat().st_size for one in sources if isinstance(one, str | Path) and Path(one).is_file()]
    whole = sum(sizes) if len(sizes) == len(sources) else 0
    done = shown_at = 0

    def count(size: int) -> None:
        nonlocal done, shown_at
        done += size
        if done - shown_at >= STEP_BYTES:
            shown_at = done
            share = f" ({100 * done // whole} %)" if whole else ""
            steps.say(f"{done / 1e6:,.0f} MB read{share}")

    return count


def _print(session: Session[MonetateAdmin], report: SessionReport, top: int, *, bars_too: bool) -> None:
    if session.as_json:
        session.show(report_json(report))
        return
    if session.as_csv:
        session.rows(report_rows(report), ("kind", "id", "name", "variant_id", "variant", "sessions"))
        return
    _table(session, "experience", report.experiences[:top])
    if bars_too:
        blocks = (getattr(sys.stdout, "encoding", None) or "").lower().startswith("utf")
        for line in bars(report, console().width, bar=BAR if blocks else "#"):
            say(line)
    _table(session, "page event", report.page_events[:top])
    _table(session, "target", report.targets[:top])
    if report.column is not None:
        values = [{report.column: value, "sessions": count} for value, count in report.by[:top]]
        session.rows(values, (report.column, "sessions"))


def _table(session: Session[MonetateAdmin], title: str, rows: tuple[NameCount, ...]) -> None:
    session.rows(
        [
            {
                title: one.name if one.name is not None else f"{one.id} (no such id)",
                "id": one.id,
                "sessions": one.sessions,
                "variants": ", ".join(f"{part.name or part.part}: {part.sessions}" for part in one.variants),
            }
            for one in rows
        ],
        (title, "id", "sessions", *(("variants",) if title == "experience" else ())),
    )


def _summary(report: SessionReport) -> str:
    missing = ", ".join(f"{len(ids)} {kind.replace('_', ' ')}" for kind, ids in report.unmatched.items() if ids)
    text = f"{report.sessions:,} sessions, {report.broken} broken lines"
    return f"{text}, ids that nothing matches: {missing}" if missing else text
