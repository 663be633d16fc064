"""An OpenAI-compatible server that answers at once. `python -m scripts.benchmark.backend PORT`

In few words, or, where a stream is asked for with `max_tokens`, in so many frames; each is a write of its own, as from
a model that writes them one by one.
"""

from __future__ import annotations

import asyncio
import re
import sys
from typing import cast

COMPLETION = (
    b'{"id":"chatcmpl-bench","object":"chat.completion","created":1795000000,"model":"relay/tiny-chat","choices":'
    b'[{"index":0,"message":{"role":"assistant","content":"Hello! How can I help you?"},"finish_reason":"stop",'
    b'"logprobs":null}],"usage":{"prompt_tokens":12,"completion_tokens":9,"total_tokens":21}}'
)
MODELS = b'{"object":"list","data":[{"id":"relay/tiny-chat","object":"model","created":0,"owned_by":"bench"}]}'
FRAME = (
    b'data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1795000000,"model":"relay/tiny-chat",'
    b'"choices":[%b]}\n\n'
)
TEXT = b'{"index":0,"delta":{"content":"%b"},"logprobs":null,"finish_reason":null}'
BEGIN = FRAME % b'{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}'
END = FRAME % b'{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}'
USAGE = b',"usage":{"prompt_tokens":12,"completion_tokens":%d,"total_tokens":%d}}\n\n'
DONE = b"data: [DONE]\n\n"
WORDS = (b"Hello", b"!", b" How", b" can", b" I", b" help", b" you", b"?")
MOST = 10_000
ASKED = re.compile(rb'"max_(?:completion_)?tokens":\s*(\d+)')
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"


def stream(tokens: int) -> bytes:
    """A whole answer: so many frames with a word each, and four around them."""
    texts = b"".join(FRAME % (TEXT % WORDS[number % len(WORDS)]) for number in range(tokens))
    counts = (FRAME % b"").removesuffix(b"}\n\n") + USAGE % (tokens, tokens + 12)
    return BEGIN + texts + END + counts + DONE


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
            message, self._buffer = self._buffer[: end + 4 + length], self._buffer[end + 4 + length :]
            if b'"stream":true' in message:
                self._stream(message)
            else:
                answer = MODELS if message.startswith(b"GET") else COMPLETION
                self._transport.write(HEAD % len(answer) + answer)

    def _stream(self, message: bytes) -> None:
        asked = ASKED.search(message)
        self._transport.write(STREAM_HEAD)
        for frame in stream(min(int(asked[1]), MOST) if asked else 9).split(b"\n\n")[:-1]:
            self._transport.write(b"%x\r\n%b\n\n\r\n" % (len(frame) + 2, frame))
        self._transport.write(b"0\r\n\r\n")


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
