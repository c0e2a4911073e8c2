"""Two vendors on one raw socket, which record what they took before they answer."""

from __future__ import annotations

import json
import random
import socket
import threading
import time
from collections import Counter
from typing import Any

from tests.support.listening import Listening

DOMAIN = 2490593
USER, CONTROL = f"_wt.user-{DOMAIN}", f"_wt.control-{DOMAIN}-ta_A"


class Vendor:
    """Answers as the vendors do, or as its `mood` says.

    Attributes:
        mood: "well", "down" (503), "half" (every second one 503), "closing" (takes it, closes without an answer),
            "slow" (takes it, answers after a while).
        took: how often each order was taken, by order.
        poisoned: how often an event of a bad visitor was tried.
    """

    def __init__(self, seed: int) -> None:
        self.mood = "well"
        self.took: Counter[str] = Counter()
        self.poisoned = 0
        self._rng, self._lock = random.Random(seed), threading.Lock()
        self._listening = Listening(self._serve)
        self.port = self._listening.port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        self._listening.close()

    def _serve(self, link: socket.socket) -> None:
        buffer = b""
        with link:
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                while True:
                    while b"\r\n\r\n" not in buffer:
                        buffer += self._received(link)
                    head, _, buffer = buffer.partition(b"\r\n\r\n")
                    length = next(
                        (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")),
                        0,
                    )
                    while len(buffer) < length:
                        buffer += self._received(link)
                    body, buffer = buffer[:length], buffer[length:]
                    answer = self._answer(head.split(b" ", 2)[1].decode(), body)
                    if answer is None:
                        return
                    link.sendall(answer)
            except OSError:
                return

    @staticmethod
    def _received(link: socket.socket) -> bytes:
        data = link.recv(65536)
        if not data:
            raise ConnectionError
        return data

    def _answer(self, path: str, body: bytes) -> bytes | None:
        try:
            document: Any = json.loads(body or b"{}")
        except ValueError:
            return _http(b"{}", 400)
        user = str(document.get("cookies", {}).get(USER, {}).get("value", "")) if "/ots/" in path else ""
        if user.startswith("bad"):
            with self._lock:
                self.poisoned += 1
            return None if user.endswith("1") else _http(b"<html>boom</html>", 500)
        mood = self.mood
        if mood == "down" or (mood == "half" and self._rng.random() < 0.5):
            return _http(b"<html>busy</html>", 503)
        orders = _orders(path, document)
        with self._lock:
            self.took.update(orders)
        if mood == "closing" and orders:
            return None
        if mood == "slow":
            time.sleep(0.4)
        return _http(json.dumps(_reply(path, document, user)).encode())


def _orders(path: str, document: Any) -> list[str]:
    if "/track/" in path:
        return [str(document.get("data", {}).get("order"))]
    events = document.get("events", []) if isinstance(document, dict) else []
    return [key for event in events for key in event.get("pageEvents", ()) if str(key).startswith("o-")]


def _reply(path: str, document: Any, user: str) -> Any:
    if "/track/" in path:
        aliases = path.rpartition("-")[2].split(",")
        return [{"opcode": "conversion", "params": {"testAlias": alias}, "body": {}} for alias in aliases]
    if "/ots/" in path:
        user = user or f"u{random.randrange(1 << 40)}"
        jar = {
            name: {"value": value, "timeout": 31536000000, "type": "persisted"}
            for name, value in ((USER, user), (CONTROL, f"c-{user}"))
        }
        params = {"testAlias": "ta_A", "r_experimentID": "11", "r_runID": "1", "r_testID": "7"}
        factors = [{"name": "f", "value": "b", "operation": 1}]
        return {"opcode": "process", "params": params, "body": {"factors": factors, "cookies": jar}}
    return {"meta": {"code": 200}, "data": {"responses": []}}


def _http(body: bytes, status: int = 200) -> bytes:
    head = f"HTTP/1.1 {status} Scripted\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body
