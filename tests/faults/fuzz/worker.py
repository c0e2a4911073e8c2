"""One target in a process of its own. Prints a JSON line.

python -m tests.faults.fuzz.worker TARGET INPUTS SECONDS SEED FOLDER

Guided by the coverage of flagmw's lines where the fuzzer is installed; else by nothing, from the same seeds.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import io
import json
import logging
import os
import random
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

LIMIT_S = 0.010
INPUT_BYTES = 32 * 1024
CRASHES_KEPT = 20
SLOW_KEPT = 200  # the fuzzer's own account of lines takes time too: they are timed again without it
LEAST_S = 0.5  # of fuzzing, however long the start took

_STARTED = time.monotonic()

try:
    import atheris
except ImportError:
    atheris = None


class Judge:
    """Run a target on inputs; note crashes and how long each took."""

    def __init__(self, target: Callable[[bytes], None], folder: Path, inputs: int, seconds: float) -> None:
        self._target, self._folder = target, folder
        self._inputs, self._end = inputs, max(_STARTED + seconds, time.monotonic() + LEAST_S)
        self.tried = 0
        self.slowest_s = 0.0
        self.slow: list[str] = []
        self.crashes: dict[str, str] = {}

    @property
    def over(self) -> bool:
        return self.tried >= self._inputs or time.monotonic() > self._end

    def __call__(self, data: bytes) -> None:
        self.tried += 1
        took_s = self._timed(data)
        if took_s > LIMIT_S:
            # Twice more: a busy machine is slow once, a slow function always.
            took_s = min(took_s, self._timed(data), self._timed(data))
            if took_s > LIMIT_S:
                if len(self.slow) < SLOW_KEPT:
                    self.slow.append(self._keep("slow", data))
                return
        self.slowest_s = max(self.slowest_s, took_s)

    def _timed(self, data: bytes) -> float:
        # This thread's own time: what other processes take is none of the function's.
        started = time.thread_time()
        try:
            self._target(data)
        except Exception as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            what = str(error)[:80] if isinstance(error, AssertionError) else ""
            where = f"{type(error).__name__} at {Path(frame.filename).name}:{frame.lineno} {what}".rstrip()
            if where not in self.crashes and len(self.crashes) < CRASHES_KEPT:
                self.crashes[where] = self._keep("crash", data)
        return time.thread_time() - started

    def _keep(self, kind: str, data: bytes) -> str:
        path = self._folder / f"{kind}-{hashlib.sha256(data).hexdigest()[:12]}"
        path.write_bytes(data)
        return str(path)

    def report(self, *, guided: bool) -> dict[str, Any]:
        return {
            "inputs": self.tried,
            "slowest_ms": round(self.slowest_s * 1000, 2),
            "slow": self.slow,
            "crashes": self.crashes,
            "guided": guided,
        }


def load() -> ModuleType:
    """Import the targets, with flagmw made ready for the fuzzer where there is one."""
    ready = contextlib.nullcontext() if atheris is None else atheris.instrument_imports(include=["flagmw"])
    # The fuzzer tells of every module that it makes ready.
    with contextlib.redirect_stderr(io.StringIO()), ready:
        return importlib.import_module("tests.faults.fuzz.targets")


def guided(judge: Judge, seeds: list[bytes], seed: int, folder: Path) -> None:
    """Fuzz by coverage. The fuzzer's own loop knows no end that a process survives, so the last input ends it."""
    corpus = folder / "corpus"
    corpus.mkdir(exist_ok=True)
    for n, data in enumerate(seeds):
        (corpus / f"seed-{n}").write_bytes(data)

    def one(data: bytes) -> None:
        judge(data)
        if judge.over:
            finish(judge, guided=True)

    options = [f"-seed={seed}", f"-max_len={INPUT_BYTES}", "-timeout=120", "-rss_limit_mb=2048", "-verbosity=0"]
    atheris.Setup([sys.argv[0], *options, str(corpus)], one)
    atheris.Fuzz()


def blind(judge: Judge, seeds: list[bytes], seed: int) -> None:
    """Fuzz by chance, from the seeds."""
    inputs = mutated(seeds, random.Random(seed))
    while not judge.over:
        judge(next(inputs))
    finish(judge, guided=False)


def mutated(seeds: list[bytes], dice: random.Random) -> Iterator[bytes]:
    """Yield the seeds, then without end what a few random edits make of them."""
    yield from seeds
    odd = [
        b"\r\n",
        b"\x1e",
        b'"',
        b"\\",
        b"\x00",
        b"\xff",
        b"\x1b[0m",
        b";",
        b"=",
        b",",
        b"{",
        b"]",
        b"%",
        b"\xe2\x80\xa8",
    ]
    while True:
        data = bytearray(dice.choice(seeds))
        for _ in range(dice.randint(1, 6)):
            at = dice.randint(0, len(data))
            match dice.randrange(6):
                case 0:
                    data[at:at] = dice.choice(odd) * dice.choice((1, 1, 2, 500))
                case 1:
                    del data[at : at + dice.randint(1, 16)]
                case 2:
                    data[at : at + 1] = bytes([dice.randrange(256)])
                case 3:
                    other = dice.choice(seeds)
                    data[at:] = other[dice.randint(0, len(other)) :]
                case 4:
                    data[at:at] = data[at : at + dice.randint(1, 64)] * dice.choice((1, 2, 50))
                case 5:
                    data[at : at + 4] = dice.randbytes(dice.randint(1, 8))
        yield bytes(data[:INPUT_BYTES])


def finish(judge: Judge, *, guided: bool) -> None:
    """Print the report and end at once, before the fuzzer says more."""
    os.write(_OUT, (json.dumps(judge.report(guided=guided)) + "\n").encode())
    os._exit(0)


_OUT = 1


def main(name: str, inputs: str, seconds: str, seed: str, folder: str) -> None:
    logging.getLogger("flagmw").setLevel(logging.CRITICAL + 1)  # refused input is what most of it is
    targets = load()
    judge = Judge(targets.TARGETS[name], Path(folder), int(inputs), float(seconds))
    if atheris is not None:
        guided(judge, targets.seeds(name), int(seed), Path(folder))
    else:
        blind(judge, targets.seeds(name), int(seed))


if __name__ == "__main__":
    main(*sys.argv[1:])
