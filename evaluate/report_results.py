"""The report's part on scores: verdicts, and the sets one by one.

Knows the tree alone (`report_numbers.suite_tree`), nothing of files. Of many models the tables show the pairs that matter
(`report_pairs`); all others are in details.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from self_instruct.evaluate import figures, paper
from self_instruct.evaluate.document import Block, Details, Heading, Notice, Paragraph, Span, Strong, Table
from self_instruct.evaluate.document_markdown import number, signed
from self_instruct.evaluate.report_numbers import VERDICT_TASKS, estimate, shown, shown_difference, title
from self_instruct.evaluate.report_pairs import Pairs, against_first, is_many


def verdicts(tree: Mapping[str, Any]) -> list[Block]:
    """What users want to know first: is a model better than its base, by how much, and how sure is that."""
    blocks: list[Block] = []
    pairs = Pairs(tree)
    for suite in tree["suites"]:
        for one in suite["comparisons"]:
            if pairs.judged(suite, one):
                blocks.append(_verdict(suite, one))
    if not blocks and pairs.why_not:
        blocks.append(Notice(kind="neutral", text=f"{pairs.why_not}: no verdict."))
    if not blocks:
        names = {model["model"] for suite in tree["suites"] for model in suite["models"]}
        why = "Only one model was measured" if len(names) == 1 else "No evaluation set was answered by two of these models"
        blocks.append(Notice(kind="neutral", text=f"{why}: nothing is compared."))
    return blocks


def _verdict(suite: Mapping[str, Any], one: Mapping[str, Any]) -> Notice:
    values = {model["model"]: model["rouge_l"]["value"] for model in suite["models"]}
    if one["same"] == suite["items"]:
        return Notice(
            kind="warning",
            text=f"{title(suite)}: every answer of {one['model']} is {one['base']}'s: the training between them did nothing, or "
            "wasn't applied.",
        )
    change = one["rouge_l"]
    size = f"{number(suite['items'])} items" + (f" of {number(suite['tasks'])} tasks" if suite["items"] > suite["tasks"] else "")
    lead: tuple[Span, ...] = (
        Strong(title(suite)),
        f" ({size}): ROUGE-L of {one['model']} {values[one['model']]:.2f}, of {one['base']} {values[one['base']]:.2f}: ",
        Strong(signed(change["value"])),
    )
    if change["low"] is None:
        return Notice(kind="neutral", text=(*lead, " points. Too few items for an interval."))
    interval = f" points, 95 % interval {signed(change['low'])} to {signed(change['high'])}. "
    if suite["tasks"] < VERDICT_TASKS:
        words = f"{number(suite['tasks'])} {'tasks' if suite['items'] > suite['tasks'] else 'items'} are too few for a verdict."
        return Notice(kind="neutral", text=(*lead, interval, words))
    if change["low"] <= 0 <= change["high"]:
        words = "It includes 0: these items don't tell which of the two is better."
        return Notice(kind="neutral", text=(*lead, interval, words))
    by_task = one["task_rouge_l"]
    if suite["items"] > suite["tasks"] and by_task["low"] <= 0 <= by_task["high"]:
        words = (
            f"It leaves out 0, but with every task counted alike the difference is {shown_difference(by_task)}, which includes 0: "
            f"{one['wins']} tasks won, {one['losses']} lost. A few large tasks decide."
        )
        return Notice(kind="neutral", text=(*lead, interval, words))
    better = change["low"] > 0
    words = f"It leaves out 0: {one['model']} is {'closer to' if better else 'further from'} the references than {one['base']}, "
    return Notice(kind="good" if better else "bad", text=(*lead, interval, words, "on tasks like these."))


def results(tree: Mapping[str, Any]) -> list[Block]:
    """Every evaluation set: its models, their differences, its categories and tasks."""
    blocks: list[Block] = []
    pairs = Pairs(tree)
    for suite in tree["suites"]:
        blocks += [Heading(level=2, text=title(suite)), *_about(suite), *_models(suite, pairs), *_differences(suite, pairs)]
        blocks += [*_by_group(suite, pairs), *_by_task(suite, pairs)]
    return blocks


def _about(suite: Mapping[str, Any]) -> list[Block]:
    if suite.get("elsewhere"):
        say = (
            "Predictions made elsewhere: how they were prompted isn't known here. ROUGE-L F1 with the stemmer, the best over the "
            "references."
        )
    elif suite["kind"] == "superni":
        cut = (
            "whose input is cut where they are longer"
            if suite["cut"] == "input"
            else "cut at their end, as in the reference evaluation"
        )
        say = (
            f"Zero-shot, definition only, greedy, prompts of at most {number(suite['prompt_tokens'])} tokens "
            f"({cut}), "
            f"answers of at most {suite['max_tokens']}. ROUGE-L F1 with the stemmer, the best over the references."
        )
    else:
        say = (
            f"One fixed prompt for all models, greedy, answers of at most {suite['max_tokens']} tokens. ROUGE-L F1 with the one "
            "reference: a proxy; the paper had people rate these answers (Figure 6 below)."
        )
    blocks: list[Block] = [Paragraph(text=say)]
    counted = [f"{what}: {number(count)}" for what, count in suite["counts"].items()]
    if suite["cut_inputs"]:
        counted.append(f"prompts that were cut to fit: {number(suite['cut_inputs'])}")
    if counted:
        blocks.append(Notice(kind="warning", text=f"Counted while loading: {'; '.join(counted)}."))
    if suite["kind"] == "superni" and (suite["tasks"], suite["items"]) != (paper.TASKS, paper.ITEMS):
        tasks, items = paper.TASKS, paper.ITEMS
        blocks.append(
            Notice(
                kind="warning",
                text=f"{suite['tasks']:,} tasks and {suite['items']:,} items; the paper's evaluation has {tasks} and {items:,}. "
                "These scores can't be set beside published ones.",
            )
        )
    return blocks


def _models(suite: Mapping[str, Any], pairs: Pairs) -> list[Block]:
    several = suite["items"] > suite["tasks"]  # else both means are one
    elsewhere = suite.get("elsewhere", False)  # then nobody here knows what ended an answer
    rows = [
        (
            pairs.label(one["model"]),
            shown(one["rouge_l"]),
            *([shown(one["task_rouge_l"])] if several else []),
            shown(one["exact_match"]),
            shown(one["empty_percent"], 1),
            *([] if elsewhere else [shown(one["hit_limit_percent"], 1)]),
            number(one["mean_words"], 1),
            number(one["missing"]),
        )
        for one in suite["models"]
    ]
    means = ("ROUGE-L", "mean of task means") if several else ("ROUGE-L",)
    limit = () if elsewhere else ("hit the limit, %",)
    head = ("model", *means, "exact match", "empty, %", *limit, "words", "missing")
    blocks: list[Block] = [
        Table(
            head=head,
            rows=tuple(rows),
            caption=f"{title(suite)}: every model on the same {number(suite['items'])} items",
            note="ROUGE-L and exact match: means over the items, times 100, [95 % interval] by a bootstrap of tasks and then of "
            f"their items, {suite['draws']:,} draws. Shares: Wilson's interval. A missing answer counts as an empty one.",
        )
    ]
    return blocks


def _differences(suite: Mapping[str, Any], pairs: Pairs) -> list[Block]:
    if not suite["comparisons"]:
        return []
    main = [one for one in suite["comparisons"] if pairs.matters(suite, one)]
    others = [one for one in suite["comparisons"] if not pairs.matters(suite, one)]
    blocks: list[Block] = [_pairs_table(suite, main, pairs.label)]
    if others:
        blocks.append(Details(summary=f"All other pairs: {len(others)}", blocks=(_pairs_table(suite, others, pairs.label),)))
    unit = "tasks" if suite["items"] > suite["tasks"] else "items"
    if figures.available():
        against = against_first(suite)
        blocks.append(
            figures.differences(
                [(pairs.label(one["model"]), estimate(one["rouge_l"])) for one in against],
                name=f"differences-{suite['name']}",
                caption=f"ROUGE-L points above {against[0]['base']}, {title(suite)}",
            )
        )
        for one in (one for one in suite["comparisons"] if pairs.plotted(suite, one)):
            rows_of_tasks = [
                (row["task"], row[one["base"]]["rouge_l"]["value"], row[one["model"]]["rouge_l"]["value"])
                for row in suite["by_task"]
            ]
            name = f"tasks-{suite['name']}-{one['model']}"
            blocks.append(figures.tasks(one["base"], one["model"], rows_of_tasks, name=name, unit=unit))
    return blocks


def _pairs_table(suite: Mapping[str, Any], pairs: Sequence[Mapping[str, Any]], label: Callable[[str], str]) -> Table:
    several = suite["items"] > suite["tasks"]
    means = ("ROUGE-L", "mean of task means") if several else ("ROUGE-L",)
    head = ("model", "against", *means, "exact match", "wins", "ties", "losses", "same answer")
    rows = tuple(
        (
            label(one["model"]),
            label(one["base"]),
            shown_difference(one["rouge_l"]),
            *([shown_difference(one["task_rouge_l"])] if several else []),
            shown_difference(one["exact_match"]),
            *(number(one[name]) for name in ("wins", "ties", "losses", "same")),
        )
        for one in pairs
    )
    unit = "tasks" if several else "items"
    return Table(
        head=head,
        rows=rows,
        left=2,
        caption="Differences in points, paired: both models on the same draws",
        note=f"Wins, ties and losses count {unit} by ROUGE-L; same answer: items answered alike, to the letter. No interval: every "
        "draw is the same.",
    )


def _by_group(suite: Mapping[str, Any], pairs: Pairs) -> list[Block]:
    if suite["kind"] != "superni":
        return []
    names = pairs.columns(suite)
    every = [one["model"] for one in suite["models"]]
    changes = {
        one["model"]: one["groups"]
        for one in suite["comparisons"]
        if one["base"] == names[0] and one["model"] in names and pairs.matters(suite, one)
    }
    rows = tuple(
        (
            row["group"],
            number(row["tasks"]),
            number(row["items"]),
            *(shown(row[name]["rouge_l"]) for name in names),
            *(shown_difference(changes[name][row["group"]]) for name in changes),
            *(shown(row[name]["exact_match"]) for name in names),
        )
        for row in suite["by_group"]
    )
    head = (
        "category",
        "tasks",
        "items",
        *(f"ROUGE-L, {name}" for name in names),
        *(f"{name} minus {names[0]}" for name in changes),
        *(f"exact match, {name}" for name in names),
    )
    blocks: list[Block] = [Heading(level=3, text="By category")]
    if figures.available():
        given = [
            (row["group"], row["tasks"], {name: estimate(row[name]["rouge_l"]) for name in names}) for row in suite["by_group"]
        ]
        blocks.append(figures.groups(given, name=f"categories-{suite['name']}"))
    blocks.append(
        Table(
            head=head,
            rows=rows,
            caption="By category",
            note="A category of one task: its interval covers the choice of items alone.",
        )
    )
    if names != every:
        whole = tuple(
            (row["group"], number(row["tasks"]), number(row["items"]), *(shown(row[name]["rouge_l"]) for name in every))
            for row in suite["by_group"]
        )
        table = Table(
            head=("category", "tasks", "items", *map(pairs.label, every)), rows=whole, caption="ROUGE-L of all models by category"
        )
        blocks.append(Details(summary=f"By category: all {len(every)} models", blocks=(table,)))
    return blocks


def _by_task(suite: Mapping[str, Any], pairs: Pairs) -> list[Block]:
    names = [one["model"] for one in suite["models"]]
    if suite["kind"] != "superni":
        return []
    exact = [] if is_many(suite) else names
    rows = tuple(
        (
            row["task"],
            row["group"],
            number(row["items"]),
            *(shown(row[name]["rouge_l"]) for name in names),
            *(shown(row[name]["exact_match"]) for name in exact),
        )
        for row in suite["by_task"]
    )
    head = (
        "task",
        "category",
        "items",
        *(f"ROUGE-L, {pairs.label(name)}" for name in names),
        *(f"exact match, {name}" for name in exact),
    )
    table = Table(head=head, rows=rows, left=2, caption="By task", note="Intervals cover the choice of a task's items alone.")
    return [Details(summary=f"By task: {len(rows)} tasks and their items", blocks=(table,))]
