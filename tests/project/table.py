"""Rewrite the table of faults in tests/README.md from the names of the tests; notes stay.

python -m tests.project.table
"""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
README = TESTS / "README.md"
FAMILIES = {"U": 34, "V": 20, "I": 32, "P": 31, "R": 13, "A": 32}
FAULTS = [f"{kind}{n}" for kind, end in FAMILIES.items() for n in range(1, end + 1)]
ROW = re.compile(r"^\| ([UVIPRA]\d+) \| ([^|]*)\| ([^|]*)\|$", re.MULTILINE)


def named_in(path: Path) -> set[str]:
    """Return the faults that names of tests in *path*, or keys of its tables, begin or go on with."""
    text = path.read_text("utf-8")
    names = re.findall(r"def test_(\w+)", text)
    return {fault for name in names for fault in re.findall(r"(?:^|_)([UVIPRA]\d+)(?=_|$)", name)} | set(
        re.findall(r'"([UVIPRA]\d+)_', text)
    )


def places() -> dict[str, list[str]]:
    """Return the files that test each fault."""
    found: dict[str, list[str]] = {fault: [] for fault in FAULTS}
    for path in sorted(TESTS.rglob("*.py")):
        if "official_clients" not in path.parts:
            for fault in named_in(path) & found.keys():
                found[fault].append(path.relative_to(TESTS).as_posix())
    return found


def written(text: str) -> str:
    """Return *text*, the README's, with the table as it should be."""
    notes = {fault: note.strip() for fault, _, note in ROW.findall(text)}
    found = places()

    def row(fault: str) -> str:
        note = notes.get(fault, "")
        if found[fault] and note.startswith("waits for: "):
            note = ""
        return f"| {fault} | {', '.join(found[fault])}{' ' if found[fault] else ''}| {note}{' ' if note else ''}|"

    *_, last_row = first_row, *_ = list(ROW.finditer(text))
    first, last = first_row.start(), last_row.end()
    text = text[:first] + "\n".join(map(row, FAULTS)) + text[last:]
    tested = sum(1 for files in found.values() if files)
    return re.sub(
        r"^\d+ of \d+ are tested[^\n]*$",
        f"{tested} of {len(FAULTS)} are tested; {len(FAULTS) - tested} wait for what is named.",
        text,
        flags=re.MULTILINE,
    )


if __name__ == "__main__":
    README.write_text(written(README.read_text("utf-8")), "utf-8")
