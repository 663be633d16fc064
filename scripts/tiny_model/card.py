"""Write the model card, with every number measured anew: `python -m scripts.tiny_model.card --minutes 30`."""

import argparse
import hashlib
import json
import urllib.request
from pathlib import Path

from scripts.tiny_model import server
from scripts.tiny_model.evaluate import Score, evaluate, examiner
from scripts.tiny_model.text import ALL_TOPICS

CARD = """# Tiny Chat (`{alias}`)

A very small chat model that comes with the relay, so that a node has something to run before it has anything better. It
greets, answers simple questions about the relay ({topics} topics), adds, subtracts and multiplies numbers up to twenty,
and says so when it doesn't know. It is no source of knowledge: it has read nothing but the text below, and it is weak
at what has to be copied from the conversation (names, tool arguments, words to repeat); the table says how weak.

| | |
|---|---|
| file | `{file}`, {size:,} bytes |
| sha256 | `{sha256}` |
| architecture | llama, {parameters:,} parameters, F16, {layout} |
| context | {context:,} tokens |
| tokenizer | byte-level BPE, {vocabulary} tokens, every digit by itself |
| chat template | ChatML-like; system, user, assistant and tool messages, tools as one line of the system message |
| end of turn | `<|im_end|>` |
| licence | the project's, Apache-2.0 |

## How it was made
By this project alone. `scripts/tiny_model` writes all of its training text from templates and a seed, trains tokenizer
and model on it from random weights, and exports the file. No other model, text or data set had a part in it.

    scripts/tiny-model

makes it again: {minutes} minutes on one core of a two-core machine that was busy with other work. The seed fixes every
batch, so the same torch on the same kind of processor should give the same file.

## Evaluation
The file itself behind llama.cpp's server (`python -m scripts.tiny_model.evaluate`), greedy unless it says otherwise. A
held-out wording is one that never stands in the training text. A sum is right if the last number of the answer is; an
answer about the relay is right if it is one of the right topic's.

| asked | right |
|---|---|
{scores}

A call of the evaluation took {median:.1f} ms (median, one at a time, one thread).
"""


def card(path: Path, minutes: int, seed: int) -> str:
    """The card of the model at `path`."""
    scores, median = evaluate(path, seed)
    with examiner(path) as asking, urllib.request.urlopen(asking.url + "/v1/models", timeout=10) as reply:
        meta = json.load(reply)["data"][0]["meta"]
    return CARD.format(
        alias=server.MODEL_ALIAS,
        topics=len(ALL_TOPICS),
        file=path.name,
        size=path.stat().st_size,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        parameters=meta["n_params"],
        layout=f"width {meta['n_embd']}, tied embeddings",
        context=meta["n_ctx_train"],
        vocabulary=meta["n_vocab"],
        minutes=minutes,
        scores=_table(scores),
        median=median * 1000,
    )


def _table(scores: dict[str, Score]) -> str:
    return "\n".join(f"| {name} | {score} |" for name, score in scores.items())


def main() -> None:
    """Write the card next to the model."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--minutes", type=int, required=True, help="how long the training took")
    options.add_argument("--model", type=Path, default=server.MODEL_PATH)
    options.add_argument("--seed", type=int, default=7)
    chosen = options.parse_args()
    chosen.model.with_suffix(".md").write_text(card(chosen.model, chosen.minutes, chosen.seed))


if __name__ == "__main__":
    main()
