"""The tokenizers of the catalogue's models, by model."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from coordinator.counting.vocabulary import Vocabulary

# Characters that are counted where the caller stands: 1 to 2 ms, which a turn to another thread wouldn't save.
_SHORT: Final = 4_000


class Vocabularies:
    """Implements `coordinator.lifecycle.ports.Vocabularies`. Models with one file share one tokenizer."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        """Reads every file. Raises VocabularyUnusable."""
        read = {path: Vocabulary(path) for path in set(files.values())}
        self._of = {model: read[path] for model, path in files.items()}

    async def count(self, model: str, *texts: list[str]) -> list[int] | None:
        """Tokens of each list of texts; None for a model without a tokenizer. Long ones run on a thread."""
        vocabulary = self._of.get(model)
        if vocabulary is None:
            return None
        if sum(len(text) for one in texts for text in one) <= _SHORT:
            return [vocabulary.count(one) for one in texts]
        return await asyncio.to_thread(lambda: [vocabulary.count(one) for one in texts])
