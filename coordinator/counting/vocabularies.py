"""The tokenizers of the catalogue's models, by model."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from coordinator.counting.vocabulary import Vocabulary

# Characters that are counted where the caller stands: 1 to 2 ms, which a turn to another thread wouldn't save.
_SHORT: Final = 4_000
# Of its own: in the loop's own pool, a burst of long Reports would hold up the look-ups of names.
_THREADS: Final = 2


class Vocabularies:
    """Implements `coordinator.lifecycle.ports.Vocabularies`. Models with one file share one tokenizer."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        """Reads every file. Raises VocabularyUnusable."""
        read = {path: Vocabulary(path) for path in set(files.values())}
        self._of = {model: read[path] for model, path in files.items()}
        self._threads = ThreadPoolExecutor(_THREADS, "counting")  # none is started before it is needed

    async def count(self, model: str, *texts: list[str]) -> list[int] | None:
        """Tokens of each list of texts; None for a model without a tokenizer. Long ones run on a thread."""
        vocabulary = self._of.get(model)
        if vocabulary is None:
            return None
        if sum(len(text) for one in texts for text in one) <= _SHORT:
            return [vocabulary.count(one) for one in texts]
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: [vocabulary.count(one) for one in texts])
