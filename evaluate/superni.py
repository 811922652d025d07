"""The items of Super-NaturalInstructions' test split and their zero-shot prompts (method.md, "SuperNI scoring, exactly").

Knows neither engines nor scores. Whatever of the folder isn't used, or isn't as it should be, is counted by name or refused.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from self_instruct import superni
from self_instruct.errors import DataError
from self_instruct.evaluate.cutting import Tokens, longest_prefix
from self_instruct.records import EvalItem
from self_instruct.runlog import log
from self_instruct.settings_evaluate import SuperNISettings
from self_instruct.template import superni_prompt

ENGLISH = "English"
NO_CATEGORY = "no category"

REPEATED_TASKS = "tasks that the split lists again (taken once)"
MISSING_TASKS = "tasks of the split that aren't in tasks/"
EMPTY_TASKS = "tasks without an instance"
FOREIGN_TASKS = "tasks in other languages than English (kept)"
UNCATEGORISED_TASKS = "tasks without a category (kept)"
NO_REFERENCE = "instances without a reference (left out)"
BLANK_REFERENCES = "instances whose references are all blank (kept; their ROUGE-L is 0)"
REPEATED_INSTANCES = "instances given twice (kept once)"


def load(folder: Path, settings: SuperNISettings, suite: str) -> tuple[tuple[EvalItem, ...], dict[str, int]]:
    """The first `settings.instances` instances of every task of the test split, in the list's and the files' order.

    An item's group is the first of its task's categories, its instruction the definition. Beside the items: how many tasks or
    instances were missing, left out or odd, by what they were, those above 0. Raises DataError for what `superni.read_split`
    and `superni.read_task` refuse, for one id with two contents, and where no item is left.
    """
    split = superni.read_split(folder, settings.split, "test")
    counts = Counter({REPEATED_TASKS: split.repeated, MISSING_TASKS: len(split.missing)})
    if split.missing:
        log.warning("%s: not in tasks/: %s", folder, ", ".join(split.missing))
    items: dict[str, tuple[EvalItem, str]] = {}  # with the place of each
    for path in split.tasks:
        task = superni.read_task(path)
        counts[EMPTY_TASKS] += not task.instances
        counts[FOREIGN_TASKS] += any(language != ENGLISH for language in task.languages)
        counts[UNCATEGORISED_TASKS] += not task.categories
        for number, instance in enumerate(task.instances[: settings.instances], 1):
            if not instance.outputs:
                counts[NO_REFERENCE] += 1
                continue
            item = EvalItem(
                id=instance.id,
                suite=suite,
                task=task.name,
                group=task.categories[0] if task.categories else NO_CATEGORY,
                instruction=task.definition,
                input=instance.input,
                references=instance.outputs,
            )
            where = f"{path}: instance {number}"
            if item.id not in items:
                items[item.id] = item, where
                counts[BLANK_REFERENCES] += not any(text.strip() for text in item.references)
            elif items[item.id][0] == item:
                counts[REPEATED_INSTANCES] += 1
            else:
                raise DataError(
                    f"{where}: the id '{item.id}' stands for other content already, in {items[item.id][1]}",
                    hint="give each instance an id of its own, or copy the files again",
                )
    if not items:
        raise DataError(f"{folder}: no instance with a reference in the {len(split.tasks)} tasks there", hint=superni.CLONE)
    return tuple(item for item, _ in items.values()), {what: count for what, count in counts.items() if count}


def prompt(item: EvalItem, settings: SuperNISettings, room: int, tokens: Tokens) -> tuple[str, bool]:
    """An item's prompt and whether it was cut to `settings.prompt_tokens`, or to `room` tokens where that is less.

    The official cut keeps the first tokens of the prompt and so may lose the cue (Super-NI's data collator). The other takes
    the end of the input away, and where there is none left the end of the definition. Raises DataError where the cue alone
    is too long.
    """
    limit = min(settings.prompt_tokens, room)
    whole = superni_prompt(item.instruction, item.input)
    if tokens.fits(whole, limit):
        return whole, False
    if settings.cut == "official":
        return _head(whole, limit, room, tokens), True
    kept = longest_prefix(len(item.input), lambda kept: tokens.count(superni_prompt(item.instruction, item.input[:kept])), limit)
    if kept is not None:
        return superni_prompt(item.instruction, item.input[:kept]), True
    kept = longest_prefix(len(item.instruction), lambda kept: tokens.count(superni_prompt(item.instruction[:kept], "")), limit)
    if kept is None:
        raise DataError(
            f"SuperNI item '{item.id}': its prompt has {tokens.count(superni_prompt('', ''))} tokens without definition and input, "
            f"{limit} fit",
            hint="raise evaluate.superni.prompt_tokens or model.max_length, or lower evaluate.superni.max_tokens",
        )
    return superni_prompt(item.instruction[:kept], ""), True


def _head(whole: str, limit: int, room: int, tokens: Tokens) -> str:
    ids = tokens.ids(whole)
    head = tokens.decode(ids[:limit])
    # Half a character at the end, read again, may be more tokens than it was; the model must still take them.
    while limit > 1 and not tokens.fits(head, room):
        limit -= 1
        head = tokens.decode(ids[:limit])
    return head
