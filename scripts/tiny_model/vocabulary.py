"""The tokenizer as a `tokenizer.json`, which the coordinator recounts with: `python -m scripts.tiny_model.vocabulary`.

The same tokens, merges and cuts as the GGUF's own ("gpt2" with the pre-tokenizer "smollm"), in the form that the Rust
library `tokenizers` reads; tests/integration/test_tiny_model.py holds the two together.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from scripts.tiny_model.batches import trained_tokenizer
from scripts.tiny_model.tokenizer import CONTROL, SPECIAL, Tokenizer

VOCABULARY_PATH = Path(__file__).resolve().parents[2] / "node" / "inference" / "tiny-chat.tokenizer.json"


def vocabulary(tokenizer: Tokenizer) -> str:
    """The file's text."""
    return json.dumps(_described(tokenizer), ensure_ascii=False, separators=(",", ":")) + "\n"


def _described(tokenizer: Tokenizer) -> dict[str, Any]:
    bytes_as_letters = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    # llama.cpp's "smollm" cuts out every digit first, and cuts the rest as GPT-2 does
    digits = {"type": "Digits", "individual_digits": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_added(tokenizer.ids[token], token) for token in SPECIAL],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [digits, bytes_as_letters]},
        "post_processor": None,
        "decoder": bytes_as_letters,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": tokenizer.ids,
            "merges": [list(pair) for pair in tokenizer.merges],
        },
    }


def _added(number: int, token: str) -> dict[str, Any]:
    """`special`: what llama.cpp calls a control token, and reads in a text only when it is told to."""
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {"id": number, "content": token, **plain, "special": token in CONTROL}


def main() -> int:
    """Write the file, or say whether it is what would be written."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seed", type=int, default=7, help="the seed the tokenizer was trained with")
    options.add_argument("--out", type=Path, default=VOCABULARY_PATH)
    options.add_argument("--check", action="store_true", help="write nothing; exit 1 when the file is another")
    chosen = options.parse_args()
    text = vocabulary(trained_tokenizer(chosen.seed))
    if not chosen.check:
        chosen.out.write_text(text, encoding="utf-8")
        return 0
    same = chosen.out.exists() and chosen.out.read_text(encoding="utf-8") == text
    print(f"{chosen.out} is " + ("as made" if same else "not what this would make: run it without --check"))
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
