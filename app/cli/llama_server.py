"""llama.cpp's own server, in a process of its own: loading blocks the interpreter, so nobody else may live here.

It ends when its standard input does: with its parent, however that ended.
"""

from __future__ import annotations

import json
import sys

import xllamacpp


def main() -> None:
    """The one argument is JSON: path, port, alias, parallel, context (tokens per slot), threads (0: its own choice)."""
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
    params.endpoint_slots = params.endpoint_metrics = True
    if asked["threads"]:
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = asked["threads"]
    server = xllamacpp.Server(params)
    sys.stdin.read()
    del server


if __name__ == "__main__":
    main()
