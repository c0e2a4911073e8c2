"""Read the answer of a decision with msgspec. Runs in the venv of `peers.py`, which has no flagmw.

python -m benchmarks.support.codec_probe 4000      prints microseconds as JSON
"""

from __future__ import annotations

import json
import sys
from typing import Any

from benchmarks.support.answers import webtrends
from benchmarks.support.harness import OWN, pin, timed

Mapped = tuple[dict[str, str], dict[str, tuple[str, int]]]


def mapped(projects: list[Any]) -> Mapped:
    """Return variants by alias and cookies by name, out of plain dictionaries."""
    variants, cookies = {}, {}
    for project in projects:
        variants[project["params"]["testAlias"]] = project["body"]["factors"][0]["value"]
        for name, cookie in project["body"]["cookies"].items():
            cookies[name] = (cookie["value"], cookie["timeout"])
    return variants, cookies


def typed() -> tuple[Any, Any]:
    """Return a decoder for exactly what is read, and the map that goes with it."""
    from msgspec import Struct, defstruct
    from msgspec.json import Decoder

    cookie: type[Struct] = defstruct("Cookie", [("value", str), ("timeout", int), ("type", str)])
    factor: type[Struct] = defstruct("Factor", [("name", str), ("value", str), ("operation", int)])
    body: type[Struct] = defstruct("Body", [("cookies", dict[str, cookie]), ("factors", list[factor])])  # type: ignore[valid-type]
    names = ["testAlias", "r_type", "cookieDomain"]
    numbers = ["r_experimentID", "r_runID", "r_testID"]
    params: type[Struct] = defstruct("Params", [*((name, str) for name in names), *((name, int) for name in numbers)])
    fields = [("body", body), ("opcode", str), ("opstatus", str), ("params", params)]
    project: type[Struct] = defstruct("Project", fields)
    decoder = Decoder(list[project])  # type: ignore[valid-type]

    def read(projects: Any) -> Mapped:
        variants, cookies = {}, {}
        for each in projects:
            variants[each.params.testAlias] = each.body.factors[0].value
            for name, one in each.body.cookies.items():
                cookies[name] = (one.value, one.timeout)
        return variants, cookies

    return decoder, read


def main() -> None:
    from msgspec.json import Decoder

    pin(OWN)
    calls = int(sys.argv[1])
    answer = json.dumps(webtrends(11)).encode()
    decoder, read = typed()
    plain = Decoder()
    assert read(decoder.decode(answer)) == mapped(plain.decode(answer)) == mapped(json.loads(answer))
    timed(lambda: read(decoder.decode(answer)), calls // 10 + 1)
    figures = {
        "typed": timed(lambda: read(decoder.decode(answer)), calls)["time"],
        "untyped": timed(lambda: mapped(plain.decode(answer)), calls)["time"],
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
