"""What is to be rated: the answers of every model to an instruction, and the instances of a corpus.

Knows neither people nor the page. What is rated is told by its content alone: the same answer of two models is rated once, and
a rating holds for whatever run gives the same answer again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from self_instruct.randomness import generator

if TYPE_CHECKING:
    from self_instruct.evaluate.corpora import Corpus
    from self_instruct.evaluate.joined import JoinedSuite

Kind = Literal["answers", "review"]
KINDS: tuple[Kind, ...] = ("answers", "review")
USER_ORIENTED = "user_oriented"  # what people rate: such a set's kind, and the name of the one that ships (`suites`)
Target = tuple[str, str]  # the keys of a subject and of one of its answers


def digest(*parts: str) -> str:
    """16 hex digits of SHA-256 over the texts, lone surrogates too."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


@dataclass(frozen=True, kw_only=True, slots=True)
class AnswerText:
    """One text to rate. `models` are the names of those who gave it; they never leave the server."""

    key: str
    text: str
    models: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """An instruction with its input, the accepted answers (none in a review), and what is to be rated.

    `item` is the evaluation item's id, or the place of the instruction in its corpus.
    """

    key: str
    item: str
    instruction: str
    input: str
    references: tuple[str, ...]
    answers: tuple[AnswerText, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class RatingSet:
    """One set to rate, its subjects in a random order that all raters share: whoever stops early has rated a random part, and
    the same part as others did. `suite` is the evaluation set's name, or the corpus' place; `models` are those that answered."""

    kind: Kind
    suite: str
    title: str
    seed: int
    models: tuple[str, ...]
    subjects: tuple[Subject, ...]

    @property
    def targets(self) -> frozenset[Target]:
        """What is to be rated."""
        return frozenset((subject.key, answer.key) for subject in self.subjects for answer in subject.answers)

    @property
    def total(self) -> int:
        """Answers to rate."""
        return sum(len(subject.answers) for subject in self.subjects)

    def shown(self, subject: Subject, rater: str) -> tuple[AnswerText, ...]:
        """The subject's answers in the order in which this rater sees them: random, by the seed."""
        answers = list(subject.answers)
        generator(self.seed, "evaluate", "rate", subject.key, rater).shuffle(answers)
        return tuple(answers)


def of_answers(suites: Sequence[JoinedSuite], seed: int) -> tuple[RatingSet, ...]:
    """The user-oriented sets with every model's answers, those that are equal once."""
    found = []
    for suite in suites:
        if suite.facts["kind"] != USER_ORIENTED:
            continue
        name = str(suite.facts["name"])
        subjects: dict[str, Subject] = {}  # the same task twice is rated once
        for place, one in enumerate(suite.prompted):
            by_text: dict[str, list[str]] = {}
            for model, answers in suite.answers.items():
                by_text.setdefault(answers[place].text, []).append(model)
            item = one.item
            key = digest(item.instruction, item.input, *item.references)
            made = Subject(
                key=key,
                item=item.id,
                instruction=item.instruction,
                input=item.input,
                references=item.references,
                answers=tuple(AnswerText(key=digest(text), text=text, models=tuple(names)) for text, names in by_text.items()),
            )
            subjects.setdefault(key, made)
        order = list(subjects.values())
        generator(seed, "evaluate", "rate", name).shuffle(order)
        title = "User-oriented instructions" if name == USER_ORIENTED else name
        found.append(
            RatingSet(kind="answers", suite=name, title=title, seed=seed, models=tuple(suite.answers), subjects=tuple(order))
        )
    return tuple(found)


def of_corpus(corpus: Corpus, count: int | None, seed: int, title: str) -> RatingSet:
    """`count` random instructions of those that have an instance, one random instance each (paper, section 3.3); None takes all, in
    the same order, so that more of them begin with the fewer."""
    places = [place for place, instances in enumerate(corpus.instances) if instances]
    generator(seed, "evaluate", "review").shuffle(places)
    subjects: dict[str, Subject] = {}
    for place in places[:count]:
        instruction = corpus.instructions[place]
        instance = generator(seed, "evaluate", "review", place).choice(corpus.instances[place])
        made = Subject(
            key=digest(instruction, instance.input),
            item=str(place),
            instruction=instruction,
            input=instance.input,
            references=(),
            answers=(AnswerText(key=digest(instance.output), text=instance.output, models=()),),
        )
        subjects.setdefault(made.key, made)
    shown = tuple(subjects.values())
    return RatingSet(kind="review", suite=corpus.place, title=title, seed=seed, models=(), subjects=shown)
