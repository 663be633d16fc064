"""llama.cpp inside this process, by way of xllamacpp: its own OpenAI server on loopback, on threads of its own.

The default backend of a node that has none, with the model that ships with the relay.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Self

import xllamacpp

TINY_MODEL_FILE = Path(__file__).with_name("tiny-chat.gguf")
# `n` of one request takes as many of llama.cpp's slots; the API admits 10.
_MOST_CHOICES = 10
# One thread serves one kept-alive connection: room for the node's own, a probe, and a few curious hands.
_SPARE_HTTP_THREADS = 8
# The tiny model is done in milliseconds: more threads a token only get in each other's way.
_MOST_THREADS = 4
# Tokens of one slot: what the tiny model was trained for.
_CONTEXT = 2048
_QUIET = -1


class EmbeddedServer:
    """Serves from construction until `close`. `url` is where, without `/v1`.

    Raises RuntimeError when the model can't be loaded or the port is taken.
    """

    def __init__(self, name: str, slots: int, port: int = 0, model: Path = TINY_MODEL_FILE) -> None:
        if not model.is_file():
            raise RuntimeError(f"the model file {model} is missing")
        if port and not _is_free(port):
            raise RuntimeError(f"port {port} is taken: choose another")
        parallel = max(slots, _MOST_CHOICES)
        try:
            self._server: xllamacpp.Server | None = xllamacpp.Server(_parameters(name, parallel, port, model))
        except RuntimeError as error:
            raise RuntimeError(f"llama.cpp can't serve {model}") from error
        self.url: str = self._server.listening_address

    def close(self) -> None:
        """Stops serving; breaks off what runs."""
        self._server = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _is_free(port: int) -> bool:
    """llama.cpp gives one reason for all that can be wrong."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _parameters(name: str, parallel: int, port: int, model: Path) -> xllamacpp.CommonParams:
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(model)
    parameters.model_alias = {name}
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = port
    parameters.n_parallel = parallel
    parameters.cont_batching = True
    parameters.n_ctx = _CONTEXT * parallel
    parameters.n_threads_http = parallel + _SPARE_HTTP_THREADS
    threads = max(1, min(_MOST_THREADS, (os.cpu_count() or 2) // 2))
    parameters.cpuparams.n_threads = threads
    parameters.cpuparams_batch.n_threads = threads
    parameters.cache_ram_mib = 0
    parameters.fit_params = False
    parameters.ui = False
    parameters.endpoint_slots = False
    parameters.verbosity = _QUIET
    return parameters
