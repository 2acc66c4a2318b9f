"""llama.cpp's own server, in a process of its own: loading blocks the interpreter, so nobody else may live here.

It ends when its standard input does: with its parent, however that ended.
"""

from __future__ import annotations

import json
import signal
import sys

import xllamacpp


def main() -> None:
    """The one argument is JSON: path, port, alias, parallel, context (tokens per slot), threads (0: its choice), verbose."""
    asked = json.loads(sys.argv[1])
    params = xllamacpp.CommonParams()
    params.model.path = asked["path"]
    params.model_alias = {asked["alias"]}
    params.hostnames = ["127.0.0.1"]
    params.port = asked["port"]
    params.n_parallel = asked["parallel"]
    params.n_ctx = asked["parallel"] * asked["context"]  # shared by the slots
    params.n_predict = 1024  # a small model may never stop by itself
    # It looks for cancelled requests between batches: small ones free the slot of a client that left sooner.
    params.n_batch = params.n_ubatch = 64
    params.cache_ram_mib = 512  # for prompts seen before; llama.cpp's own 8 GB is a laptop's whole memory
    params.endpoint_slots = params.endpoint_metrics = True
    params.verbosity = 3 if asked["verbose"] else 1  # 1: errors only, so that the kept log stays small
    if asked["threads"]:
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = asked["threads"]
    try:
        _server = xllamacpp.Server(params)  # serves for as long as the name lives
    except RuntimeError:  # llama.cpp has said why; this error does not
        sys.exit(1)
    sys.stdin.read()
    signal.raise_signal(signal.SIGTERM)  # at once: deleting the server waits for the answers that it is generating


if __name__ == "__main__":
    main()
