"""What each tier allows. An operator's catalogue goes before the numbers here, and a key's own limits before both."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from coordinator.lifecycle.caller import TIERS, Tier

Rate = Annotated[int, Field(ge=1, le=10_000_000)]
# {mode}.{source}.{model}; also written into a Lua script, between quotes
SCOPE: Final = re.compile(r"^(direct|opengpu)\.[a-z0-9_-]{1,40}\.[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199}$")
ScopeName = Annotated[str, Field(pattern=SCOPE.pattern)]


class TierLimits(BaseModel):
    """Rates are requests a minute: as many at once, and then one each minute's share of them.

    `model_restrictions`: the scopes that may be used, all when there are none. `concurrent`: unfinished tasks and
    calls at a time. `max_keys`: keys of an account of this tier.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    opengpu: Rate
    direct: Rate
    overall: Rate = Field(validation_alias="global")
    concurrent: Annotated[int, Field(ge=1, le=1_000_000)]
    max_keys: Annotated[int, Field(ge=0, le=100_000)]
    model_restrictions: list[ScopeName] = []


DEFAULT_TIERS: Final[Mapping[Tier, Mapping[str, int]]] = {
    "guest": {"opengpu": 20, "direct": 20, "global": 30, "concurrent": 4, "max_keys": 0},
    "basic": {"opengpu": 60, "direct": 120, "global": 150, "concurrent": 32, "max_keys": 20},
    "pro": {"opengpu": 600, "direct": 1200, "global": 1500, "concurrent": 256, "max_keys": 200},
    "max": {"opengpu": 6000, "direct": 12_000, "global": 15_000, "concurrent": 2048, "max_keys": 1000},
}


def default_tiers() -> Mapping[Tier, TierLimits]:
    return {tier: TierLimits.model_validate(DEFAULT_TIERS[tier]) for tier in TIERS}
