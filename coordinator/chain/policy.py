"""How fast, how long and how often the chain writer does things."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from coordinator.chain.fees import FeePolicy


@dataclass(frozen=True, slots=True)
class SendingPolicy:
    """`in_flight`: how many batches may wait to be mined at once.

    After `rebroadcast` an unmined batch is sent out again, after `bump` with higher fees, and after `alarm` forms its
    legs show that it is stuck. One that the endpoint refuses `refusals` times is taken apart. What only seems to be
    lost is waited for with `patience`; what the deposit doesn't cover is tried again after `deposit_patience`.
    """

    batch_size: int = 50
    in_flight: int = 16
    rebroadcast: timedelta = timedelta(seconds=3)
    bump: timedelta = timedelta(seconds=20)
    alarm: int = 6
    refusals: int = 6
    patience: timedelta = timedelta(seconds=2)
    deposit_patience: timedelta = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class WriterPolicy:
    """`batch_wait`: how long a batch collects. `longest_look`: the longest between two looks at what is on its way.

    `idle_look`: how often the chain is looked at when nothing is on its way, to notice that it was rewound.
    """

    confirmations: int = 1
    batch_wait: timedelta = timedelta(milliseconds=200)
    idle_look: timedelta = timedelta(seconds=5)
    longest_look: timedelta = timedelta(seconds=3)
    sending: SendingPolicy = field(default_factory=SendingPolicy)
    fees: FeePolicy = field(default_factory=FeePolicy)
