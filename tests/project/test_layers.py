"""Order of the folders: each imports only what stands above it in the table, and no module imports itself.

A folder or file of the root that the table does not name fails the first test: add it as high as its imports allow.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "flagmw"
ROOT = "flagmw"

# From the bottom up: names of folders and files of the root, and whether they are free of input and output.
ORDER: tuple[tuple[tuple[str, ...], bool], ...] = (
    (("codes", "exceptions"), True),
    (("_support",), False),
    (("types",), True),
    (("_cookies",), True),
    (("_transports",), False),
    (("_drivers",), False),
    (("flags",), True),
    (("vendors",), True),
    (("_valkey",), False),
    (("outbox",), False),
    (("config",), True),
    (("_web",), True),
    (("_visitor_store",), False),
    (("_exchange",), True),
    (("_delivery",), False),
    (("_decide",), False),
    (("_shadow",), False),
    (("_edge",), False),
    (("runtime",), False),
    (("asgi", "wsgi"), False),
    (("admin", "django", "doctor", "fastapi", "flask"), False),
    (("cli", "sandbox", "testing"), False),
    (("__main__", "django.management"), False),
)
# Modules of the other folders that are free of input and output as well.
PURE = frozenset({f"_support.{name}" for name in ("breaker", "deadline", "limits", "tokens")})
PURE |= {"_valkey.url", "_visitor_store.base", "_shadow.report"}
PURE |= {f"outbox.{name}" for name in ("base", "location", "policy", "purge", "worker.batches", "worker.pace")}

ADAPTERS, TOOLS = len(ORDER) - 3, len(ORDER) - 2
FRAMEWORKS = frozenset({"django", "fastapi", "flask", "starlette", "typer", "rich", "uvicorn", "pytest"})
IMPURE = frozenset(
    {
        *("aiohttp", "asyncio", "httpcore", "httpcore2", "httptools", "httpx", "httpx2"),
        *("socket", "sqlite3", "ssl", "subprocess"),
    }
)


@dataclass(frozen=True)
class Import:
    """One import statement's arrow, from module to module; both as they are called inside the package."""

    module: str
    target: str
    line: int
    typing_only: bool

    def __str__(self) -> str:
        return f"{self.module} (line {self.line}) imports {self.target}"


@cache
def modules() -> dict[str, Path]:
    """Return the package's modules by name: "" for the package itself, "outbox" for a package in it."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def level_of(module: str) -> int | None:
    """Return the place of *module*'s folder in the table, or of the folder in it that has a place of its own."""
    parts = module.split(".")
    for names in (".".join(parts[:2]), parts[0]):
        for level, (folders, _) in enumerate(ORDER):
            if names in folders:
                return level
    return None


def is_pure(module: str) -> bool:
    level = level_of(module)
    return level is not None and (ORDER[level][1] or module in PURE)


