"""The plan of a training as text: what `--dry-run` prints.

Knows neither model nor trainer. The masked part of a sample is the one with no weight in the loss.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from self_instruct.train.masking import Encoded

DIM, PLAIN = "\x1b[2m", "\x1b[0m"  # ECMA-48: faint, and back


def form_name(form: str) -> str:
    """A template form on one line, as method.md writes it: I instruction, X input, ¶ line break."""
    return form.replace("{I}", "I").replace("{X}", "X").replace("\n", "¶")


def count_forms(encoded: Iterable[Encoded]) -> dict[str, int]:
    """How often each template was drawn, the most frequent first."""
    counts = Counter(form_name(one.form) for one in encoded)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def histogram(counts: dict[str, int], width: int = 30) -> list[str]:
    """One line a template: how often it was drawn, a bar, its form."""
    most = max(counts.values())
    return [f"{count:7d} {'#' * max(round(width * count / most), 1):{width}} {name}" for name, count in counts.items()]


def sources(counts: Mapping[str, int], weights: Mapping[str, float]) -> list[str]:
    """One line a source: its rows, its passes in an epoch, its name."""
    return [f"{rows:7d} rows x {weights[name]:g} an epoch: {name}" for name, rows in counts.items()]


def sample(encoded: Encoded, decode: Callable[[Sequence[int]], str], *, grey: bool = False) -> list[str]:
    """One example, its masked and its trained lines marked by what stands before the bar.

    `grey`, for a terminal, shows the masked lines faint too.
    """
    prompt, completion = encoded.ids[: encoded.prompt_tokens], encoded.labels
    masked = not any(encoded.weights[: encoded.prompt_tokens])
    lines = [f"{encoded.id}: {len(prompt)} prompt tokens, {len(completion)} completion tokens, template {form_name(encoded.form)}"]
    for name, ids in (("masked" if masked else "weighted", prompt), ("trained", completion)):
        before, after = (DIM, PLAIN) if grey and name == "masked" else ("", "")
        lines += [f"{before}  {name:>8} | {line}{after}" for line in decode(ids).split("\n")]
    return lines
