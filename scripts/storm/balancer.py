"""A load balancer, as small as can be: each connection goes to one of the API processes that accept it.

`python -m scripts.storm.balancer PORT TARGET…`. Nodes call the coordinator through it, as they would over the internet:
one API process that restarts is no outage to them.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys

CHUNK = 65536


async def serve(port: int, targets: list[int]) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for target in random.sample(targets, len(targets)):
            with contextlib.suppress(OSError):
                there = await asyncio.open_connection("127.0.0.1", target)
                await asyncio.gather(_pass(reader, there[1]), _pass(there[0], writer))
                return
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", port, backlog=256)
    await server.serve_forever()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Until one side has ended: then the other one is ended as well."""
    with contextlib.suppress(OSError):
        while part := await reader.read(CHUNK):
            writer.write(part)
            await writer.drain()
    writer.close()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), [int(word) for word in sys.argv[2:]]))
