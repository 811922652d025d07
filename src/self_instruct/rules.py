"""The filters that look at one instruction or one instance alone (method.md, step 4).

Knows no pool; novelty is `self_instruct.novelty`. Rules run in the order of the names below; the first that
applies is recorded.
"""

from __future__ import annotations

import re
import string
from dataclasses import dataclass

from self_instruct.records import Instance
from self_instruct.settings import GenerateSettings

NAMES = ("too_short", "too_long", "keyword", "write_a_program", "starts_with_punctuation", "starts_non_ascii")


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """Why a candidate was dropped: the rule's name and its evidence."""

    rule: str
    detail: str


class Rules:
    """The rules with a config's limits and keywords."""

    def __init__(self, settings: GenerateSettings) -> None:
        self._settings = settings
        words = "|".join(re.escape(word) for word in settings.keywords)
        self._keyword = re.compile(rf"\b(?:{words})\b", re.IGNORECASE) if words else None

    def normalize(self, text: str) -> str:
        """Collapse white space and raise the first letter (or lower the rest too, as the authors do)."""
        text = " ".join(text.split())
        if self._settings.capitalization == "authors":
            return text.capitalize()
        return text[:1].upper() + text[1:]

    def check(self, text: str) -> Verdict | None:
        """The first rule that drops a normalized instruction; none if it may stay."""
        words = len(text.split())
        if words < self._settings.min_words:
            return Verdict(rule="too_short", detail="1 word" if words == 1 else f"{words} words")
        if words > self._settings.max_words:
            return Verdict(rule="too_long", detail=f"{words} words")
        if self._keyword and (found := self._keyword.search(text)):
            return Verdict(rule="keyword", detail=found[0].lower())
        if text.lower().startswith("write a program"):
            return Verdict(rule="write_a_program", detail=text[:15])
        if text[0] in string.punctuation:
            return Verdict(rule="starts_with_punctuation", detail=text[0])
        if self._settings.ascii_start and not text[0].isascii():
            return Verdict(rule="starts_non_ascii", detail=text[0])
        return None


def check_instance(instance: Instance) -> str | None:
    """The rule that drops an instance, by its name in `generate.clean`; none if it may stay."""
    if instance.input == instance.output:
        return "input_equals_output" if instance.output else "empty_output"
    if not instance.output:
        return "empty_output"
    if instance.input.endswith(":") or instance.output.endswith(":"):
        return "ends_with_colon"
    return None
