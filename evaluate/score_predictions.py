"""Scores of predictions that were made elsewhere: `evaluate score`.

Knows neither engines nor run folders. Every file is a model; the first is what the others are compared with.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from self_instruct.errors import DataError
from self_instruct.evaluate import comparison, document_markdown, predictions_file, report_numbers, report_results, scoring
from self_instruct.evaluate.comparison import Answer
from self_instruct.evaluate.document import Block, Bullets, Figure
from self_instruct.evaluate.joined import JoinedSuite
from self_instruct.evaluate.suites import Prompted, Suite


def render(suites: Sequence[Suite], files: Sequence[Path], seed: int) -> str:
    """The tables of every set that the files have predictions of, as Markdown.

    Raises DataError for a file that can't be read or has predictions of none of the sets, and where two files have one name.
    """
    names = [path.stem for path in files]
    if len(set(names)) < len(names):
        names = [str(path) for path in files]
    if len(set(names)) < len(names):
        raise DataError(f"{next(n for n in names if names.count(n) > 1)}: named twice", hint="name each file once")
    trees = []
    told: list[str] = []
    used: set[str] = set()
    for suite in suites:
        found = {
            name: given
            for name, path in zip(names, files, strict=True)
            if (given := predictions_file.read(path, suite)) is not None
        }
        if not found:
            continue
        used |= found.keys()
        texts = {name: [text or "" for text in given.texts] for name, given in found.items()}
        scored = scoring.score_items(suite.items, texts)
        answers = {
            name: tuple(
                Answer(
                    text=text or "", hit_limit=False, output_tokens=0, rouge_l=float(r), exact_match=bool(e), missing=text is None
                )
                for text, r, e in zip(given.texts, scored[name].rouge_l, scored[name].exact, strict=True)
            )
            for name, given in found.items()
        }
        facts = {
            "name": suite.name, "kind": suite.kind, "source": suite.source, "digest": suite.digest, "max_tokens": suite.max_tokens,
            "prompt_tokens": None, "cut": None, "cut_inputs": 0, "counts": dict(suite.counts), "elsewhere": True,
        }  # fmt: skip
        prompted = tuple(Prompted(item=item, prompt="", cut=False) for item in suite.items)
        joined = JoinedSuite(facts=facts, prompted=prompted, answers=answers)
        trees.append(report_numbers.suite_tree(joined, comparison.measure(seed, suite.items, answers)))
        for name, given in found.items():
            told += [f"{name}, {suite.name}: {what}: {count:,}" for what, count in given.counts.items()]
    if lost := [name for name in names if name not in used]:
        known = ", ".join(suite.name for suite in suites)
        raise DataError(
            f"{files[names.index(lost[0])]}: no prediction in it has the id of an item of {known}",
            hint="name the set with --set evaluate.superni.folder=FOLDER or --set evaluate.user_oriented=FILE",
        )
    tree = {"suites": trees}
    blocks: list[Block] = [*report_results.verdicts(tree), *report_results.results(tree)]
    if told:
        blocks.append(Bullets(items=tuple(told)))
    return document_markdown.render([block for block in blocks if not isinstance(block, Figure)])
