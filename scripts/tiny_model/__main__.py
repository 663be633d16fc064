"""Train the model and write it out: `python -m scripts.tiny_model --steps 9000 --out node/inference/tiny-chat.gguf`."""

import argparse
import time
from itertools import islice
from pathlib import Path

from scripts.tiny_model.export import write_gguf
from scripts.tiny_model.model import Shape
from scripts.tiny_model.text import conversations
from scripts.tiny_model.tokenizer import Tokenizer, learn_merges
from scripts.tiny_model.train import Plan, train

MERGES = 700
SAMPLED = 20_000
"""Conversations the tokenizer is learned from; more change no merge that matters."""


def main() -> None:
    """Tokenizer, training, file; the card is `python -m scripts.tiny_model.card`, since it needs the real server."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--steps", type=int, default=Plan.steps)
    options.add_argument("--seed", type=int, default=Plan.seed)
    options.add_argument("--out", type=Path, default=Path("node/inference/tiny-chat.gguf"))
    chosen = options.parse_args()
    began = time.monotonic()
    texts = (message.content for one in islice(conversations(chosen.seed), SAMPLED) for message in one)
    tokenizer = Tokenizer(learn_merges(texts, MERGES))
    print(f"tokenizer: {len(tokenizer.tokens)} tokens, {time.monotonic() - began:.0f} s", flush=True)
    model = train(tokenizer, Shape(len(tokenizer.tokens)), Plan(steps=chosen.steps, seed=chosen.seed))
    parameters = write_gguf(chosen.out, model, tokenizer)
    print(f"{chosen.out}: {parameters:,} parameters, {time.monotonic() - began:.0f} s in all")


if __name__ == "__main__":
    main()
