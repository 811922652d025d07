"""`python generate …` and `python -m self_instruct.generate …`."""

import sys

from self_instruct import commandline
from self_instruct.generate.cli import main

if __name__ == "__main__":
    sys.exit(commandline.run(main))
