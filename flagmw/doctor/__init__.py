"""Checks of a set-up: options, vendors, cookies, proxies and delivery.

Nothing is counted or left behind: vendors are asked with views switched off and without any visitor's cookies.
A finding never holds a token or a cookie's value, nor more of an unexpected error than the name of its type.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

from flagmw.doctor.finding import Finding, Level, exit_code, page_of, run_check
from flagmw.doctor.options import OPTIONS, defaults_known, delivery, lanes
from flagmw.doctor.vendor import SAMPLE_TOKEN, examine_vendor
from flagmw.runtime import Flagmw

__all__ = ["SAMPLE_TOKEN", "Finding", "Level", "examine", "exit_code", "render", "to_json"]


def examine(fm: Flagmw, *, site: str | None = None) -> list[Finding]:
    """Return the findings about the set-up of *fm*, after a few seconds at most.

    Args:
        site: the public URL of a page of the site, to check cookies, paths and proxies against.
    """
    config, page = fm.config, page_of(site)
    findings: list[Finding] = []
    if site is not None and page is None:
        findings.append(Finding("FAIL", "site", "it is no URL", 'write it as "https://www.mysite.com/checkout"'))
    for subject, check in OPTIONS.items():
        findings += run_check(subject, check(config, page))
    # All vendors at once: one that hangs must not use up the others' time.
    with ThreadPoolExecutor(max(1, len(config.vendors)), "flagmw-doctor") as pool:
        asked = list(pool.map(lambda vendor: examine_vendor(vendor, config, page), config.vendors))
    findings += [finding for found, _ in asked for finding in found]
    findings += run_check("defaults", defaults_known(config, {alias for _, aliases in asked for alias in aliases}))
    return findings + run_check("running", lanes(fm)) + run_check("delivery", delivery(fm))


def render(findings: Iterable[Finding]) -> str:
    """Return *findings* as plain text, a line each, with the cure indented below."""
    return "\n".join(f"{f.level:<5} {f.subject}: {f.text}" + (f"\n      {f.cure}" if f.cure else "") for f in findings)


def to_json(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    """Return *findings* as JSON-ready objects."""
    return [asdict(finding) for finding in findings]
