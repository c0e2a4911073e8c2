"""Which module may import which: only what lies lower, and no circles.

Every module of the package has a layer. One that this file does not know fails the first test: it is added to
`LAYERS` below, as low as what it imports allows.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "flagmw"

# From the bottom up. A name with `.*` stands for a package and what is in it; the longest name that fits counts.
LAYERS: tuple[tuple[str, frozenset[str]], ...] = (
    ("words", frozenset({"codes", "exceptions", "types", "_secret", "_link_token"})),
    (
        "pure rules",
        frozenset(
            {
                "_addresses",
                "_carried",
                "_checks",
                "_context",
                "_cookies",
                "_crawlers",
                "_current",
                "_domains",
                "_engine",
                "_events",
                "_exposures",
                "_gates",
                "_generations",
                "_guard",
                "_hints",
                "_ids",
                "_inbound",
                "_jars",
                "_known",
                "_locks",
                "_link_page",
                "_log",
                "_memory",
                "_merge",
                "_placed",
                "_overrides",
                "_own_state",
                "_recall",
                "_remember",
                "_reports",
                "_response",
                "_saved",
                "_shadow_report",
                "_sources",
                "_stats",
                "_stored",
                "_suspects",
                "_token",
                "_tracks",
                "config",
                "flags",
                "outbox",
                "outbox._valkey_url",
                "outbox.base",
                "outbox.location",
                "outbox.pace",
                "outbox.parcels",
                "outbox.policy",
                "outbox.visitor",
                "vendors.*",
            }
        ),
    ),
    (
        "sockets, threads and stores",
        frozenset(
            {
                "_deciding",
                "_delivery",
                "_flights",
                "_lane",
                "_lazy",
                "_linger",
                "_places",
                "_pulse",
                "_refresh",
                "_shadow",
                "_shadow_file",
                "_visiting",
                "_visitors",
                "drivers.*",
                "outbox.*",
                "runtime",
            }
        ),
    ),
    ("edges", frozenset({"_ending", "asgi", "wsgi"})),
    (
        "adapters",
        frozenset({"_django_settings", "admin", "admin.*", "django", "doctor", "doctor.*", "fastapi", "flask"}),
    ),
    (
        "tools",
        frozenset(
            {
                "_cli_common",
                "_cli_deliver",
                "_cli_opened",
                "_cli_outbox",
                "_cli_override",
                "_cli_shadow",
                "_cli_text",
                "cli",
                "sandbox.*",
                "testing",
            }
        ),
    ),
)
PURE = 1
# The public names, for people; nobody inside needs the whole of it but the tools.
ROOT = "flagmw"

IMPURE = (
    "aiohttp",
    "asyncio",
    "httpcore",
    "httpcore2",
    "httptools",
    "httpx",
    "httpx2",
    "socket",
    "sqlite3",
    "ssl",
    "subprocess",
)


@dataclass(frozen=True)
class Import:
    """One import statement's arrow, from module to module; both as they are called inside the package."""

    module: str
    target: str
    line: int
    typing_only: bool
    deferred: bool

    def __str__(self) -> str:
        return f"{self.module} (line {self.line}) imports {self.target}"


@cache
def modules() -> dict[str, Path]:
    """Return the package's modules by name: "" for the package itself, "drivers" for a package in it."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def layer_of(module: str) -> int | None:
    """Return how high *module* lies, None if nobody has said."""
    names = [module, f"{module}.*"]
    while "." in module:
        module = module.rpartition(".")[0]
        names.append(f"{module}.*")
    for name in names:
        for level, (_, members) in enumerate(LAYERS):
            if name in members:
                return level
    return None


def imports(module: str, path: Path) -> Iterator[Import]:
    """Yield the imports of *module* that stay in the package, and whole names of others."""
    tree = ast.parse(path.read_text("utf-8"))
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    known = modules()

    def walk(node: ast.AST, typing_only: bool, deferred: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                for alias in child.names:
                    yield Import(module, alias.name, child.lineno, typing_only, deferred)
            elif isinstance(child, ast.ImportFrom):
                for target in from_targets(child):
                    yield Import(module, target, child.lineno, typing_only, deferred)
            elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                yield from walk(child, True, deferred)
            else:
                inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                yield from walk(child, typing_only, deferred or inside)

    def from_targets(node: ast.ImportFrom) -> list[str]:
        base = node.module or ""
        if node.level:
            parts = package.split(".") if package else []
            parts = parts[: len(parts) - (node.level - 1)]
            base = ".".join([ROOT, *parts, *([base] if base else [])])
        inner = base.removeprefix(ROOT).removeprefix(".")
        if base != ROOT and not base.startswith(f"{ROOT}."):
            return [base]
        # `from flagmw import asgi` means the module, `from flagmw import Flags` the package.
        return [
            f"{base}.{alias.name}" if (f"{inner}.{alias.name}" if inner else alias.name) in known else base
            for alias in node.names
        ]

    yield from walk(tree, False, False)


@cache
def inner_imports() -> list[Import]:
    """Return all arrows inside the package, with targets named as modules are: "" is the package itself."""
    return [
        Import(i.module, i.target.removeprefix(ROOT).removeprefix("."), i.line, i.typing_only, i.deferred)
        for module, path in modules().items()
        for i in imports(module, path)
        if i.target == ROOT or i.target.startswith(f"{ROOT}.")
    ]


def test_every_module_has_a_layer() -> None:
    """No module is unknown, so that a new one has to say where it belongs."""
    unknown = [module for module in modules() if module and layer_of(module) is None]
    assert not unknown, f"add to LAYERS in {Path(__file__).name}: {', '.join(unknown)}"


def test_imports_point_down() -> None:
    """Nothing imports what lies higher, not even for annotations or late in a function."""
    wrong = []
    for arrow in inner_imports():
        here, there = layer_of(arrow.module), layer_of(arrow.target)
        if arrow.module and arrow.target and here is not None and there is not None and there > here:
            wrong.append(f"{arrow}: {LAYERS[here][0]} must not know {LAYERS[there][0]}")
    assert wrong == []


def test_only_tools_import_the_package_itself() -> None:
    """`from flagmw import Flags` loads everything: inside, names come from the modules where they are made."""
    tools = len(LAYERS) - 1
    wrong = [str(arrow) for arrow in inner_imports() if not arrow.target and layer_of(arrow.module) != tools]
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
    assert [target for target in reached if (layer_of(target) or 0) > layer_of("runtime")] == []  # type: ignore[operator]


@pytest.mark.parametrize("level", range(len(LAYERS)), ids=[name for name, _ in LAYERS])
def test_no_circles(level: int) -> None:
    """Inside a layer no module imports, over however many others, itself. Annotations do not count."""
    arrows: dict[str, set[str]] = {}
    for arrow in inner_imports():
        if not arrow.typing_only and layer_of(arrow.module) == layer_of(arrow.target) == level:
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
        if module and (layer_of(module) or 0) <= PURE
        for arrow in imports(module, path)
        if arrow.target.partition(".")[0] in IMPURE
    ]
    assert wrong == []


def test_frameworks_are_known_to_their_adapters_only() -> None:
    """No module below the adapters imports a framework."""
    frameworks = {"django", "fastapi", "flask", "starlette", "typer", "rich", "uvicorn", "pytest"}
    adapters = len(LAYERS) - 2
    wrong = [
        str(arrow)
        for module, path in modules().items()
        if (layer_of(module) or 0) < adapters
        for arrow in imports(module, path)
        if arrow.target.partition(".")[0] in frameworks
    ]
    assert wrong == []
