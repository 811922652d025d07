"""The report's part on scores: verdicts, the sets one by one, the paper's Table 3 beside ours.

Knows the tree alone (`report_numbers.suite_tree`), nothing of files.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from self_instruct.evaluate import figures, paper, roles
from self_instruct.evaluate.document import Block, Details, Heading, Notice, Paragraph, Span, Spans, Strong, Table
from self_instruct.evaluate.document_markdown import NONE, number, signed
from self_instruct.evaluate.intervals import Estimate
from self_instruct.evaluate.report_numbers import NOT_RUN, VERDICT_TASKS, shown, shown_difference, title


def verdicts(tree: Mapping[str, Any]) -> list[Block]:
    """What users want to know first: is a model better than its base, by how much, and how sure is that."""
    blocks: list[Block] = []
    for suite in tree["suites"]:
        for one in _against_base(suite):
            blocks.append(_verdict(suite, one))
    if not blocks:
        names = {model["model"] for suite in tree["suites"] for model in suite["models"]}
        why = "Only one model was measured" if len(names) == 1 else "No evaluation set was answered by two of these models"
        blocks.append(Notice(kind="neutral", text=f"{why}: nothing is compared."))
    return blocks


def _against_base(suite: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    first = suite["models"][0]["model"] if suite["models"] else None
    return [one for one in suite["comparisons"] if one["base"] == first]


def _verdict(suite: Mapping[str, Any], one: Mapping[str, Any]) -> Notice:
    values = {model["model"]: model["rouge_l"]["value"] for model in suite["models"]}
    if one["same"] == suite["items"]:
        return Notice(
            kind="warning",
            text=f"{title(suite)}: every answer of {one['model']} is {one['base']}'s: the adapter does nothing, or wasn't applied.",
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
    for suite in tree["suites"]:
        blocks += [Heading(level=2, text=title(suite)), *_about(suite), *_models(suite), *_differences(suite), *_by_group(suite)]
        blocks += _by_task(suite)
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


def _models(suite: Mapping[str, Any]) -> list[Block]:
    several = suite["items"] > suite["tasks"]  # else both means are one
    elsewhere = suite.get("elsewhere", False)  # then nobody here knows what ended an answer
    rows = [
        (
            one["model"],
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


def _differences(suite: Mapping[str, Any]) -> list[Block]:
    if not suite["comparisons"]:
        return []
    several = suite["items"] > suite["tasks"]
    means = ("ROUGE-L", "mean of task means") if several else ("ROUGE-L",)
    head = ("model", "against", *means, "exact match", "wins", "ties", "losses", "same answer")
    rows = tuple(
        (
            one["model"],
            one["base"],
            shown_difference(one["rouge_l"]),
            *([shown_difference(one["task_rouge_l"])] if several else []),
            shown_difference(one["exact_match"]),
            *(number(one[name]) for name in ("wins", "ties", "losses", "same")),
        )
        for one in suite["comparisons"]
    )
    unit = "tasks" if several else "items"
    blocks: list[Block] = [
        Table(
            head=head,
            rows=rows,
            left=2,
            caption="Differences in points, paired: both models on the same draws",
            note=f"Wins, ties and losses count {unit} by ROUGE-L; same answer: items answered alike, to the letter.",
        )
    ]
    if figures.available():
        against = _against_base(suite)
        blocks.append(
            figures.differences(
                [(one["model"], _estimate(one["rouge_l"])) for one in against],
                name=f"differences-{suite['name']}",
                caption=f"ROUGE-L points above {against[0]['base']}, {title(suite)}",
            )
        )
        for one in against:
            rows_of_tasks = [
                (row["task"], row[one["base"]]["rouge_l"]["value"], row[one["model"]]["rouge_l"]["value"])
                for row in suite["by_task"]
            ]
            name = f"tasks-{suite['name']}-{one['model']}"
            blocks.append(figures.tasks(one["base"], one["model"], rows_of_tasks, name=name, unit=unit))
    return blocks


def _estimate(one: Mapping[str, Any]) -> Estimate:
    return Estimate(value=one["value"], low=one["low"], high=one["high"])


def _names(suite: Mapping[str, Any]) -> list[str]:
    return [one["model"] for one in suite["models"]]


def _by_group(suite: Mapping[str, Any]) -> list[Block]:
    if suite["kind"] != "superni":
        return []
    names = _names(suite)
    changes = {one["model"]: one["groups"] for one in _against_base(suite)}
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
            (row["group"], row["tasks"], {name: _estimate(row[name]["rouge_l"]) for name in names}) for row in suite["by_group"]
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
    return blocks


def _by_task(suite: Mapping[str, Any]) -> list[Block]:
    names = _names(suite)
    if suite["kind"] != "superni":
        return []
    rows = tuple(
        (
            row["task"],
            row["group"],
            number(row["items"]),
            *(shown(row[name]["rouge_l"]) for name in names),
            *(shown(row[name]["exact_match"]) for name in names),
        )
        for row in suite["by_task"]
    )
    head = ("task", "category", "items", *(f"ROUGE-L, {name}" for name in names), *(f"exact match, {name}" for name in names))
    table = Table(head=head, rows=rows, left=2, caption="By task", note="Intervals cover the choice of a task's items alone.")
    return [Details(summary=f"By task: {len(rows)} tasks and their items", blocks=(table,))]


def table_3(tree: Mapping[str, Any]) -> list[Block]:
    """The paper's Table 3 with ours beside it, by role."""
    suite = next((one for one in tree["suites"] if one["kind"] == "superni"), None)
    scores = {one["model"]: one["rouge_l"] for one in suite["models"]} if suite else {}
    by_role: dict[str, list[str]] = {}
    for name in scores:
        by_role.setdefault(tree["models"][name]["role"], []).append(name)
    rows: list[tuple[Spans, ...]] = []
    for row in tree["paper"]["table_3"]:
        role = row["role"]
        ours = by_role.pop(role, []) if role else []
        stands = roles.TITLES[role] if role else "no counterpart here"
        for name in ours or [""]:
            told = shown(scores[name]) if name else (NOT_RUN if role else NONE)
            rows.append((row["block"], row["model"], stands, name or NONE, number(row["rouge_l"], 1), told))
    for role, names in by_role.items():
        rows += [("", NONE, roles.TITLES[role], name, NONE, shown(scores[name])) for name in names]
    full = tree["paper"]["table_3_size"]
    size = "SuperNI wasn't run: set evaluate.superni.folder"
    if suite:
        whole = (suite["tasks"], suite["items"]) == (full["tasks"], full["items"])
        size = f"{suite['items']:,} items of {suite['tasks']:,} tasks" + ("" if whole else ", so not comparable with the paper's")
    return [
        Heading(level=2, text="Table 3: zero-shot on SuperNI, the paper's models and ours"),
        Table(
            head=("models", "paper", "its role here", "ours", "paper's ROUGE-L", "our ROUGE-L"),
            rows=tuple(rows),
            left=4,
            caption="ROUGE-L on SuperNI's unseen tasks",
            note=f"Paper: Wang et al. 2022, Table 3, {number(full['items'])} items of {full['tasks']} tasks. Ours: {size}.",
        ),
    ]
