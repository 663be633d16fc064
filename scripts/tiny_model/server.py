"""The shipped model behind llama.cpp's own server, for the evaluation and the integration test."""

from pathlib import Path

import xllamacpp

MODEL_PATH = Path(__file__).resolve().parents[2] / "node" / "inference" / "tiny-chat.gguf"
MODEL_ALIAS = "relay/tiny-chat"
CONTEXT = 2048
SILENT = -1


def start(path: Path = MODEL_PATH, slots: int = 2, threads: int = 1) -> xllamacpp.Server:
    """A running server on a free port of 127.0.0.1; it stops when the last reference to it is dropped.

    `slots` answers run at once, each with the model's whole context.
    """
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.model_alias = {MODEL_ALIAS}
    params.n_ctx = CONTEXT * slots
    params.n_parallel = slots
    params.cont_batching = True
    params.cpuparams.n_threads = threads
    params.cpuparams_batch.n_threads = threads
    params.n_gpu_layers = 0
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.use_jinja = True
    params.ui = False
    params.fit_params = False
    params.cache_ram_mib = 0
    params.verbosity = SILENT
    return xllamacpp.Server(params)
