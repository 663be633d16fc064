"""kombu's Redis transport, less its cares for what a consumer leaves behind.

A consumer that is told to stop is still in a blocking pop, and what comes out of it has left the queue. kombu would put
it back, which the node's user may not, and then write it, prompt and all, to a file. Here it is handed over as ever.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kombu.transport import redis

LeftOver = Callable[[Any], None]  # a kombu message


class _Channel(redis.Channel):  # type: ignore[misc, unused-ignore]
    # nothing is acknowledged, so nothing is restored: leases are the coordinator's
    do_restore = False


def transport_with(left_over: LeftOver) -> type[redis.Transport]:
    """`left_over` takes the message that arrives when its consumer is gone already."""

    class _Transport(redis.Transport):  # type: ignore[misc, unused-ignore]
        Channel = _Channel

        def _deliver(self, message: Any, queue: str) -> None:
            if queue in self._callbacks:
                super()._deliver(message, queue)  # type: ignore[no-untyped-call, unused-ignore]
            else:
                left_over(_Channel.Message(message, channel=self.channels[0]))  # type: ignore[no-untyped-call, unused-ignore]

    return _Transport
