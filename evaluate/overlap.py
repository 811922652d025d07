"""Contamination: how much of what a model is trained on overlaps an evaluation set.

Knows no files. What overlaps is `contamination`'s to say: equal texts, 13 words in a row, a ROUGE-L F1 of 0.7.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from self_instruct import readers
from self_instruct.contamination import Contamination
from self_instruct.evaluate.corpus_statistics import share
from self_instruct.records import ChatExample, EvalItem, Example, PromptExample, SeedTask
from self_instruct.runlog import Progress
from self_instruct.template import superni_prompt

SHOWN, SHOWN_CHARACTERS = 5, 160  # of the rows that overlap
REMEMBERED = 4_096  # texts; rows of one task follow each other and share its instruction
Row = tuple[str, tuple[str, ...]]  # a training row's id, and its texts that are compared


def training_rows(sources: Iterable[readers.Source], seeds: Iterable[SeedTask]) -> list[Row]:
    """What a model was trained on, less the outputs: instruction and input, a verbatim prompt, what the user of a chat says.

    Of SuperNI's prompts it is the definition and the input, without the words around them that all of them share.
    """
    rows: list[Row] = []
    for seed in seeds:
        rows += [(f"{seed.id}.{number}", (seed.instruction, one.input)) for number, one in enumerate(seed.instances)]
    for source in sources:
        for row, task in zip(source.examples, source.instructions, strict=True):
            rows.append((row.id, _superni(task, row) if source.kind == "superni" else _texts(row)))
    return rows


def _texts(row: Example) -> tuple[str, ...]:
    if isinstance(row, PromptExample):
        return (row.prompt,)
    if isinstance(row, ChatExample):
        return tuple(content for role, content in row.messages if role == "user")
    return (row.instruction, row.input)


def _superni(definition: str, row: Example) -> tuple[str, ...]:
    """The texts that `superni_prompt` put together; the input may have got a full stop there."""
    assert isinstance(row, PromptExample)
    head, _, tail = superni_prompt(definition, "\0.").partition("\0.")
    return (definition, row.prompt.removeprefix(head).removesuffix(tail))


def measure(rows: Sequence[Row], items: Sequence[EvalItem], name: str) -> dict[str, Any]:
    """Training rows against the instructions and inputs of the evaluation set `name`, as plain JSON.

    `equal`, `thirteen_words` and `rouge_l` count rows, each way by itself: a row may count in several. `share` is that of the
    rows that overlap in any way, with Wilson's 95 % interval, None without rows. `highest` is the highest ROUGE-L F1 of a text of a
    row with a text of the set, `items_touched` counts the items that some row overlaps. `examples` are the first rows that do.
    """
    look = lru_cache(REMEMBERED)(Contamination(items).measure)
    touched: set[str] = set()
    equal = thirteen_words = rouge_l = overlapping = 0
    highest = 0.0
    examples: list[dict[str, str]] = []
    with Progress(f"contamination, {name}", len(rows), "rows") as progress:
        for identity, texts in rows:
            found = [(text, look(text)) for text in texts if text.strip()]
            highest = max([highest, *(one.rouge_l for _, one in found)])
            equal += any(one.by_equal for _, one in found)
            thirteen_words += any(one.by_thirteen_words for _, one in found)
            rouge_l += any(one.by_rouge_l for _, one in found)
            hits = [(text, one) for text, one in found if one.items]
            overlapping += bool(hits)
            for _, one in hits:
                touched.update(one.items)
            if hits and len(examples) < SHOWN:
                text, one = hits[0]
                shown = " ".join(text.split())[:SHOWN_CHARACTERS]
                examples.append({"row": identity, "text": shown, "item": one.items[0], "detail": one.detail})
            progress.advance()
    return {
        "set": name,
        "items": len(items),
        "rows": len(rows),
        "overlapping_rows": overlapping,
        "share": share(overlapping, len(rows)) if rows else None,
        "equal": equal,
        "thirteen_words": thirteen_words,
        "rouge_l": rouge_l,
        "highest": highest,
        "items_touched": len(touched),
        "examples": examples,
    }
