"""The filters of instances (method.md, step 4).

Knows nothing of prompts or engines. Every dropped instance comes back with the rule that dropped it.
"""

from __future__ import annotations

from collections.abc import Sequence

from self_instruct.records import Instance
from self_instruct.rules import check_instance

NAMES = (
    "malformed", "cut_off", "input_equals_output", "empty_output", "ends_with_colon", "conflicting_outputs",
    "duplicate", "too_many",
)  # fmt: skip


def clean(instances: Sequence[Instance], *, cut_off: bool, max_instances: int) -> tuple[list[Instance], list[tuple[str, Instance]]]:
    """The instances to keep, in order, and the dropped ones with their rules.

    `cut_off`: the completion hit its token limit, so its last instance isn't whole. One non-empty input with two
    different outputs drops all of the task's instances.
    """
    left = list(instances)
    dropped: list[tuple[str, Instance]] = []
    if cut_off and left:
        dropped.append(("cut_off", left.pop()))
    valid = []
    for instance in left:
        rule = check_instance(instance)
        if rule:
            dropped.append((rule, instance))
        else:
            valid.append(instance)
    outputs: dict[str, str] = {}
    for instance in valid:
        if instance.input and outputs.setdefault(instance.input, instance.output) != instance.output:
            return [], [*dropped, *(("conflicting_outputs", other) for other in valid)]
    kept: list[Instance] = []
    for instance in valid:
        if instance in kept:
            dropped.append(("duplicate", instance))
        elif len(kept) == max_instances:
            dropped.append(("too_many", instance))
        else:
            kept.append(instance)
    return kept, dropped
