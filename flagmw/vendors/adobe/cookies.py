"""Cookies shared with Target's clients: `mbox`, `mboxEdgeCluster`, `AMCV_`.

`mbox` is `session#<id>#<expiry>|PC#<id>#<expiry>`: names and ids percent-encoded, expiries in seconds since the
epoch. Adobe publishes no page about it; the form is that of its clients (`@adobe/target-nodejs-sdk`, src/cookies.js,
and `target-python-sdk`), with which, and with at.js in the page, a visitor's cookies are shared.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from urllib.parse import quote, unquote

from flagmw._cookies.domains import registrable_domain
from flagmw._cookies.header import octets_ok
from flagmw._cookies.rule import CookieRule
from flagmw.types import CookieChange, Visit
from flagmw.vendors.common.values import unquoted

MBOX, CLUSTER = "mbox", "mboxEdgeCluster"
SESSION_S = 1_860
DEVICE_S = 63_244_800
CLUSTER_S = 1_860

# Query parameter `sessionId` (Delivery API): printable, none of ` ?{}/`.
_SESSION = re.compile(r"[!-.0->@-z|~]{1,128}")
_DEVICE = re.compile(r"([A-Za-z0-9_-]{1,100})(?:\.([0-9]{1,3})_[0-9]{1,5})?")
_CLUSTER = re.compile(r"[0-9]{1,3}")
_EXPIRY = re.compile(r"[0-9]{1,12}")
_ECID = re.compile(r"[0-9A-Za-z_-]{1,128}")


@dataclass(frozen=True, slots=True)
class Known:
    """The ids in a visitor's cookies; a part is None if it is missing or unusable.

    Attributes:
        session: one id for all calls until half an hour passes without any.
        device: the tntId, with the suffix that names its place exactly as Target gave it.
        device_until: when the device's id runs out, seconds since the epoch.
        cluster: the edge cluster that `mboxEdgeCluster` names.
        ecid: the Experience Cloud id.
        region, blob: data of the id service for Audience Manager.
    """

    session: str | None = field(default=None, repr=False)
    device: str | None = field(default=None, repr=False)
    device_until: int = 0
    cluster: str | None = None
    ecid: str | None = field(default=None, repr=False)
    region: int | None = None
    blob: str | None = field(default=None, repr=False)

    @property
    def edge(self) -> str | None:
        """The cluster to ask: digits and nothing else, as they become part of a host name.

        A visitor can write anything there, so it is only a proposal; see `Clusters`.
        """
        return self.suffix or self.cluster

    @property
    def suffix(self) -> str | None:
        """The cluster that the device's id names."""
        return suffix_of(self.device)

    @property
    def visitor(self) -> str | None:
        """The device's id without the suffix, which may change from call to call."""
        return bare(self.device)

    def forgotten(self) -> Known:
        """Return the ids without those of the `mbox` cookie, which Target cannot use."""
        return replace(self, session=None, device=None, device_until=0)


def bare(device: str | None) -> str | None:
    """Return a tntId without its suffix."""
    return device.partition(".")[0] if device else None


def suffix_of(device: str | None) -> str | None:
    """Return the cluster in the suffix of a tntId."""
    match = _DEVICE.fullmatch(device) if device else None
    return match[2] if match else None


def device_ok(device: str) -> bool:
    """Say whether *device* has the form of a tntId."""
    return _DEVICE.fullmatch(device) is not None


def session_ok(session: str) -> bool:
    """Say whether *session* may be a session id."""
    return _SESSION.fullmatch(session) is not None


