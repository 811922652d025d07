"""The command of this stage: `accelerate launch train …`, `python train …`, `python -m self_instruct.train …`."""

import sys

from self_instruct import commandline
from self_instruct.train.cli import main

if __name__ == "__main__":
    sys.exit(commandline.run(main))
