"""Train the model and write it out: `python -m scripts.tiny_model --steps 2800 --out node/inference/tiny-chat.gguf`."""

import argparse
from pathlib import Path

from scripts.tiny_model.batches import trained_tokenizer
from scripts.tiny_model.export import write_gguf
from scripts.tiny_model.model import Shape
from scripts.tiny_model.train import Plan, train
from scripts.tiny_model.vocabulary import vocabulary


def main() -> None:
    """Tokenizer, training, files. The card is for `python -m scripts.tiny_model.card`: it needs the real server."""
    chosen = _options()
    tokenizer = trained_tokenizer(chosen.seed)
    plan = Plan(steps=chosen.steps, seed=chosen.seed)
    model = train(tokenizer, Shape(len(tokenizer.tokens)), plan, chosen.kept, lambda line: print(line, flush=True))
    print(f"{chosen.out}: {write_gguf(chosen.out, model, tokenizer):,} parameters")
    chosen.out.with_suffix(".tokenizer.json").write_text(vocabulary(tokenizer), encoding="utf-8")
    chosen.kept.unlink()


def _options() -> argparse.Namespace:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--steps", type=int, default=Plan.steps)
    options.add_argument("--seed", type=int, default=Plan.seed)
    options.add_argument("--out", type=Path, default=Path("node/inference/tiny-chat.gguf"))
    options.add_argument("--kept", type=Path, default=Path("build/tiny-chat.pt"), help="the state, to go on from")
    return options.parse_args()


if __name__ == "__main__":
    main()
