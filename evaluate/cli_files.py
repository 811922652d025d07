"""The evaluate stage's commands on files: predictions, corpora, seeds and reports that are there already.

Part of `cli`: reads argv. Opens neither engines nor run folders. Imports nothing heavy before it is needed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from self_instruct import commandline
from self_instruct.errors import DataError
from self_instruct.evaluate import suites
from self_instruct.rules import Rules
from self_instruct.runlog import log
from self_instruct.seedbank import seed_file, user_oriented_file


def verify_report(argv: Sequence[str]) -> int:
    """`evaluate verify REPORT`: what its runs' journals give, compared byte for byte. Raises DataError where something differs."""
    parser = subparser("verify", "Make scores and report again from the journals, and compare them byte for byte.")
    parser.add_argument("report", metavar="REPORT", help="a report's folder or file, its run, or the folder of a comparison")
    named = Path(parser.parse_args(argv).report)

    from self_instruct.evaluate import verify

    place = verify.find(named)
    checked = verify.check(place)
    for difference in checked.differences:
        log.error("%s", difference)
    told = {"verified": not checked.differences, "report": str(place)}
    print(json.dumps(told | {"runs": checked.runs, "answers": checked.answers, "files": checked.files}))
    if checked.differences:
        count = len(checked.differences)
        raise DataError(f"{count} difference{'s' * (count > 1)}: {checked.differences[0]}", hint=verify.causes(place))
    return 0


def score_files(argv: Sequence[str]) -> int:
    """`evaluate score FILE …`: score predictions made elsewhere on the evaluation sets of the settings. Raises DataError."""
    parser = subparser("score", "Score files of predictions on the evaluation sets that the settings name, and print the tables.")
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="JSON Lines with `id` and `prediction`, or an answers.jsonl of ours; the first is the base",
    )
    arguments = parser.parse_args(argv)
    settings = commandline.loaded(arguments).settings
    found = suites.load(settings.evaluate)

    from self_instruct.evaluate import score_predictions

    print(score_predictions.render(found, [Path(name) for name in arguments.files], settings.run.seed))
    return 0


def measure_corpora(argv: Sequence[str]) -> int:
    """`evaluate statistics CORPUS`: what a corpus is like, beside the paper's. Raises DataError."""
    parser = subparser("statistics", "Measure a corpus of instructions, ours or in the authors' formats, beside the paper's.")
    parser.add_argument("corpus", metavar="CORPUS", help="a run's generate/corpus, or a JSON or JSON Lines file")
    parser.add_argument("--out", metavar="DIR", help="write it there as HTML, Markdown and JSON with the plots")
    arguments = parser.parse_args(argv)
    loaded = commandline.loaded(argparse.Namespace(config=arguments.config, overrides=arguments.overrides))

    from self_instruct.evaluate import corpus_page

    out = Path(arguments.out) if arguments.out else None
    print(corpus_page.write(Path(arguments.corpus), loaded.settings.generate.seeds, out))
    return 0


def check_seeds(argv: Sequence[str]) -> int:
    """`evaluate seeds [FILE …]`: print what the files hold and what to mend. Raises DataError where one can't be used."""
    from self_instruct.evaluate import seed_report

    parser = subparser("seeds", "Check files of seed tasks or user-oriented tasks, and print their figures.")
    parser.add_argument("files", nargs="*", metavar="FILE", help="JSON Lines; none: the seeds and user-oriented tasks that ship")
    arguments = parser.parse_args(argv)
    settings = commandline.loaded(arguments).settings
    files = [Path(name) for name in arguments.files]
    files = files or [seed_file(settings.generate.seeds), *map(user_oriented_file, suites.user_oriented_names(settings.evaluate))]
    sets = [seed_report.survey(path, Rules(settings.generate)) for path in files]
    print(seed_report.render(sets))
    seed_report.require_usable(sets)
    return 0


def subparser(command: str, description: str) -> argparse.ArgumentParser:
    """The parser of a subcommand, with the flags of settings."""
    parser = argparse.ArgumentParser(prog=f"self-instruct evaluate {command}", description=description, allow_abbrev=False)
    commandline.add_settings_flags(parser)
    return parser
