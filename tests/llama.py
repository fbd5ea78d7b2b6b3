"""A real llama.cpp server with a small real model, in a process of its own; it speaks OpenAI's API.

As a program it serves until its standard input ends: with whoever started it, however that ends.
"""

from __future__ import annotations

import os
import subprocess
import sys
from types import TracebackType

from samples import sample

KEY = "sesame-for-the-tests"
NAME = "smollm2"
WEIGHTS = "SmolLM2-135M-Instruct.Q4_1.gguf"


class Llama:
    """Use it as a context manager; `url` ends with /v1. It serves one model, by NAME, to whoever has KEY."""

    def __enter__(self) -> Llama:
        command = [sys.executable, __file__, str(sample(WEIGHTS))]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self._process.stdout is not None
        address = self._process.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:"), f"llama.cpp didn't start: {address!r}"
        self.url = f"{address}/v1"
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.kill()

    def kill(self) -> None:
        """End it at once; again is no error."""
        self._process.kill()
        self._process.communicate()


def serve(weights: str) -> None:
    import xllamacpp

    told = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # llama.cpp logs to standard output, too
    params = xllamacpp.CommonParams()
    params.model.path = weights
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [KEY]
    params.model_alias = {NAME}
    params.n_ctx = 2048
    params.n_parallel = 1
    params.warmup = False
    for cpu in (params.cpuparams, params.cpuparams_batch):
        cpu.n_threads = 1  # threads that wait for each other spin: dear on a busy machine
        cpu.poll = 0
    server = xllamacpp.Server(params)
    print(server.listening_address, file=told, flush=True)
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    serve(sys.argv[1])
