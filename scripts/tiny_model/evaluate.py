"""Examine the shipped GGUF through llama.cpp's real server: `python -m scripts.tiny_model.evaluate`."""

import argparse
import json
import statistics
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from scripts.tiny_model import exam, server
from scripts.tiny_model.batches import trained_tokenizer
from scripts.tiny_model.text import conversations

ANSWER_LIMIT = 120
"""Tokens; the longest taught answer has about 40, so one that gets this far would never have stopped."""


@dataclass(frozen=True)
class Score:
    """Right answers out of all, and some of the wrong ones to look at."""

    right: int
    asked: int
    wrong: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.right / self.asked:.1%} of {self.asked:,}"


class Examiner:
    """Asks the model behind `url`."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.seconds: list[float] = []

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """The reply to `body`, as JSON."""
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=60) as reply:
            return json.load(reply)

    def choice(self, question: exam.Question, **fields: Any) -> exam.Choice:
        """The model's answer to `question`."""
        began = time.perf_counter()
        body = {"messages": question.messages, "max_tokens": ANSWER_LIMIT, **question.fields, **fields}
        choice: exam.Choice = self.post("/v1/chat/completions", body)["choices"][0]
        self.seconds.append(time.perf_counter() - began)
        return choice

    def mark(self, questions: list[exam.Question]) -> Score:
        """Greedy answers, marked."""
        wrong = []
        for question in questions:
            choice = self.choice(question, temperature=0)
            if not question.right(choice):
                wrong.append(f"{question.messages[-1]['content']} -> {json.dumps(choice['message'])}")
        return Score(len(questions) - len(wrong), len(questions), tuple(wrong))

    def stops(self, questions: list[exam.Question], **fields: Any) -> Score:
        """How many answers end by themselves."""
        ended = [self.choice(question, **fields)["finish_reason"] == "stop" for question in questions]
        return Score(sum(ended), len(ended))

    def same_tokens(self, seed: int) -> Score:
        """How many texts llama.cpp cuts into the very tokens that the model was trained on."""
        tokenizer = trained_tokenizer(seed)
        texts = [message.content for one in islice(conversations(exam.SEED), 200) for message in one if message.content]
        same = [self.post("/tokenize", {"content": text})["tokens"] == tokenizer.encode(text) for text in texts]
        return Score(sum(same), len(same))


@contextmanager
def examiner(path: Path) -> Iterator[Examiner]:
    """An examiner in front of a server that ends with the block."""
    running = server.start(path)
    yield Examiner(running.listening_address)
    del running


def evaluate(path: Path, seed: int) -> tuple[dict[str, Score], float]:
    """All scores by name, and the median time of a call in seconds."""
    with examiner(path) as asking:
        scores = {name: asking.mark(questions) for name, questions in exam.papers().items()}
        median = statistics.median(asking.seconds)
        plain = [question for questions in exam.papers().values() for question in questions[:30] if not question.fields]
        scores["stops by itself, temperature 0"] = asking.stops(plain, temperature=0)
        scores["stops by itself, temperature 0.8"] = asking.stops(plain, temperature=0.8, seed=1)
        scores["stops by itself, temperature 1, no top-k, top-p or min-p"] = asking.stops(
            plain, temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, seed=1
        )
        scores["texts cut into the same tokens by llama.cpp"] = asking.same_tokens(seed)
    return scores, median


def main() -> None:
    """Print the scores."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--model", type=Path, default=server.MODEL_PATH)
    options.add_argument("--seed", type=int, default=7, help="the seed the tokenizer was trained with")
    options.add_argument("--wrong", type=int, default=0, help="wrong answers to show for each part")
    chosen = options.parse_args()
    scores, median = evaluate(chosen.model, chosen.seed)
    for name, score in scores.items():
        print(f"{name:62} {score}")
        for line in score.wrong[: chosen.wrong]:
            print("    ", line)
    print(f"{'median time of a call':62} {median * 1000:.1f} ms")


if __name__ == "__main__":
    main()
