#!/bin/sh
# Renew the pinned, hashed dependencies. No file names an index: pip uses the one it is set up with.
set -eu
compile() {
    CUSTOM_COMPILE_COMMAND="make lock" pip-compile --quiet --upgrade --generate-hashes --allow-unsafe --strip-extras \
        --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options --resolver=backtracking "$@"
}
compile --all-build-deps --output-file requirements.txt pyproject.toml
compile --extra dev --constraint requirements.txt --output-file requirements-dev.txt pyproject.toml
