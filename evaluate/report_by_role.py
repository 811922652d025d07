"""The report's part on the paper's models and ours, by role: Table 3, and of a comparison Figure 6.

Knows the tree alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from self_instruct.evaluate import roles
from self_instruct.evaluate.document import Block, Heading, Spans, Table
from self_instruct.evaluate.document_markdown import NONE, number
from self_instruct.evaluate.matrix import MEASURED
from self_instruct.evaluate.rating_results import PEOPLE
from self_instruct.evaluate.report_numbers import NOT_RUN, shown, title
from self_instruct.evaluate.report_pairs import Pairs


def table_3(tree: Mapping[str, Any]) -> list[Block]:
    """The paper's Table 3 with ours beside it, by role."""
    suite = next((one for one in tree["suites"] if one["kind"] == "superni"), None)
    scores = {one["model"]: one["rouge_l"] for one in suite["models"]} if suite else {}
    why = _why_not(tree)
    label = Pairs(tree).label
    by_role: dict[str, list[str]] = {}
    for name in scores:
        by_role.setdefault(tree["models"][name]["role"], []).append(name)
    rows: list[tuple[Spans, ...]] = []
    for row in tree["paper"]["table_3"]:
        role = row["role"]
        ours = by_role.pop(role, []) if role else []
        stands = roles.TITLES[role] if role else "no counterpart here"
        for name in ours or [""]:
            told = shown(scores[name]) if name else (why.get(role, NOT_RUN) if role else NONE)
            rows.append((row["block"], row["model"], stands, label(name) if name else NONE, number(row["rouge_l"], 1), told))
    for role, names in by_role.items():
        rows += [("", NONE, roles.TITLES[role], label(name), NONE, shown(scores[name])) for name in names]
    full = tree["paper"]["table_3_size"]
    size = f"SuperNI wasn't run: set {'data.superni' if 'matrix' in tree else 'evaluate.superni.folder'}"
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


def _why_not(tree: Mapping[str, Any]) -> dict[str, str]:
    """What is said in the place of a role's number, of a comparison's rows that have none."""
    rows = tree["matrix"]["rows"] if "matrix" in tree else []
    return {row["role"]: f"{row['state']}: {row['why']}" if row["state"] != MEASURED else "not measured on SuperNI" for row in rows}


def figure_6(tree: Mapping[str, Any]) -> list[Block]:
    """Of a comparison: the paper's models in Figure 6 with ours beside them, rated or not; ROUGE-L as the proxy."""
    suites = [one for one in tree["suites"] if one["kind"] == "user_oriented"]
    by_role: dict[str, list[Mapping[str, Any]]] = {}
    for row in tree["matrix"]["rows"]:
        by_role.setdefault(row["role"], []).append(row)
    rows: list[tuple[Spans, ...]] = []
    for theirs in tree["paper"]["figure_6"]:
        lead = (theirs["model"], number(theirs["a_percent"], 1))
        role = theirs["role"]
        if role is None or role not in by_role:
            rows.append((*lead, "no counterpart here", *[NONE] * (1 + len(suites))))
            continue
        for row in by_role[role]:
            told = [shown(one["a_percent"], 1) for one in row["rated"] if one["source"] == PEOPLE]
            people = ", ".join(told) or ("not rated" if row["state"] == MEASURED else f"{row['state']}: {row['why']}")
            scores = [row["suites"].get(one["name"]) for one in suites]
            rows.append((*lead, row["row"], people, *(shown(one["rouge_l"]) if one else NONE for one in scores)))
    return [
        Table(
            head=("paper's model", "its A, %", "ours", "our A, % (people)", *(f"{title(one)}, ROUGE-L" for one in suites)),
            rows=tuple(rows),
            caption="Figure 6: the paper's models and ours",
            note="ROUGE-L is a proxy for people's ratings. The paper gives its shares, of 252 answers, without intervals.",
        )
    ]
