"""The records that flow through the system, one frozen type for each step.

Knows neither files, engines nor stages. Every record carries its id and its parents' ids, so that any
training row can be traced to its completion and its seeds. A new stage of data is a new type.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class Instance:
    """One (input, output) pair of a task. `input` may be empty (paper, section 2.1)."""

    input: str
    output: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SeedTask:
    """A human-written task in the authors' file format (`seed_tasks.jsonl`)."""

    id: str
    name: str
    instruction: str
    instances: tuple[Instance, ...]
    is_classification: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """Sampling parameters of one request, under the names that vLLM and OpenAI use.

    `max_tokens` counts new tokens. `temperature` 0 is greedy, and then `seed` has no effect.
    """

    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    stop: tuple[str, ...] = ()
    seed: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One prompt for the engine.

    `choices`: the answer is constrained to one of these strings, told apart by their first tokens.
    `adapter`: path of a PEFT LoRA folder to answer with, none for the base model.
    `priority`: smaller is served earlier.
    `parents`: ids of the records that the prompt shows, in its order; for the journal, not for the engine.
    `scored`: token ids to score in the prompt's stead, at least two; the answer's text then means nothing.
    """

    id: str
    prompt: str
    sampling: Sampling
    choices: tuple[str, ...] = ()
    adapter: str | None = None
    priority: int = 0
    parents: tuple[str, ...] = ()
    scored: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Completion:
    """What the engine answered to the request of the same id.

    `finish_reason` is `stop` (a stop string or end-of-text) or `length` (the token limit was hit).
    `choice_logprobs`: for constrained requests, the natural log of the probability of each choice, in the
    request's order, normalised over the choices.
    `cached_tokens`: prompt tokens that the engine had in its prefix cache already; none where it doesn't tell.
    `logprobs`, `likeliest`: where tokens were to be scored, for each but the first the natural log of its probability
    after those before it, and the id that was likeliest in its place.
    """

    request_id: str
    text: str
    finish_reason: str
    prompt_tokens: int
    output_tokens: int
    choice_logprobs: tuple[float, ...] = ()
    cached_tokens: int | None = None
    logprobs: tuple[float, ...] = ()
    likeliest: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Neighbour:
    """A pool entry and its ROUGE-L F1 with a candidate."""

    id: str
    score: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Instruction:
    """A machine-written instruction that passed every filter.

    `request` is the number of the bootstrapping request, `parents` the ids of the 8 instructions it showed,
    `nearest` the most similar pool entries at the time of acceptance, best first.
    """

    id: str
    text: str
    request: int
    position: int
    parents: tuple[str, ...]
    nearest: tuple[Neighbour, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Rejection:
    """A candidate that was dropped: in which step, by which rule, and what it was.

    `parent` is the id of the request or instruction it came from; `detail` is the rule's evidence (a keyword, a count);
    `nearest` is the pool entry that it was too near to, none for the other rules.
    """

    id: str
    step: str
    rule: str
    text: str
    detail: str
    parent: str
    nearest: Neighbour | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelledInstruction:
    """An instruction with the verdict of step 2. `margin` = log p(yes) - log p(no), in nats."""

    instruction: Instruction
    is_classification: bool
    margin: float


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskInstance:
    """An accepted instance of a labelled instruction, `order` counted from 0 within the task."""

    id: str
    instruction_id: str
    order: int
    input: str
    output: str


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingExample:
    """One (instruction, input, output) triple to train on, with the id of the row it came from."""

    id: str
    instruction: str
    input: str
    output: str


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptExample:
    """One prompt and its completion, both verbatim: no template is put around them."""

    id: str
    prompt: str
    completion: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ChatExample:
    """A conversation as (role, content) pairs that ends with the assistant's turn to train on."""

    id: str
    messages: tuple[tuple[str, str], ...]


Example = TrainingExample | PromptExample | ChatExample


@dataclass(frozen=True, kw_only=True, slots=True)
class EvalItem:
    """One item to answer: an instruction, its input (may be empty) and its accepted answers.

    `suite` names the evaluation set, in which `id` is unique. `task` is what the item is an instance of: items of one task
    are no independent draws. `group` is its category (SuperNI) or application (user-oriented).
    """

    id: str
    suite: str
    task: str
    group: str
    instruction: str
    input: str
    references: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """The stripped answer of one model to one evaluation item; `hit_limit` if the token limit ended it."""

    item_id: str
    model: str
    text: str
    hit_limit: bool
    output_tokens: int


Level = Literal["A", "B", "C", "D"]
LEVELS: tuple[Level, ...] = ("A", "B", "C", "D")


@dataclass(frozen=True, kw_only=True, slots=True)
class Rating:
    """A rater's level for one answer (method.md, "Experiment 2"): A is the best.

    `subject` and `answer` are hashes of what was shown (`rating_sets`), never of who wrote it. `comment` may be empty.
    """

    rater: str
    subject: str
    answer: str
    level: Level
    comment: str
    time_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Review:
    """A rater's answers to the questions of the data quality review (paper, section 3.3); None where one isn't answered yet.

    `subject` and `answer` as in `Rating`: the answer is the instance's output.
    """

    rater: str
    subject: str
    answer: str
    instruction: bool | None
    input: bool | None
    output: bool | None
    format: Literal["right", "partly", "wrong"] | None
    comment: str
    time_s: float
