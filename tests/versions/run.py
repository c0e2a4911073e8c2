"""The tests on other versions of Python and of the dependencies: `make versions`.

Each row is an environment of its own under `build/versions`, made once and kept. The lowest versions are those that
`pyproject.toml` allows and that have a wheel for that Python, the newest ones what the package index has.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "build" / "versions"
EXTRAS = "admin,adobe,aiohttp,cli,django,fastapi,flask,sandbox,valkey"
OLDEST = (3, 11)
TESTS = ("tests/unit", "tests/frameworks", "tests/contracts/edges", "tests/contracts/outbox")
# What differs between releases most: typing and signatures, SQL, each framework, cookies of Django's.
SHORT_TESTS = (
    "tests/unit/config",
    "tests/unit/flags/test_flags.py",
    "tests/contracts/outbox/test_contract.py",
    *(f"tests/frameworks/test_{name}.py" for name in ("django", "django_cookie_lines", "django_settings")),
    *(f"tests/frameworks/test_{name}.py" for name in ("fastapi", "flask")),
)

Version = tuple[int, int]


@dataclass(frozen=True)
class Row:
    """One environment: a Python, the kind of its dependencies, and a series of Django."""

    python: Path
    version: Version
    resolution: str
    django: str

    @property
    def name(self) -> str:
        return f"{self.version[0]}.{self.version[1]}-{self.resolution}-django-{self.django}"


def main(arguments: Sequence[str] | None = None) -> int:
    options = parsed(arguments)
    pythons = interpreters()
    rows = short(pythons) if options.short else plan(pythons)
    rows = [row for row in rows if options.only in row.name]
    if not rows:
        print(f"versions: no other Python than {sys.version.split()[0]} was found, so no other was tested")
        return 0
    tests = options.tests or (SHORT_TESTS if options.short else TESTS)
    failed = []
    for row in rows:
        begun = time.monotonic()
        passed, summary = tried(row, tests, options.workers)
        print(f"{row.name:<34}{summary} ({time.monotonic() - begun:.0f} s with set-up)", flush=True)
        failed += [] if passed else [row.name]
    if failed:
        print(f"versions: failed on {', '.join(failed)}; the whole output is in {FOLDER.relative_to(ROOT)}/*.log")
    return 1 if failed else 0


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make versions", description=__doc__)
    parser.add_argument("tests", nargs="*", help="files or folders of tests instead of the usual ones")
    parser.add_argument("--short", action="store_true", help="one other Python, the newest dependencies, few tests")
    parser.add_argument("--only", default="", help="only rows with this text in their names, such as 3.12 or lowest")
    parser.add_argument("--workers", default="4", help="tests at once")
    return parser.parse_args(arguments)


def interpreters() -> dict[Version, Path]:
    """Return one Python of each version from 3.11, the newest release of each, wherever this machine keeps them."""
    folders = [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [path for folder in folders for path in folder.glob("python3.[0-9]*") if path.name[7:].isascii()]
    candidates += pyenv.glob("*/bin/python")
    best: dict[Version, tuple[int, Path]] = {}
    for path in [Path(sys.executable), *sorted(candidates)]:
        release = release_of(path)
        if release is None or release[:2] < OLDEST:
            continue
        version, micro = release[:2], release[2]
        if version not in best or micro > best[version][0]:
            best[version] = (micro, path)
    return {version: path for version, (_, path) in sorted(best.items())}


def release_of(python: Path) -> tuple[int, int, int] | None:
    """Return the version that *python* says it has; None for what is no Python that can make an environment."""
    script = (
        "import sys, sysconfig, venv; print(*sys.version_info[:3], sysconfig.get_config_var('Py_GIL_DISABLED') or 0)"
    )
    try:
        answer = subprocess.run([python, "-c", script], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.SubprocessError):
        return None
    numbers = re.fullmatch(r"(\d+) (\d+) (\d+) 0\n", answer.stdout)
    return None if numbers is None else (int(numbers[1]), int(numbers[2]), int(numbers[3]))


def plan(pythons: dict[Version, Path]) -> list[Row]:
    """Return the lowest and the newest dependencies for every Python; Django as that Python's users have it."""
    rows = []
    for version, path in pythons.items():
        rows.append(Row(path, version, "lowest", "4.2" if version < (3, 13) else "5.2"))
        rows.append(Row(path, version, "highest", "5.2" if version < (3, 12) else "6.1"))
    return rows