class Cookies:
    """The cookies of one account.

    Args:
        org_id: the organization ("...@AdobeOrg") whose Experience Cloud id is read; None to read none.
    """

    def __init__(self, org_id: str | None) -> None:
        # The id service writes the name encoded; some of its versions did not.
        self._amcv = () if org_id is None else (f"AMCV_{quote(org_id, safe='')}", f"AMCV_{org_id}")

    def rule(self) -> CookieRule:
        return CookieRule(
            prefixes=(MBOX, *self._amcv),
            reads=lambda name: name in (MBOX, CLUSTER) or name in self._amcv,
            writes=lambda name: name in (MBOX, CLUSTER),
            value_ok=octets_ok,
            max_bytes=2048,
            priority=lambda name: 1 if name == CLUSTER else 0,
            newness=self._newness,
        )

    def _newness(self, name: str, value: str) -> float | None:
        """Return when *value* was written, as far as it tells; None if there is nothing in it to use."""
        value = unquoted(value)
        if name == CLUSTER:
            return 0.0 if _CLUSTER.fullmatch(value) else None
        if name != MBOX:
            return 0.0 if _id_service(value) else None
        parts = _parts(value, 0.0)
        session, until = parts.get("session", ("", 0))
        device, device_until = parts.get("PC", ("", 0))
        written = [until - SESSION_S] if session_ok(session) else []
        if device_ok(device):
            written.append(device_until - DEVICE_S)
        return max(written, default=None)

    def read(self, cookies: Mapping[str, str], now: float) -> Known:
        """Return the ids in *cookies* at the time *now*; malformed parts count as missing."""
        parts = _parts(unquoted(cookies.get(MBOX, "")), now)
        session, _ = parts.get("session", ("", 0))
        device, until = parts.get("PC", ("", 0))
        cluster = unquoted(cookies.get(CLUSTER, ""))
        ids = next((_id_service(cookies[name]) for name in self._amcv if name in cookies), {})
        region = ids.get("MCAAMLH", "")
        return Known(
            session=session if session_ok(session) else None,
            device=device if device_ok(device) else None,
            device_until=until if device_ok(device) else 0,
            cluster=cluster if _CLUSTER.fullmatch(cluster) else None,
            ecid=ids.get("MCMID"),
            region=int(region) if _CLUSTER.fullmatch(region) and int(region) else None,
            blob=ids.get("MCAAMB"),
        )

    def changes(
        self,
        visit: Visit,
        known: Known,
        session: str,
        device: str | None,
        edge_host: str | None,
        *,
        confirmed: bool = True,
    ) -> tuple[CookieChange, ...]:
        """Return the cookies after an answer: both parts begin their time anew.

        Args:
            known: the visitor as the question named them.
            device: the tntId of the answer; without one the visitor's own is left as it is.
            edge_host: the host that the answer names for the next calls.
            confirmed: Target has named the visitor's cluster; one that only their cookies name gives way to the answer.
        """
        now, domain = math.ceil(visit.now), _site(visit.host)
        parts = [("session", session, now + SESSION_S)]
        if device is not None:
            parts.append(("PC", device, now + DEVICE_S))
        elif known.device is not None:
            parts.append(("PC", known.device, known.device_until))
        last = max(until for *_, until in parts)
        changes = [
            CookieChange(
                name=MBOX,
                value="|".join(f"{name}#{_encoded(value)}#{until}" for name, value, until in parts),
                max_age_s=last - math.floor(visit.now),
                domain=domain,
            )
        ]
        proposed, named = known.edge, cluster_of(edge_host)
        cluster = (proposed or named) if confirmed else (named or proposed)
        if cluster is not None:
            changes.append(CookieChange(name=CLUSTER, value=cluster, max_age_s=CLUSTER_S, domain=domain))
        return tuple(changes)


# at.js sets its cookies for the whole site; another domain would make two cookies of each.
_site = lru_cache(maxsize=256)(registrable_domain)


def cluster_of(edge_host: str | None) -> str | None:
    """Return the digits in a host such as mboxedge35.tt.omtrdc.net; None for any other kind of host."""
    labels = (edge_host or "").split(".")
    cluster = labels[0].removeprefix("mboxedge")
    return cluster if len(labels) == 4 and _CLUSTER.fullmatch(cluster) else None


def _parts(value: str, now: float) -> dict[str, tuple[str, int]]:
    """Return the parts of an `mbox` cookie that have not run out: value and expiry by name."""
    if "#" not in value and ("%23" in value or "%7C" in value.upper()):
        value = unquote(value)  # some framework has encoded the whole
    parts: dict[str, tuple[str, int]] = {}
    for part in value.split("|"):
        fields = part.split("#")
        if len(fields) >= 3 and _EXPIRY.fullmatch(fields[2]) and math.ceil(now) <= int(fields[2]):
            parts[unquote(fields[0])] = (unquote(fields[1]), int(fields[2]))
    return parts


def _id_service(value: str) -> dict[str, str]:
    """Return the values of an `AMCV_` cookie: names and values in turn, some names with a dash and a time."""
    fields = unquote(unquoted(value)).split("|")[1:]
    values = {name.partition("-")[0]: text for name, text in zip(fields[::2], fields[1::2], strict=False)}
    checks = {"MCMID": _ECID, "MCAAMLH": _CLUSTER, "MCAAMB": re.compile(r"[!-~]{1,1024}")}
    return {name: values[name] for name, check in checks.items() if name in values and check.fullmatch(values[name])}


def _encoded(value: str) -> str:
    return quote(value, safe="!'()*")  # as encodeURIComponent does
