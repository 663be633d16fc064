"""`python -m coordinator nodes`: who works, how much, and what was seen of each."""

from __future__ import annotations

import argparse
from typing import Any

from coordinator.commands import running
from coordinator.protocol.session import Condition, Speed, Standing
from coordinator.settings import Settings
from coordinator.store.nodes import NodeRow, NodeStore
from coordinator.store.scripts import Scripts


def add_to(commands: Any) -> None:
    parser = commands.add_parser("nodes", help="list the nodes: load, condition, record, measured speed")
    parser.set_defaults(run=running(_list, _part))


async def _list(nodes: NodeStore, arguments: argparse.Namespace) -> list[str]:
    return [_line(row, await nodes.standing(row.node)) for row in await nodes.all()]


def _line(row: NodeRow, seen: Standing) -> str:
    state = "draining" if row.draining else "alive" if row.alive else "silent"
    record = f"{seen.successes:.0f} well, {seen.faults:.0f} faulty, {seen.timeouts:.0f} late"
    models = (_model(model, seen.speeds.get(model)) for model in row.models)
    return "  ".join((row.node, state, f"{row.held}/{row.slots}", _condition(seen), record, ", ".join(models)))


def _condition(seen: Standing) -> str:
    if seen.condition is Condition.SUSPENDED and seen.suspended_ms is not None:
        return f"suspended for {seen.suspended_ms / 1000:.0f} s more"
    return {Condition.GOOD: "trusted", Condition.PROBATION: "on probation: one at a time"}[seen.condition]


def _model(model: str, speed: Speed | None) -> str:
    if speed is None or speed.first_token_ms is None:
        return f"{model} (nothing measured)"
    rate = f"{speed.tokens_per_second:.1f} tokens/s, " if speed.tokens_per_second is not None else ""
    return f"{model} ({rate}first token after {speed.first_token_ms / 1000:.2f} s)"


def _part(redis: Any, settings: Settings) -> NodeStore:
    return NodeStore(redis, Scripts(redis, settings.policy))
