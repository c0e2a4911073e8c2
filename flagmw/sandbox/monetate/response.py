"""Answers of the emulated Engine API, and the faults in them."""

from __future__ import annotations

import re
from typing import Any

import orjson

from flagmw.sandbox.faults import Rule


def document(
    code: int,
    responses: list[dict[str, Any]],
    errors: list[dict[str, str]],
    warnings: list[dict[str, str]],
    new_id: str | None,
) -> dict[str, Any]:
    """Return the answer; *new_id* is the monetateId of a visitor who had none."""
    meta: dict[str, Any] = {"code": code, "errors": errors, "warnings": warnings}
    if new_id is not None:
        meta["monetateId"] = new_id
    return {"meta": meta, "data": {"responses": responses}}


def render(answer: dict[str, Any], fault: Rule | None) -> bytes:
    """Return the bytes of *answer*, spoilt by *fault*."""
    kind = "" if fault is None else fault.kind
    if fault is not None and kind == "huge_cookie":
        answer["meta"]["monetateId"] = "2.1.".ljust(fault.size(), "1")
    elif fault is not None and kind == "bad_cookie":
        bad = "2.1.2; Domain=evil.test\r\nX-Evil: 1"
        answer["meta"]["monetateId"] = bad if fault.value is None else fault.value
    if kind not in ("trailing_comma", "comments"):
        return orjson.dumps(answer)
    text = orjson.dumps(answer, option=orjson.OPT_INDENT_2).decode()
    # Line breaks never occur inside JSON strings, so patterns over lines cannot hit a value.
    if kind == "comments":
        return ("/* an answer */\n" + text).encode()
    return re.sub(r"([^\s{\[,])(\n *[}\]])", r"\1,\2", text).encode()
