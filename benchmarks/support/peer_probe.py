"""Measure one other vendor's SDK against the stub. Runs in the venv of `peers.py`, which has no flagmw.

    python -m benchmarks.support.peer_probe posthog http://127.0.0.1:8000 --calls 1000 --callers 16
    python -m benchmarks.support.peer_probe posthog http://127.0.0.1:8000 --hung 8

Every SDK is set up as its documentation shows, its addresses through its own options. Prints JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.support.answers import FLAG
from benchmarks.support.harness import OWN, pin, tasks, threads

_visitors = (f"visitor-{number}" for number in itertools.count())


def posthog(url: str) -> Callable[[], Any]:
    from posthog import Posthog

    client = Posthog("phc_key", host=url, disable_geoip=True, sync_mode=False)
    return lambda: client.get_feature_flag(FLAG, next(_visitors), send_feature_flag_events=False)


def amplitude(url: str, **options: Any) -> Callable[[], Any]:
    from amplitude_experiment import Experiment, RemoteEvaluationConfig, User

    client = Experiment.initialize_remote("key", RemoteEvaluationConfig(server_url=url, **options))
    return lambda: client.fetch_v2(User(user_id=next(_visitors)))[FLAG].value


def amplitude_pool(url: str) -> Callable[[], Any]:
    return amplitude(url, connection_pool_max_size=16)


def flagsmith(url: str) -> Callable[[], Any]:
    from flagsmith import Flagsmith

    client = Flagsmith(environment_key="key", api_url=f"{url}/api/v1/")
    return lambda: client.get_identity_flags(next(_visitors)).get_feature_value(FLAG)


def ofrep(url: str) -> Callable[[], Any]:
    from openfeature import api
    from openfeature.contrib.provider.ofrep import OFREPProvider
    from openfeature.evaluation_context import EvaluationContext

    api.set_provider(OFREPProvider(url))
    client = api.get_client()
    return lambda: client.get_string_value(FLAG, "control", EvaluationContext(next(_visitors)))


def devcycle(url: str) -> Callable[[], Any]:
    from devcycle_python_sdk import DevCycleCloudClient, DevCycleCloudOptions
    from devcycle_python_sdk.models.user import DevCycleUser

    client = DevCycleCloudClient("dvc_server_key", DevCycleCloudOptions(bucketing_api_uri=f"{url}/"))
    return lambda: client.variable_value(DevCycleUser(user_id=next(_visitors)), FLAG, "control")


def target(url: str) -> Callable[[], Any]:
    from delivery_api_client import ChannelType, Context, DeliveryRequest, ExecuteRequest, MboxRequest
    from target_python_sdk import TargetClient

    host = url.removeprefix("http://")
    place = {"server_domain": host, "secure": False}
    client = TargetClient.create({"client": "acme", "organization_id": "o@AdobeOrg", **place})

    def ask() -> Any:
        boxes = ExecuteRequest(mboxes=[MboxRequest(name=FLAG, index=0)])
        request = DeliveryRequest(context=Context(channel=ChannelType.WEB), execute=boxes)
        answer = client.get_offers({"request": request})["response"]
        return answer.execute.mboxes[0].options[0].content["variant"]

    return ask


async def growthbook(url: str, visitors: Iterator[str] = _visitors) -> Callable[[], Any]:
    from growthbook.common_types import Options, UserContext
    from growthbook.growthbook_client import GrowthBookClient

    client = GrowthBookClient(Options(api_host=url, client_key="sdk-key", remote_eval=True, refresh_strategy=None))
    await client.initialize()

    async def ask() -> Any:
        return await client.get_feature_value(FLAG, "control", UserContext(attributes={"id": next(visitors)}))

    return ask


async def growthbook_cached(url: str) -> Callable[[], Any]:
    """One visitor again and again: the SDK keeps decisions for a minute."""
    return await growthbook(url, itertools.repeat("visitor"))


async def ofrep_async(url: str) -> Callable[[], Any]:
    from openfeature import api
    from openfeature.contrib.provider.ofrep import OFREPProvider
    from openfeature.evaluation_context import EvaluationContext

    api.set_provider(OFREPProvider(url))
    client = api.get_client()
    return lambda: client.get_string_value_async(FLAG, "control", EvaluationContext(next(_visitors)))


async def posthog_async(url: str) -> Callable[[], Any]:
    from posthog import AsyncPosthog

    client = AsyncPosthog("phc_key", host=url, disable_geoip=True)

    async def ask() -> Any:
        return (await client.evaluate_flags(next(_visitors))).get_flag(FLAG)

    return ask


BLOCKING = {
    "posthog": posthog,
    "amplitude": amplitude,
    "amplitude-pool-16": amplitude_pool,
    "devcycle": devcycle,
    "flagsmith": flagsmith,
    "ofrep": ofrep,
    "target": target,
}
ASYNC = {
    "growthbook": growthbook,
    "growthbook-cached": growthbook_cached,
    "ofrep-async": ofrep_async,
    "posthog-async": posthog_async,
}


def measure(name: str, url: str, calls: int, callers: int) -> dict[str, Any]:
    if name in ASYNC:

        async def main() -> Any:
            ask = await ASYNC[name](url)
            got = await ask()
            await tasks(ask, callers * 2, callers)
            return got, await tasks(ask, calls, callers)

        got, figures = asyncio.run(main())
    else:
        ask = BLOCKING[name](url)
        got = ask()
        threads(ask, callers * 2, callers)
        figures = threads(ask, calls, callers)
    if got != "variation":
        raise SystemExit(f"{name} decided {got!r} instead of 'variation'")
    return dict(figures)


def hung(name: str, url: str, patience_s: float) -> dict[str, Any]:
    """Return for how long one decision waits for a vendor that never answers; *patience_s* if no end is seen."""

    def ask() -> None:
        try:
            if name in ASYNC:

                async def main() -> None:
                    await (await ASYNC[name](url))()

                asyncio.run(main())
            else:
                BLOCKING[name](url)()
        except Exception as error:
            seen["end"] = type(error).__name__
        else:
            seen["end"] = "a default"

    seen: dict[str, Any] = {"end": "still waiting"}
    thread = threading.Thread(target=ask, daemon=True)
    started = time.perf_counter()
    thread.start()
    thread.join(patience_s)
    return {"waited_s": time.perf_counter() - started, **seen}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("peer", choices=[*BLOCKING, *ASYNC])
    options.add_argument("url")
    options.add_argument("--calls", type=int, default=1000)
    options.add_argument("--callers", type=int, default=16)
    options.add_argument("--hung", type=float)
    asked = options.parse_args()
    pin(OWN)
    logging.disable(logging.CRITICAL)
    if asked.hung is None:
        found = measure(asked.peer, asked.url, asked.calls, asked.callers)
    else:
        found = hung(asked.peer, asked.url, asked.hung)
    print(json.dumps(found), flush=True)
    # Some of them keep threads that would never let the process end.
    os._exit(0)


if __name__ == "__main__":
    main()
