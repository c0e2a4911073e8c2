"""Profiles of visitors, through the Profile API."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from flagmw.admin.adobe.profiles.answers import Accepted, BatchStatus, accepted, check_library
from flagmw.admin.adobe.profiles.encode import IdKind
from flagmw.admin.adobe.profiles.parts import MAX_BYTES, MAX_ROWS
from flagmw.admin.adobe.profiles.requests import Profile, checked_client, fetch_request, update_request
from flagmw.admin.adobe.profiles.upload import BulkOptions, BulkResult, Progress, Upload, state_of
from flagmw.admin.bulk.sources import Format, Rejected, Source
from flagmw.admin.errors import AmbiguousError, AnswerError, InvalidError
from flagmw.admin.flow.effects import Flow
from flagmw.admin.flow.operation import M, Resource, operation
from flagmw.admin.http.request import ApiRequest


class Profiles(Resource[M]):
    """Profiles of visitors. The client needs `client_code`, and `profile_auth` where the account demands it."""

    @operation
    def fetch(self, tnt_id: str) -> Flow[Profile]:
        """Return the profile of a visitor by Adobe's own id (`tntId`, `pcId`, `mboxPC`).

        Raises:
            NotFoundError: there is none, or it has expired.
        """
        return (yield from self._fetched("", tnt_id))

    @operation
    def fetch_by_third_party_id(self, third_party_id: str) -> Flow[Profile]:
        """Return the profile of a visitor by the site's own id."""
        return (yield from self._fetched("thirdPartyId", third_party_id))

    @operation
    def fetch_by_ecid(self, ecid: str) -> Flow[Profile]:
        """Return the profile of a visitor by the Experience Cloud id."""
        return (yield from self._fetched("marketingCloudVisitorId", ecid))

    @operation
    def update(
        self,
        attributes: Mapping[str, Any],
        *,
        tnt_id: str | None = None,
        third_party_id: str | None = None,
        method: Literal["GET", "POST"] = "POST",
    ) -> Flow[Accepted]:
        """Set attributes of one profile. A visitor that Adobe does not know is ignored, with the same answer.

        The vendor takes a million of these in 24 hours and applies them within an hour as a rule.

        Args:
            attributes: by name, with or without "profile."; text, numbers, booleans.
            tnt_id, third_party_id: whose profile; exactly one of them.
            method: GET takes 8 kB, POST 60 kB.

        Raises:
            InvalidError: the values are too large or cannot be sent.
        """
        client = self._client
        code = checked_client(client.client_code)
        ids = {"mboxPC": tnt_id, "mbox3rdPartyId": third_party_id}
        check_library()
        request = update_request(client.profile_root, code, ids, attributes, method)
        reply = yield from self._sent(request)
        try:
            answer = accepted(reply)
        except AnswerError as error:
            text = f"{error.args[0]}: it may have been done or not"
            raise AmbiguousError(text, operation=request.operation, status=reply.status) from None
        if not answer.success:
            raise InvalidError(f"the vendor refuses the update: {answer.message}", operation=request.operation)
        return answer

    @operation
    def bulk_update(
        self,
        source: Source,
        *,
        id_kind: IdKind | None = None,
        id_column: str | None = None,
        columns: Sequence[str] | None = None,
        format: Format | None = None,
        version: Literal[1, 2] = 2,
        send_repeats: bool | None = None,
        journal: str | Path | None = None,
        max_rows: int = MAX_ROWS,
        max_bytes: int = MAX_BYTES,
        wait_s: float = 0.0,
        on_progress: Callable[[Progress], object] | None = None,
        on_rejected: Callable[[Rejected], object] | None = None,
    ) -> Flow[BulkResult]:
        """Set attributes of many profiles, in uploads of at most 50 MB and 500,000 rows, in constant memory.

        Rows of one id in one upload are merged. Empty values are ignored by the vendor and never clear anything.
        After a kill, call it again with the same source and the same *journal*: accepted parts are not sent
        again. A part with an unknown result is sent again and marked `maybe_twice`.

        Args:
            source: a path, a file, or rows: mappings, sequences, a database cursor. In the asynchronous client it is
                read in another thread.
            id_kind: what identifies a row: "pcId" (Adobe's own id) or "thirdPartyId" (the site's own). By default what
                the first column is called.
            id_column: the column of the source that holds the id; the one called like *id_kind* by default.
            columns: names of the values of each row, for rows that are sequences.
            format: of a file, "csv", "jsonl", "batch" (the vendor's own form); by the name's end when left out.
            version: 2 creates profiles that are missing, 1 does not.
            send_repeats: whether a row is sent whose id is in an earlier part. By default not with version 2 and
                "thirdPartyId", where it would override the earlier part; it is reported instead.
            journal: a folder that keeps what was sent, so that a run can be resumed.
            max_rows, max_bytes: of one part.
            wait_s: how long to follow the vendor's work after the last part, in seconds; 0 not at all.
            on_progress: called after every step.
            on_rejected: called with every row that cannot be sent.

        Raises:
            InvalidError: there is nothing to send, or an option is wrong.
            ConflictError: the source has changed since the run that is resumed, or another process is at it.
            AmbiguousError: a part may or may not have been taken; call again with the same *journal*.
        """
        client = self._client
        code = checked_client(client.client_code)
        options = BulkOptions(
            id_kind=id_kind,
            id_column=id_column,
            columns=columns,
            format=format,
            version=version,
            send_repeats=send_repeats,
            journal=journal,
            max_rows=max_rows,
            max_bytes=max_bytes,
            wait_s=wait_s,
            on_progress=on_progress,
            on_rejected=on_rejected,
        )
        upload = Upload(client.bulk_exchange, client.profile_root, code, source, options)
        if self._planning:
            yield from upload.plan()
        return (yield from upload.run())

    @operation
    def bulk_status(self, status_url: str) -> Flow[BatchStatus]:
        """Return the vendor's progress with an upload.

        Args:
            status_url: from a `SentPart`.
        """
        checked_client(self._client.client_code)
        return (yield from state_of(self._client.bulk_exchange, self._client.profile_root, status_url))

    def _fetched(self, kind: str, identity: str) -> Flow[Profile]:
        client = self._client
        request = fetch_request(client.profile_root, checked_client(client.client_code), kind, identity)
        if self._planning:
            client.profile_exchange.stop(request)
        answer = yield from client.profile_exchange.json(request)
        if not isinstance(answer, dict):
            raise AnswerError("the answer is no profile; check profile_url", operation=request.operation)
        profile: Profile = answer  # type: ignore[assignment]
        return profile

    def _sent(self, request: ApiRequest) -> Flow[Any]:
        if self._planning:
            self._client.profile_exchange.stop(request)
        return (yield from self._client.profile_exchange.send(request))
