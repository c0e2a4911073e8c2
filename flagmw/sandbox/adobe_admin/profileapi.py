"""The emulated Profile API: reading, single updates, bulk updates and their state."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus
from xml.sax.saxutils import escape

from flagmw.sandbox.adobe_admin.profiles import MISSING, BulkUpload, IdKind, Rows
from flagmw.sandbox.adobe_admin.serving import store_of

if TYPE_CHECKING:
    from flagmw.sandbox.adobe.model import TargetAccount
    from flagmw.sandbox.state import Sandbox

MAX_GET, MAX_POST = 8 * 1024, 60 * 1024
MAX_UPLOAD, MAX_ROWS = 50 * 1000 * 1000, 500_000
ACCEPTED = "Request successfully submitted"
Pairs = Sequence[tuple[str, str]]


class ProfileError(Exception):
    """A refusal by the Profile API; its text is the message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status

    def document(self) -> dict[str, Any]:
        """Return the answer's body."""
        return {"status": self.status, "message": str(self)}


def account_of(sandbox: Sandbox, client: str | None) -> TargetAccount:
    """Return the account of a client code.

    Raises:
        ProfileError: there is none.
    """
    account = next((account for account in sandbox.scenario.adobe if account.client == client), None)
    if account is None:
        raise ProfileError(400, f"client {client} is unknown")
    return account


def check_token(sandbox: Sandbox, account: TargetAccount, headers: Mapping[str, str]) -> None:
    """Check the token, where the account demands one.

    Raises:
        ProfileError: it is missing or not the one that is good now.
    """
    if not account.admin.profile_auth:
        return
    scheme, _, bearer = headers.get("authorization", "").partition(" ")
    given = bearer.strip() if scheme.lower() == "bearer" else headers.get("access_token", headers.get("access-token"))
    token = store_of(sandbox, account).token("profile_api", sandbox.clock())
    if token is None or given != token.value:
        raise ProfileError(401, "the profile authentication token is missing or not valid")


def fetched(sandbox: Sandbox, account: TargetAccount, kind: str, visitor_id: str) -> dict[str, Any]:
    """Return a profile.

    Raises:
        ProfileError: there is none.
    """
    profile = sandbox.target.profiles.find(account.client, kind, visitor_id, sandbox.clock())
    if profile is None:
        raise ProfileError(404, f"No profile found for client {account.client} with {MISSING[kind]}={visitor_id}")
    return {
        "client": account.client,
        "visitorId": visitor_id,
        "modifiedAt": _stamp(profile.modified),
        "profileAttributes": {
            name: {"value": value, "modifiedAt": _stamp(at)} for name, (value, at) in sorted(profile.attributes.items())
        },
    }


def updated(sandbox: Sandbox, account: TargetAccount, pairs: Pairs) -> str:
    """Set attributes of one profile; an unknown visitor is ignored, with the same answer."""
    ids = {"mboxPC": "tnt", "mbox3rdPartyId": "thirdPartyId"}
    given = [(ids[name], value) for name, value in pairs if name in ids and value]
    if len(given) != 1:
        return answer_of(False, "either mboxPC or mbox3rdPartyId must be given")
    values = {name.removeprefix("profile."): value for name, value in pairs if name.startswith("profile.")}
    kind, visitor_id = given[0]
    sandbox.target.profiles.update(account.client, kind, visitor_id, values, sandbox.clock())
    return answer_of(True, ACCEPTED)


def uploaded(
    sandbox: Sandbox,
    account: TargetAccount,
    version: int,
    batch: tuple[Sequence[str], Rows, IdKind],
    url: str,
) -> str:
    """Take a bulk update and answer where its state is told.

    Args:
        batch: what `rows_of` returned.
        url: of the sandbox.
    """
    (names, rows, kind), now = batch, sandbox.clock()
    batch_id = f"{account.client}-{int(now * 1000)}-{uuid.uuid4().hex[:8]}"
    due = now + account.admin.bulk_s
    sandbox.target.profiles.take(BulkUpload(batch_id, account.client, kind, version, names, rows, due, len(rows)))
    host = f"http://mboxedge{account.cluster}.tt.omtrdc.net" if account.admin.edge_status else url
    return answer_of(True, "Batch submitted for processing", f"{host}{status_path(account.client, batch_id)}")


def status_path(client: str, batch_id: str) -> str:
    """Return the path of an upload's state."""
    return f"/m2/{client}/profile/batchStatus?batchId={batch_id}"


def status(sandbox: Sandbox, account: TargetAccount, batch_id: str | None, *, details: bool) -> str:
    """Return the state of a bulk update: incomplete until its time has passed.

    Raises:
        ProfileError: there is none of this id.
    """
    upload = sandbox.target.profiles.upload(batch_id or "", sandbox.clock())
    if upload is None or upload.client != account.client:
        raise ProfileError(404, f"No batch found with id={batch_id}")
    fields: dict[str, object] = {"batchId": upload.id, "status": "complete" if upload.done else "incomplete"}
    fields["batchSize"] = upload.size
    if details:
        fields["consumedCount"] = upload.updated + upload.missing
        fields["successfulUpdates"] = upload.updated
        fields["profilesNotFound"] = upload.missing
        fields["failedUpdates"] = 0
    return _xml(fields)


def rows_of(body: bytes) -> tuple[Sequence[str], Rows, IdKind]:
    """Return the names and rows of a bulk update, and what identifies the rows.

    Raises:
        ValueError: the body is no batch; the text is the message of the answer.
    """
    if not body.startswith(b"batch="):
        raise ValueError("the body must begin with batch=")
    lines = body[6:].decode("utf-8", "replace").splitlines()
    names = [unquote_plus(name.strip()) for name in lines[0].split(",")] if lines else [""]
    kinds: dict[str, IdKind] = {"pcId": "pcId", "thirdPartyId": "thirdPartyId"}
    if names[0] not in kinds:
        raise ValueError("the first header must be pcId or thirdPartyId")
    if len(lines) - 1 > MAX_ROWS:
        raise ValueError(f"a batch must not have more than {MAX_ROWS} rows")
    rows: list[tuple[str, ...]] = []
    decode: Callable[[str], str] = lambda text: unquote_plus(text) if "%" in text or "+" in text else text  # noqa: E731
    for line in lines[1:]:
        cells = [decode(cell.strip()) for cell in line.split(",")]
        if len(cells) > len(names):
            raise ValueError(f"row {len(rows) + 1} has more values than there are headers")
        if cells[0]:
            rows.append(tuple(cells))
    if not rows:
        raise ValueError("the batch has no rows")
    return names[1:], rows, kinds[names[0]]


def answer_of(success: bool, message: str, batch_status: str | None = None) -> str:
    """Return the XML that answers an update."""
    fields: dict[str, object] = {"success": str(success).lower()}
    if batch_status is not None:
        fields["batchStatus"] = batch_status
    return _xml({**fields, "message": message})


def _xml(fields: Mapping[str, object]) -> str:
    inner = "".join(f"<{name}>{escape(str(value))}</{name}>" for name, value in fields.items())
    return f"<response>{inner}</response>"


def _stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
