"""Drive Adobe's Python client by lines of JSON on standard input; answer each with one line of JSON.

Runs under an interpreter of its own, which has that client and nothing of flagmw.
"""

import json
import sys

import target_python_sdk.cookies as cookies
import target_python_sdk.helper as helper
from delivery_api_client import (
    ApiClient,
    ApiException,
    Context,
    DeliveryRequest,
    ExecuteRequest,
    MboxRequest,
    MetricType,
    ModelProperty,
    Notification,
    NotificationMbox,
    PrefetchRequest,
    VisitorId,
)  # fmt: skip
from target_python_sdk import TargetClient

real = helper.get_epoch_time, cookies.get_epoch_time_milliseconds, cookies.time.time
clients = {}


def create(id, port, config=None, **_):
    given = {
        "client": "demo",
        "organization_id": "0123456789ABCDEF@AdobeOrg",
        "timeout": 5000,
        "telemetry_enabled": False,
    }
    clients[id] = TargetClient.create(
        {**given, "server_domain": f"127.0.0.1:{port}", "secure": False, **(config or {})}
    )
    return {}


def request_of(given):
    mboxes = {
        section: [MboxRequest(**one) for one in given[section]["mboxes"]]
        for section in ("execute", "prefetch")
        if section in given
    }
    notifications = [
        Notification(
            id=one["id"],
            type=MetricType.CLICK if one["type"] == "click" else MetricType.DISPLAY,
            timestamp=one["timestamp"],
            mbox=NotificationMbox(name=one["mbox"]["name"]),
            tokens=one["tokens"],
        )
        for one in given.get("notifications", ())
    ]
    ids = given.get("id")
    return DeliveryRequest(
        id=VisitorId(tnt_id=ids["tntId"]) if ids else None,
        context=Context(channel="web"),
        _property=ModelProperty(token=given["property"]["token"]) if "property" in given else None,
        execute=ExecuteRequest(mboxes=mboxes["execute"]) if "execute" in mboxes else None,
        prefetch=PrefetchRequest(mboxes=mboxes["prefetch"]) if "prefetch" in mboxes else None,
        notifications=notifications or None,
    )


def offers(id, options, now=None, **_):
    if now is not None:
        helper.get_epoch_time = lambda: -(-now // 1000)
        cookies.get_epoch_time_milliseconds = lambda: now
        cookies.time.time = lambda: now / 1000
    given = {"request": request_of(options["request"])}
    for theirs, ours in (("target_cookie", "targetCookie"), ("session_id", "sessionId")):
        if ours in options:
            given[theirs] = options[ours]
    try:
        found = clients[id].get_offers(given)
    except ApiException as error:
        return {"error": str(error.body or error)}
    finally:
        helper.get_epoch_time, cookies.get_epoch_time_milliseconds, cookies.time.time = real
    response = ApiClient().sanitize_for_serialization(found["response"])
    return {
        "response": response,
        "cookie": found.get("target_cookie"),
        "hint": found.get("target_location_hint_cookie"),
    }


def notify(id, options, **_):
    given = {"request": request_of(options["request"])}
    if "targetCookie" in options:
        given["target_cookie"] = options["targetCookie"]
    try:
        found = clients[id].send_notifications(given)
    except ApiException as error:
        return {"error": str(error.body or error)}
    return {"response": ApiClient().sanitize_for_serialization(found["response"])}


def attributes(id, mboxes, keys, options=None, **_):
    found = clients[id].get_attributes(mboxes, {"request": request_of({"execute": {"mboxes": []}})})
    return {"values": [[found.get_value(mbox, key) for key in keys] for mbox in mboxes]}


for line in sys.stdin:
    command = json.loads(line)
    try:
        answer = {"create": create, "offers": offers, "notify": notify, "attributes": attributes}[command.pop("op")](
            **command
        )
    except Exception as error:
        answer = {"failed": repr(error)}
    print(json.dumps(answer), flush=True)
