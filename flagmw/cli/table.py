"""Tables whose words stay whole at any width of the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich import box
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from flagmw.cli.text import cell, console

# What a column takes beside its text: a space on both sides, and a line.
_BESIDE = 3


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str = "") -> int:
    """Print *rows* below *columns*, and return how many there are.

    Nothing is cut off. What does not fit goes on in the next line, a heading between its words only. Where the terminal
    is too narrow for the headings, each row is a block of lines with a heading and a text.

    Args:
        rows: cells, as anything that has a text, or as a `Text` with a style.
    """
    cells = [[each if isinstance(each, Text) else cell(each) for each in row] for row in rows]
    out = console(wide=True)
    widths = _widths(columns, cells, out.width - 1 - _BESIDE * len(columns))
    if widths is None:
        if title:
            out.print(cell(title), style="bold")
        for number, row in enumerate(cells):
            out.print(*[""] * bool(number), _block(columns, row), sep="\n")
        if not cells:
            out.print(cell(", ".join(columns)), style="bold")
        return len(cells)
    table = Table(title=cell(title) if title else None, title_justify="left", box=box.HEAVY_HEAD)
    for heading, width in zip(columns, widths, strict=True):
        table.add_column(heading, width=width, overflow="fold")
    for row in cells:
        table.add_row(*row)
    out.print(table)
    return len(cells)


def _block(columns: Sequence[str], row: Sequence[Text]) -> Table:
    block = Table(show_header=False, box=None, pad_edge=False)
    block.add_column(no_wrap=True, style="bold")
    block.add_column(overflow="fold")
    for heading, text in zip(columns, row, strict=False):
        if text.plain:
            block.add_row(heading, text)
    return block


def _widths(columns: Sequence[str], cells: Sequence[Sequence[Text]], room: int) -> list[int] | None:
    """Return the width of each column's text; None where not even the words of the headings fit."""
    least = [max(cell_len(word) for word in heading.split()) for heading in columns]
    if sum(least) > room:
        return None
    widths = [
        min(room, max(map(cell_len, [heading, *(_longest_line(row, index) for row in cells)])))
        for index, heading in enumerate(columns)
    ]
    while sum(widths) > room:
        # The widest one gives way first; a narrow column stays as it is.
        widest = max((index for index in range(len(widths)) if widths[index] > least[index]), key=widths.__getitem__)
        widths[widest] -= 1
    return widths


def _longest_line(row: Sequence[Text], index: int) -> str:
    """Return the longest line of a cell."""
    return max(row[index].plain.split("\n"), key=cell_len) if index < len(row) else ""
