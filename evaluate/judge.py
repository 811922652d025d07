"""A local model as one more rater: asked for the level of every answer in several orders of the levels; the majority counts.

Knows neither how prompts are written (`judge_prompt`) nor who opens engines. What a judge's levels are worth, only its agreement
with people says.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from scipy.stats import spearmanr

from self_instruct import journal as journals
from self_instruct import rundir
from self_instruct.engine import Engine
from self_instruct.engine_journaled import payload_hash
from self_instruct.evaluate import agreement, predict
from self_instruct.evaluate.intervals import Estimate, wilson
from self_instruct.evaluate.judge_prompt import Asking, Form, Item, Order, load_heads, orders
from self_instruct.evaluate.rating_sets import RatingSet, Target
from self_instruct.evaluate.ratings import JUDGE
from self_instruct.evaluate.report_numbers import percent
from self_instruct.models import Model, described, title
from self_instruct.records import LEVELS, Completion, Level, Rating, Request, Sampling
from self_instruct.settings_evaluate import JudgeSettings

# By parts of names, as publishers give them. The first words of other names are compared.
FAMILIES = (
    "llama", "qwen", "mistral", "gemma", "phi", "smollm", "olmo", "deepseek", "falcon", "granite", "gpt-oss", "gpt2", "gpt-neo",
    "pythia", "bloom", "mpt", "yi-", "glm", "internlm", "command", "t5", "stablelm", "nemotron", "ernie", "minicpm",
)  # fmt: skip
ALIASES = {
    "mixtral": "mistral",
    "ministral": "mistral",
    "magistral": "mistral",
    "qwq": "qwen",
    "vicuna": "llama",
    "alpaca": "llama",
}
# Words of folders' names that tell no family.
GENERAL = {"model", "merged", "checkpoint", "snapshot", "final", "adapter", "base", "tuned", "instruct", "chat", "meta"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """One answer to judge: a request for each order, and the characters left out of its texts."""

    target: Target
    requests: tuple[Request, ...]
    cut: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Everything that a judge is asked, the orders of one answer and the answers to one instruction together."""

    form: Form
    orders: tuple[Order, ...]
    questions: tuple[Question, ...]

    @property
    def requests(self) -> tuple[Request, ...]:
        return tuple({one.id: one for question in self.questions for one in question.requests}.values())


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What the orders say together. `levels` are the likeliest of each, `probabilities` those of A to D in each; `tied`: the votes
    were, and the mean probability decided."""

    level: Level
    levels: tuple[Level, ...]
    probabilities: tuple[tuple[float, ...], ...]
    tied: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """A judge's name as a rater, what is known of it as plain JSON values, and its ratings."""

    name: str
    facts: Mapping[str, Any]
    ratings: tuple[Rating, ...]


def build_requests(sets: Iterable[RatingSet], tokenizer: Any, *, settings: JudgeSettings, seed: int, context: int) -> Plan:
    """What to ask about every answer of the sets of kind `answers`; an answer that stands in two sets is asked about once.

    `tokenizer`: the judge's, none for the scripted engine; `context`: tokens that prompt and answer may have together. Raises
    ConfigError where the judge can't be asked so (see `Asking`) and DataError for broken demonstrations.
    """
    asking = Asking(load_heads(), tokenizer, settings.prompt, context)
    asked_orders = orders(settings.orders, seed)
    questions: dict[Target, Question] = {}
    for subject in (subject for one in sets if one.kind == "answers" for subject in one.subjects):
        for answer in subject.answers:
            if (target := (subject.key, answer.key)) in questions:
                continue
            reference = subject.references[0] if subject.references else ""
            whole = Item(instruction=subject.instruction, input=subject.input, reference=reference, answer=answer.text)
            item, cut = asking.fitted(whole)
            made = tuple(_request(asking.prompt(item, order), asking.choices) for order in asked_orders)
            questions[target] = Question(target=target, requests=made, cut=cut)
    return Plan(form=asking.form, orders=asked_orders, questions=tuple(questions.values()))


def _request(prompt: str, choices: tuple[str, ...]) -> Request:
    made = Request(id="", prompt=prompt, sampling=Sampling(max_tokens=1), choices=choices)
    return replace(made, id=payload_hash(made))


