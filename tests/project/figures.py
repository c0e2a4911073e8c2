"""Figures of the package's layout, for this checkout or for revisions.

python -m tests.project.figures                    the files as they are here
python -m tests.project.figures REV [REV ...]      those revisions, one column each
"""

from __future__ import annotations

import ast
import io
import re
import statistics
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
# A title is a noun phrase; a first line that opens with one of these is a riddle.
RIDDLE = re.compile(r"^(What|How|Where|Which|Who|Whose|When|Whether|Why)\b")
TITLE_WORDS = 12

Files = Mapping[str, str]


def here() -> Files:
    """Return the package's modules as they are on disk, by path."""
    paths = sorted((ROOT / "flagmw").rglob("*.py"))
    return {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in paths}


def at(revision: str) -> Files:
    """Return the package's modules of *revision*, by path."""
    command = ["git", "archive", "--format=tar", revision, "flagmw"]
    packed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    found = {}
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        for member in archive:
            opened = archive.extractfile(member) if member.name.endswith(".py") else None
            if opened is not None:
                found[member.name] = opened.read().decode("utf-8")
    return dict(sorted(found.items()))


def folder_of(path: str) -> str:
    return path.rpartition("/")[0]


def counts_by_folder(files: Iterable[str]) -> Counter[str]:
    return Counter(folder_of(path) for path in files)


def figures(files: Files) -> dict[str, str]:
    """Return each figure as text, by what it is."""
    trees = {path: ast.parse(text) for path, text in files.items()}
    sizes = {path: len(text.splitlines()) for path, text in files.items()}
    modules = {path: size for path, size in sizes.items() if not path.endswith("__init__.py") or size > 1}
    root = [path for path in files if path.count("/") == 1 and not path.endswith("__init__.py")]
    private_files = [path for path in files if re.search(r"/_[a-z][^/]*\.py$", path)]
    classes = Counter(node.name for tree in trees.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
    twice = [name for name, count in classes.items() if count > 1]
    functions = [
        node
        for tree in trees.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_")
    ]
    titles = [(ast.get_docstring(tree) or "").partition("\n")[0] for tree in trees.values()]
    titles = [title for title in titles if title]
    lengths = [len(name) for tree in trees.values() for name in variables(tree)]
    folders = counts_by_folder(files)
    largest = max(sizes, key=lambda path: sizes[path])
    return {
        "files": str(len(files)),
        "lines": str(sum(sizes.values())),
        "folders": str(len(folders)),
        "modules in the fullest folder": "{1} ({0})".format(*folders.most_common(1)[0]),
        "median module, lines": f"{statistics.median(modules.values()):.0f}",
        "largest module, lines": f"{sizes[largest]} ({largest.removeprefix('flagmw/')})",
        "modules over 300 lines": str(sum(1 for size in sizes.values() if size > 300)),
        "modules in the root": str(len(root)),
        "private ones of them": str(sum(1 for path in root if path.split("/")[1].startswith("_"))),
        "files with an underscore": str(len(private_files)),
        "classes": str(sum(classes.values())),
        "class names used twice or more": str(len(twice)),
        "public functions with a docstring": f"{share(ast.get_docstring(f) is not None for f in functions)} %",
        "mean length of a variable's or argument's name": f"{statistics.mean(lengths):.2f}",
        "titles that open with what, how, who, ...": str(sum(1 for title in titles if RIDDLE.match(title))),
        f"titles of more than {TITLE_WORDS} words": str(sum(1 for t in titles if len(t.split()) > TITLE_WORDS)),
        "looks into another object's private attributes": str(sum(foreign_private(tree) for tree in trees.values())),
        "hasattr and getattr": str(sum(lookups(tree) for tree in trees.values())),
    }


def share(flags: Iterable[bool]) -> int:
    each = list(flags)
    return round(100 * sum(each) / len(each)) if each else 0


def variables(tree: ast.AST) -> set[str]:
    """Return the names that are assigned or are arguments, each once a module; `self`, `cls`, constants not."""
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    names |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    return {name for name in names - {"self", "cls", "_"} if not name.isupper() and not name.startswith("__")}


def foreign_private(tree: ast.AST) -> int:
    """Count reads of `x._name` where *x* is neither `self`, `cls`, nor an imported module."""
    imported = {
        alias.asname or alias.name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    count = 0
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and re.match(r"_[a-z]", node.attr):
            holder = node.value
            if isinstance(holder, ast.Name) and (holder.id in ("self", "cls", "other") or holder.id in imported):
                continue
            count += 1
    return count


def lookups(tree: ast.AST) -> int:
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return sum(1 for called in calls if isinstance(called, ast.Name) and called.id in ("hasattr", "getattr"))


def table(columns: Mapping[str, Files]) -> str:
    """Return the figures of each column, and the number of modules of each folder."""
    by_column = {name: figures(files) for name, files in columns.items()}
    folders = {name: counts_by_folder(files) for name, files in columns.items()}
    head = [f"| figure | {' | '.join(columns)} |", f"|---|{'---|' * len(columns)}"]
    rows = [
        f"| {figure} | {' | '.join(by_column[name][figure] for name in columns)} |"
        for figure in next(iter(by_column.values()))
    ]
    every = sorted({folder for counts in folders.values() for folder in counts})
    rows += [
        f"| {folder}/ | {' | '.join(str(folders[name].get(folder, '')) for name in columns)} |" for folder in every
    ]
    return "\n".join(head + rows)


def main(revisions: list[str]) -> None:
    print(table({revision: at(revision) for revision in revisions} if revisions else {"here": here()}))


if __name__ == "__main__":
    main(sys.argv[1:])