def imports(module: str, path: Path) -> Iterator[Import]:
    """Yield the imports of *module*: modules of this package, and whole names of others."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]

    def walk(node: ast.AST, typing_only: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                for alias in child.names:
                    yield Import(module, alias.name, child.lineno, typing_only)
            elif isinstance(child, ast.ImportFrom):
                for target in from_targets(child):
                    yield Import(module, target, child.lineno, typing_only)
            else:
                yield from walk(
                    child, typing_only or (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test))
                )

    def from_targets(node: ast.ImportFrom) -> list[str]:
        base = node.module or ""
        if node.level:
            parts = package.split(".") if package else []
            parts = parts[: len(parts) - (node.level - 1)]
            base = ".".join([ROOT, *parts, *([base] if base else [])])
        if base != ROOT and not base.startswith(f"{ROOT}."):
            return [base]
        inner = base.removeprefix(ROOT).removeprefix(".")
        # `from flagmw import asgi` means the module, `from flagmw import Flags` the package.
        return [
            f"{base}.{alias.name}" if (f"{inner}.{alias.name}" if inner else alias.name) in modules() else base
            for alias in node.names
        ]

    yield from walk(ast.parse(path.read_text("utf-8")), False)


@cache
def inner_imports() -> list[Import]:
    """Return all arrows inside the package, with targets named as modules are: "" is the package itself."""
    return [
        Import(i.module, i.target.removeprefix(ROOT).removeprefix("."), i.line, i.typing_only)
        for module, path in modules().items()
        for i in imports(module, path)
        if i.target == ROOT or i.target.startswith(f"{ROOT}.")
    ]


def test_every_folder_has_a_place() -> None:
    unknown = {module.partition(".")[0] for module in modules() if module and level_of(module) is None}
    assert not unknown, f"add to ORDER in {Path(__file__).name}: {', '.join(sorted(unknown))}"


def test_imports_point_up_the_table() -> None:
    """No folder imports one below it in the table, not even for annotations or late in a function."""
    wrong = []
    for arrow in inner_imports():
        source, target = level_of(arrow.module), level_of(arrow.target)
        if arrow.module and arrow.target and source is not None and target is not None and target > source:
            wrong.append(arrow)
    assert [str(arrow) for arrow in wrong] == []


def test_no_file_carries_an_underscore() -> None:
    """A folder with an underscore is internal; files carry none."""
    names = [path.name for path in PACKAGE.rglob("*.py") if path.name.startswith("_")]
    assert set(names) <= {"__init__.py", "__main__.py"}


def test_internal_folders_pass_no_names_on() -> None:
    """The `__init__` of an internal folder is empty: whoever imports one of its modules gets no other."""
    full = [name for name, path in modules().items() if name.startswith("_") and path.name == "__init__.py"]
    assert [name for name in full if modules()[name].read_text("utf-8").strip()] == []


def test_only_tools_import_the_package_itself() -> None:
    """`from flagmw import Flags` loads everything: inside, names come from the modules where they are made."""
    wrong = [str(arrow) for arrow in inner_imports() if not arrow.target and (level_of(arrow.module) or 0) < TOOLS]
    assert wrong == []


def test_the_package_only_passes_names_on() -> None:
    """The package's own file defines nothing but its version, and knows no edge, adapter or tool.

    Vendors it passes on when they are first named (PEP 562).
    """
    tree = ast.parse((PACKAGE / "__init__.py").read_text("utf-8"))
    kinds = {type(node) for node in tree.body[1:]}
    assert kinds <= {ast.Import, ast.ImportFrom, ast.Assign, ast.If, ast.FunctionDef}
    defined = [ast.unparse(target) for node in tree.body if isinstance(node, ast.Assign) for target in node.targets]
    assert defined == ["__version__", "__all__", "_VENDORS"]
    functions = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert functions == ["__getattr__", "__dir__"]
    reached = [arrow.target for arrow in inner_imports() if not arrow.module]
    assert [target for target in reached if (level_of(target) or 0) > (level_of("runtime") or 0)] == []


@pytest.mark.parametrize("level", range(len(ORDER)), ids=["+".join(folders) for folders, _ in ORDER])
def test_no_circles(level: int) -> None:
    """Inside a folder no module imports, over however many others, itself. Annotations do not count."""
    arrows: dict[str, set[str]] = {}
    for arrow in inner_imports():
        inside = level_of(arrow.module) == level_of(arrow.target) == level and not arrow.typing_only
        if inside and "__init__.py" not in (modules()[arrow.module].name, modules()[arrow.target].name):
            arrows.setdefault(arrow.module, set()).add(arrow.target)
    done: set[str] = set()

    def visit(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, f"a circle: {' -> '.join([*way[way.index(module) :], module])}"
        if module not in done:
            for target in sorted(arrows.get(module, ())):
                visit(target, (*way, module))
            done.add(module)

    for module in sorted(arrows):
        visit(module, ())


def test_pure_modules_touch_nothing() -> None:
    """Words and rules import no HTTP client, socket, event loop, database or process."""
    wrong = [
        str(arrow)
        for module, path in modules().items()
        if is_pure(module)
        for arrow in imports(module, path)
        if arrow.target.partition(".")[0] in IMPURE
    ]
    assert wrong == []


def test_frameworks_are_known_to_their_adapters_only() -> None:
    """No module below the adapters imports a framework."""
    wrong = [
        str(arrow)
        for module, path in modules().items()
        if (level_of(module) or 0) < ADAPTERS
        for arrow in imports(module, path)
        if arrow.target.partition(".")[0] in FRAMEWORKS
    ]
    assert wrong == []
