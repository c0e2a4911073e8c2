"""Plots of the experiences with the most sessions: a PNG file, or bars of text."""

from __future__ import annotations

from pathlib import Path

from flagmw.admin.monetate.sessions.counting import SessionReport

TOP = 10
BAR = "█"


def top(report: SessionReport, count: int = TOP) -> list[tuple[str, int]]:
    """Return the experiences with the most sessions, by name; by id where none has it."""
    return [(one.name or f"experience {one.id}", one.sessions) for one in report.experiences[:count]]


def bars(report: SessionReport, width: int = 80, count: int = TOP, bar: str = BAR) -> list[str]:
    """Return lines of text with a bar for each experience.

    Args:
        width: of a line.
        bar: what bars are made of; "#" for terminals without block characters.
    """
    rows = top(report, count)
    if not rows:
        return []
    longest = min(max(len(name) for name, _ in rows), width // 2)
    most = max(sessions for _, sessions in rows)
    digits = len(f"{most:,}")
    room = max(1, width - longest - digits - 2)
    lines = []
    for name, sessions in rows:
        label = name if len(name) <= longest else f"{name[: longest - 1]}…" if bar == BAR else name[:longest]
        lines.append(f"{label:<{longest}} {bar * max(1, round(room * sessions / most))} {sessions:,}")
    return lines


def save_png(report: SessionReport, path: str | Path, count: int = TOP) -> None:
    """Write a bar chart as a PNG file.

    Raises:
        ImportError: the library for plots is not installed.
    """
    try:
        # The classes themselves: pyplot would keep every figure, and look for a display.
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("plots need matplotlib: pip install 'flagmw[plot]'") from None
    rows = top(report, count)
    figure = Figure(figsize=(9, 1 + 0.4 * max(len(rows), 1)), layout="tight")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    # A dollar sign would begin a formula.
    names = [name.replace("$", r"\$") for name, _ in rows]
    places = list(range(len(rows)))
    drawn = axes.barh(places, [sessions for _, sessions in rows])
    axes.set_yticks(places, names)
    axes.bar_label(drawn, fmt="{:,.0f}", padding=3)
    axes.margins(x=0.12)  # room for the longest bar's number
    axes.invert_yaxis()
    axes.set_xlabel("sessions")
    axes.set_title(f"Experiences with the most sessions, of {report.sessions:,}")
    figure.savefig(str(path), dpi=100, format="png")