async def judge(
    sets: Sequence[RatingSet],
    engine: Engine | None,
    tokenizer: Any,
    *,
    journal: Path,
    model: Model,
    settings: JudgeSettings,
    seed: int,
    context: int,
    now: float,
    scripted: bool,
) -> Judged:
    """Rate every answer of the sets of kind `answers`. The engine is closed; without one, `journal` must hold every completion.

    `journal` is this model's alone, in a folder of its own: what it holds isn't asked for again. `now` is the time of the ratings,
    in seconds. Raises what `build_requests` raises, EngineError, and RunFolderError for a damaged journal.
    """
    plan = build_requests(sets, tokenizer, settings=settings, seed=seed, context=context)
    completions = await predict.collect(journal, engine, plan.requests, {})
    name = _name(model, scripted)
    told: dict[str, Any] = {}
    ratings = []
    for question in plan.questions:
        found = verdict([completions[request.id] for request in question.requests])
        subject, answer = question.target
        ratings.append(Rating(rater=name, subject=subject, answer=answer, level=found.level, comment="", time_s=now))
        told[" ".join(question.target)] = {
            "levels": "".join(found.levels),
            "probabilities": [[round(value, 6) for value in row] for row in found.probabilities],
            "tied": found.tied,
            "cut": question.cut,
        }
    facts = {
        "model": described(model),
        "form": plan.form,
        "orders": ["".join(order) for order in plan.orders],
        "seed": seed,
        "scripted": scripted,
        **_work(completions.values()),
        "seconds": round(sum(float(one["seconds"]) for one in journals.read(journal.with_name("sessions.jsonl"))), 1),
        "cut": sum(question.cut > 0 for question in plan.questions),
        "answers": told,
    }
    if plan.requests:
        facts["journal"] = {"folder": journal.parent.name, "sha256": rundir.sha256(journal)}
    return Judged(name=name, facts=facts, ratings=tuple(ratings))


def _name(model: Model, scripted: bool) -> str:
    """The judge's as a rater. Folders of different models may be called alike, and a hub's model has revisions."""
    if scripted:
        return f"{JUDGE}scripted"
    return f"{JUDGE}{title(model)}" + ("" if model.source == "embedded" else f" {model.fingerprint[:6]}")


def _work(completions: Iterable[Completion]) -> dict[str, Any]:
    """Requests and tokens; `hit_rate` is the share (0 to 1) of prompt tokens that the prefix cache had, over the requests of which
    the engine tells it."""
    given = list(completions)
    telling = [one for one in given if one.cached_tokens is not None]
    prompts, cached = sum(one.prompt_tokens for one in telling), sum(one.cached_tokens or 0 for one in telling)
    return {
        "requests": len(given),
        "prompt_tokens": sum(one.prompt_tokens for one in given),
        "output_tokens": sum(one.output_tokens for one in given),
        "hit_rate": round(cached / prompts, 4) if prompts else None,
    }


def verdict(completions: Sequence[Completion]) -> Verdict:
    """The level that most orders found likeliest; among levels with equally many votes, that of the highest mean probability."""
    rows = tuple(tuple(math.exp(score) for score in one.choice_logprobs) for one in completions)
    levels = tuple(LEVELS[row.index(max(row))] for row in rows)
    votes = Counter(levels)
    most = [level for level in LEVELS if votes[level] == max(votes.values())]
    means = {level: sum(row[LEVELS.index(level)] for row in rows) for level in most}
    return Verdict(level=max(most, key=means.__getitem__), levels=levels, probabilities=rows, tied=len(most) > 1)


def family(judge: Mapping[str, Any], judged: Sequence[Mapping[str, Any]]) -> str | None:
    """A warning where the judge is a judged model, or of one family as names and architectures tell; both as `models.described`."""
    why = "it may favour what it would have written itself"
    for one in judged:
        if one["fingerprint"] == judge["fingerprint"]:
            return f"the judge, {judge['title']}, is the model whose answers it judges, or that model's base: {why}"
    for one in judged:
        if shared := _families(judge) & _families(one):
            names = f"the judge, {judge['title']}, and {one['title']}, whose answers it judges"
            return f"{names}, are of one family ({', '.join(sorted(shared))}): {why}"
    return None


def _families(model: Mapping[str, Any]) -> set[str]:
    """The families that a model's name or architecture names (a distilled model has two); where it has none of the known ones, the
    name's own first word."""
    name = str(model["title"]).casefold()
    last = name.rstrip("/").rsplit("/", 1)[-1]
    # Many families have Llama's architecture.
    built = re.match(r"[A-Za-z]+", str(model.get("architecture", "")).replace("ForCausalLM", ""))
    shape = built[0].casefold() if built else ""
    found = {family for family in FAMILIES if family in last}
    found |= {family for family in FAMILIES if family in shape and family != "llama"}
    found |= {of for alias, of in ALIASES.items() if alias in last or alias in shape}
    if found:
        return found
    words = [word for word in re.findall(r"[^\W\d_]+", last) if len(word) > 3 and word not in GENERAL]
    return set(words[:1])


