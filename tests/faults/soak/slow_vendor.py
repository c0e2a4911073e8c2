"""A Webtrends that takes its time for an answer, or hangs up: a process of its own, on raw sockets."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from typing import Any, Self

CONVERTED = [{"opcode": "conversion", "params": {"testAlias": "ta_A"}, "body": {}}]


class SlowVendor:
    """Runs the process; `set` says how it answers from now on, `received` what came and was answered."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self._process.stdout.readline())}"
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.communicate()

    def set(self, *, up: bool = True, answer_s: float = 0.02) -> None:
        self._ask({"up": up, "answer_s": answer_s})

    def received(self) -> list[tuple[float, str]]:
        """Return when each order was answered, on the monotonic clock, in the order of their coming."""
        return [(at, order) for at, order in self._ask({})]

    def _ask(self, what: dict[str, Any]) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


class _Server:
    def __init__(self) -> None:
        self.up, self.answer_s = True, 0.02
        self.got: list[tuple[float, str]] = []
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=256)

    def serve(self) -> None:
        while True:
            connection, _ = self.socket.accept()
            threading.Thread(target=self.talk, args=(connection,), daemon=True).start()

    def talk(self, connection: socket.socket) -> None:
        data = b""
        with connection:
            while True:
                while b"\r\n\r\n" not in data:
                    if not (more := connection.recv(65536)):
                        return
                    data += more
                head, _, data = data.partition(b"\r\n\r\n")
                length = next(
                    int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")
                )
                while len(data) < length:
                    data += connection.recv(65536)
                body, data = data[:length], data[length:]
                if not self.up:
                    return
                time.sleep(self.answer_s)
                self.got.append((time.monotonic(), str(json.loads(body)["data"]["order"])))
                answer = json.dumps(CONVERTED).encode()
                # In one piece: a second one would wait 40 ms for the first one's acknowledgement.
                head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
                connection.sendall(head % len(answer) + answer)


def main() -> None:
    server = _Server()
    threading.Thread(target=server.serve, daemon=True).start()
    print(server.socket.getsockname()[1], flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        if asked:
            server.up, server.answer_s = asked["up"], asked["answer_s"]
        print(json.dumps([] if asked else server.got), flush=True)


if __name__ == "__main__":
    main()
