"""The toy encoder-decoder: a T5 with random weights and the embedded model's tokenizer, made once into the cache.

It stands in where no pretrained encoder-decoder can be had, so that T5-LM's rows of the comparison run: its numbers say nothing of
any model, and reports say so. Knows nothing of the stages. The making runs in a process of its own, so that the caller never
imports torch.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from self_instruct import embedded, rundir
from self_instruct.errors import ConfigError

NAME: Final = "toy-seq2seq"
TITLE = "toy encoder-decoder, random weights"
VERSION = 1  # of what `main` makes
SEED = 0


def folder() -> Path:
    return embedded.cache() / f"{NAME}-{VERSION}"


def prepare() -> Path:
    """The model's folder, made first where it is missing (some seconds). Raises ConfigError where that failed."""
    place = folder()
    if (place / "config.json").is_file():
        return place
    embedded.prepare()
    command = [sys.executable, "-P", "-m", "self_instruct.toy_seq2seq"]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise ConfigError(f"{NAME} can't be made: {said}", hint=f"run: python -m {__spec__.name}")
    return place


def main(argv: Sequence[str] = ()) -> int:
    """Make it: two layers of width 64 on either side (ours: small enough for any CPU)."""
    os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    import torch
    from transformers import AutoTokenizer, T5Config, T5ForConditionalGeneration

    tokenizer = AutoTokenizer.from_pretrained(str(embedded.folder()), local_files_only=True)
    torch.manual_seed(SEED)
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=64,
        d_kv=16,
        d_ff=128,
        num_layers=2,
        num_heads=4,
        pad_token_id=tokenizer.eos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    config.decoder_start_token_id = tokenizer.eos_token_id
    with rundir.new_folder(folder()) as aside:
        T5ForConditionalGeneration(config).save_pretrained(aside)
        tokenizer.chat_template = None
        tokenizer.save_pretrained(aside)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