def summary(one: RatingSet, facts: Mapping[str, Any], ratings: Sequence[Rating]) -> dict[str, Any]:
    """What a judge is like on one set, from its own facts and ratings: plain JSON values, shares in percent with Wilson's
    interval.

    `unanimous_percent`: answers on which all orders agree; `pairwise_percent`: equal levels among all pairs of orders; `alpha`:
    Krippendorff's, ordinal, of the orders; `tied_percent`: answers with tied votes. `same_level_percent`: of the `pairs` of
    different answers to one instruction, those that got one level. `longer` as `length_effect`. `hit_rate_percent`, `output_tokens`
    and `seconds` are of all that the judge did. None where there is nothing to share, or only one order.
    """
    rated = {(rating.subject, rating.answer): rating.level for rating in ratings}
    told = [facts["answers"][" ".join(target)] for target in sorted(one.targets & rated.keys())]
    levels: list[tuple[Level, ...]] = [
        tuple(level for letter in row["levels"] for level in LEVELS if level == letter) for row in told
    ]
    several = len(facts["orders"]) > 1
    pairwise, alpha = agreement.self_agreement(levels) if told else (None, None)
    pairs = [(rated[first], rated[second]) for first, second in _pairs(one, rated)]
    return {
        "model": facts["model"]["title"],
        "form": facts["form"],
        "orders": list(facts["orders"]),
        "scripted": facts["scripted"],
        "answers": len(told),
        "of": one.total,
        "unanimous_percent": _share(sum(len(set(row)) == 1 for row in levels), len(levels)) if several else None,
        "pairwise_percent": None if pairwise is None else round(100 * pairwise, 1),
        "alpha": None if alpha is None else round(alpha, 3) + 0.0,
        "tied_percent": _share(sum(row["tied"] for row in told), len(told)) if several else None,
        "pairs": len(pairs),
        "same_level_percent": _share(sum(first == second for first, second in pairs), len(pairs)),
        "longer": length_effect([one], ratings),
        "cut": sum(row["cut"] > 0 for row in told),
        "hit_rate_percent": None if facts["hit_rate"] is None else round(100 * facts["hit_rate"], 1),
        "output_tokens": facts["output_tokens"],
        "seconds": facts["seconds"],
    }


def length_effect(sets: Iterable[RatingSet], ratings: Iterable[Rating]) -> dict[str, Any]:
    """Whether one rater, a person or a judge, rates longer answers higher; plain JSON values.

    `spearman` of an answer's words and its level (A is 4, D is 1) over the `answers` rated, none where either is constant.
    `longer_better_percent`: of the `pairs` of answers to one instruction that differ in level and in words, those in which the
    longer one has the better level, with Wilson's interval; 50 is no preference. Longer answers may well be better.
    """
    rated = {(rating.subject, rating.answer): rating.level for rating in ratings}
    words: dict[Target, int] = {}
    pairs: set[tuple[Target, Target]] = set()
    for one in sets:
        found = {(s.key, a.key): len(a.text.split()) for s in one.subjects for a in s.answers if (s.key, a.key) in rated}
        words |= found
        pairs |= {pair for pair in _pairs(one, rated) if words[pair[0]] != words[pair[1]] and rated[pair[0]] != rated[pair[1]]}
    grades = [len(LEVELS) - LEVELS.index(rated[target]) for target in words]
    defined = len(set(grades)) > 1 and len(set(words.values())) > 1
    longer = sum((words[first] > words[second]) == (rated[first] < rated[second]) for first, second in pairs)
    return {
        "answers": len(words),
        "spearman": round(float(spearmanr(list(words.values()), grades).statistic), 3) + 0.0 if defined else None,
        "pairs": len(pairs),
        "longer_better_percent": _share(longer, len(pairs)),
    }


def _pairs(one: RatingSet, rated: Mapping[Target, Level]) -> list[tuple[Target, Target]]:
    """Of each subject, all pairs of different answers that are rated both."""
    targets = [[(s.key, a.key) for a in s.answers if (s.key, a.key) in rated] for s in one.subjects]
    return [pair for found in targets for pair in combinations(found, 2)]


def _share(part: int, whole: int) -> dict[str, float | None] | None:
    estimate: Estimate | None = wilson(part, whole) if whole else None
    return None if estimate is None else percent(estimate)
