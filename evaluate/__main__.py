"""`python evaluate …` and `python -m self_instruct.evaluate …`."""

from self_instruct import commandline
from self_instruct.evaluate.cli import main

if __name__ == "__main__":
    raise SystemExit(commandline.run(main))
