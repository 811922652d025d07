"""The console command `self-instruct STAGE …`, the same as `python -m self_instruct STAGE …`.

Knows the stages' names only; each is imported when it is called.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

HELP = """usage: self-instruct COMMAND …

commands:
  generate   the model writes instructions, labels them, and answers them; `generate plan` predicts what a run takes,
             `generate replay RUN` rebuilds a finished one from its journal
  train      fine-tune the model on what it wrote (several processes: accelerate launch train …)
  evaluate   measure the tuned model against its base; `evaluate rate RUN` lets people rate the answers,
             `evaluate judge RUN` a local model; `evaluate seeds` checks a file of tasks
  reproduce  the paper's whole comparison: make and measure all its models, one config, one command
  verify     `verify REPORT` makes a report again from its journals and compares it byte for byte
  prepare    convert the embedded model into the cache
  doctor     what this machine can run, and which config fits

`self-instruct COMMAND --help` tells more."""
MODULES = {
    "generate": "generate.cli",
    "train": "train.cli",
    "evaluate": "evaluate.cli",
    "reproduce": "reproduce",
    "verify": "verify",
    "prepare": "embedded",
    "doctor": "doctor",
}


def entry(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    command = arguments.pop(0) if arguments else "--help"
    if command in ("--help", "-h", "help"):
        print(HELP)
        return 0
    if command not in MODULES:
        print(f"error: self-instruct: no command '{command}'\nhint: one of {', '.join(MODULES)}", file=sys.stderr)
        return 2
    from self_instruct import commandline

    module = importlib.import_module(f"self_instruct.{MODULES[command]}")
    return commandline.run(module.main, arguments)


if __name__ == "__main__":
    raise SystemExit(entry())
