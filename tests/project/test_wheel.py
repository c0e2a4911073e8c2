"""What is installed from the wheel works, and nothing is in it that should not be."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flagmw import __version__

ROOT = Path(__file__).parents[2]


def run(*command: str | Path, cwd: Path | None = None, timeout: float = 120) -> str:
    """Run *command* without the project's folder in sight; return what it prints."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST", "FLAGMW_"))
    }
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=cwd,
        env={**environment, "PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "COLUMNS": "120"},
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel, with what is installed here."""
    out = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, cwd=ROOT)
    (built,) = out.glob("*.whl")
    return built


@dataclass
class Installed:
    """An environment that has the wheel, and beside it only the libraries that it needs."""

    python: Path
    folder: Path

    def run(self, *arguments: str) -> str:
        return run(self.python, *arguments, cwd=self.folder)

    def code(self, code: str) -> Any:
        return json.loads(self.run("-W", "error", "-c", code))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    """Install the wheel in an environment of its own; dependencies come from this one, nothing from the network."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv" / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", wheel)
    purelib = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    # A path in a .pth file comes after the environment's own, and .pth files over there are not read.
    (purelib / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    yield Installed(python, folder)


def test_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    """Every module, the scenarios and the typing marker are in the wheel; tests, shops and benchmarks are not."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert wheel.name == f"flagmw-{__version__}-py3-none-any.whl"
    own = {name for name in names if name.startswith("flagmw/")}
    sources = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "flagmw").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert own == sources
    assert {"flagmw/py.typed", "flagmw/sandbox/scenarios/shop.toml"} <= own
    info = f"flagmw-{__version__}.dist-info"
    assert {name.split("/")[0] for name in names} == {"flagmw", info}
    assert f"{info}/licenses/LICENSE" in names


def test_wheel_says_what_it_needs(wheel: Path) -> None:
    """The metadata has the command, the pytest plugin, the extras, and the README as its description."""
    with zipfile.ZipFile(wheel) as archive:
        info = f"flagmw-{__version__}.dist-info"
        metadata = archive.read(f"{info}/METADATA").decode()
        entry_points = archive.read(f"{info}/entry_points.txt").decode()
    assert "flagmw = flagmw.cli:main" in entry_points
    assert "[pytest11]" in entry_points
    assert {"cli", "fastapi", "sandbox"} <= {
        line.partition(": ")[2] for line in metadata.splitlines() if line.startswith("Provides-Extra")
    }
    assert metadata.partition("\n\n")[2].strip() == (ROOT / "README.md").read_text("utf-8").strip()


def test_installed_package_decides(installed: Installed) -> None:
    """The installed package imports from its own place and decides."""
    place, variant, scenario = installed.code(
        "import json, flagmw, flagmw.asgi, flagmw.wsgi, flagmw.fastapi\n"
        "from flagmw.sandbox import load_scenario\n"
        "fm = flagmw.Flagmw(vendors=[flagmw.Static(flags={'ta_A': 'b'})])\n"
        "flags = fm.decide(flagmw.Visit(url='https://www.mysite.com/'))\n"
        "print(json.dumps([flagmw.__file__, flags['ta_A'], load_scenario('shop').name]))"
    )
    assert Path(place).is_relative_to(installed.folder / "venv")
    assert (variant, scenario) == ("b", "shop")


def test_installed_command(installed: Installed) -> None:
    """The command is there and lists what it can do."""
    text = run(installed.python.parent / "flagmw", "--help", cwd=installed.folder)
    for command in ("sandbox", "decide", "track"):
        assert command in text


def test_installed_pytest_plugin(installed: Installed) -> None:
    """A test of an application finds the fixture `flagmw_sandbox` without doing anything for it."""
    (installed.folder / "test_shop.py").write_text(
        "def test_shop(flagmw_sandbox):\n"
        "    assert flagmw_sandbox.running\n"
        "    assert flagmw_sandbox.ledger()['requests'] == []\n"
    )
    text = installed.run("-W", "error", "-m", "pytest", "-q", "-p", "no:asyncio", "test_shop.py")
    assert "1 passed" in text