def short(pythons: dict[Version, Path]) -> list[Row]:
    """Return one row: the Python next to the one that runs this."""
    others = [version for version in pythons if version != sys.version_info[:2]]
    if not others:
        return []
    version = min(others)
    return [row for row in plan({version: pythons[version]}) if row.resolution == "highest"]


def tried(row: Row, tests: Iterable[str], workers: str) -> tuple[bool, str]:
    """Make the environment where it is missing, run the tests in it, and return whether they passed, with a line."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    log = FOLDER / f"{row.name}.log"
    with log.open("w") as output:
        try:
            python = made(row, output.fileno())
        except subprocess.CalledProcessError as error:
            return False, f"SET-UP FAILED: {Path(error.cmd[0]).name}, see {log.relative_to(ROOT)}"
        command = [python, "-m", "pytest", "-n", workers, "--dist", "loadfile", "--no-loadscope-reorder", *tests]
        # Deprecations are errors, as in the suite: a sequence where a mapping is due, say, is one in some Pythons only.
        done = subprocess.run(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, check=False)
    lines = log.read_text(errors="replace").splitlines()
    summary = next((line for line in reversed(lines) if re.search(r"\d+ (passed|failed|error)", line)), "no summary")
    return done.returncode == 0, summary.strip("= ")


def made(row: Row, output: int) -> Path:
    """Return the Python of the row's environment."""
    folder = FOLDER / row.name
    python, stamp = folder / "bin" / "python", folder / "stamp"
    project = (ROOT / "pyproject.toml").read_bytes()
    if stamp.is_file() and stamp.read_bytes() == project:
        return python
    shutil.rmtree(folder, ignore_errors=True)
    wanted = FOLDER / f"{row.name}.in"
    wanted.write_text(f"django=={row.django}.*\n")
    uv = resolver(output)
    run = [uv, "pip", "install", "--quiet", "--python", str(python)]
    call([uv, "venv", "--quiet", "--python", str(row.python), str(folder)], output)
    if row.resolution == "lowest":
        chosen = FOLDER / f"{row.name}.txt"
        extras = [word for extra in EXTRAS.split(",") for word in ("--extra", extra)]
        compiled = ["--output-file", str(chosen), "--constraint", str(wanted), "--no-build", "--quiet"]
        lowest = ["--resolution", "lowest-direct", "--python", str(python)]
        call([uv, "pip", "compile", *lowest, *compiled, *extras, "pyproject.toml"], output)
        wanted = chosen
    call([*run, "--constraint", str(wanted), "--editable", f".[{EXTRAS}]", "--group", "dev"], output)
    stamp.write_bytes(project)
    return python


def resolver(output: int) -> str:
    """Return uv, which can choose the lowest versions that are allowed; installed beside the environments."""
    uv = FOLDER / "uv" / "bin" / "uv"
    if not uv.is_file():
        call([sys.executable, "-m", "venv", str(FOLDER / "uv")], output)
        call([str(FOLDER / "uv" / "bin" / "pip"), "install", "--quiet", "uv"], output)
    return str(uv)


def call(command: Sequence[str], output: int) -> None:
    # uv trusts certificates of its own making unless it is told of the machine's.
    environ = {**os.environ, "UV_NATIVE_TLS": "1", "UV_PYTHON_DOWNLOADS": "never"}
    subprocess.run(command, cwd=ROOT, env=environ, stdout=output, stderr=subprocess.STDOUT, check=True)


if __name__ == "__main__":
    sys.exit(main())
