"""What the API hands over once a client's request has been checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Mode = Literal["opengpu", "direct"]


@dataclass(frozen=True, slots=True)
class Order:
    """A checked request. `request` is the exact body for the model server: JSON, the relay's own fields taken out."""

    mode: Mode
    model: str
    request: bytes
    caller: str
    asynchronous: bool = False
