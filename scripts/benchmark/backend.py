"""An OpenAI-compatible server that answers at once, in few words. `python -m scripts.benchmark.backend PORT`"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

COMPLETION = (
    b'{"id":"chatcmpl-bench","object":"chat.completion","created":1795000000,"model":"relay/tiny-chat","choices":'
    b'[{"index":0,"message":{"role":"assistant","content":"Hello! How can I help you?"},"finish_reason":"stop",'
    b'"logprobs":null}],"usage":{"prompt_tokens":12,"completion_tokens":9,"total_tokens":21}}'
)
MODELS = b'{"object":"list","data":[{"id":"relay/tiny-chat","object":"model","created":0,"owned_by":"bench"}]}'
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"


class Answering(asyncio.Protocol):
    """HTTP/1.1 with keep-alive, as much of it as our clients speak."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            length = _length(self._buffer[:end])
            if len(self._buffer) < end + 4 + length:
                return
            answer = MODELS if self._buffer.startswith(b"GET") else COMPLETION
            self._buffer = self._buffer[end + 4 + length :]
            self._transport.write(HEAD % len(answer) + answer)


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line[15:])
    return 0


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Answering, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    import uvloop

    uvloop.run(serve(int(sys.argv[1])))
