"""The settings of the evaluate stage; `settings` has the tree that they are part of.

Knows nothing of how a value is used.
"""

from __future__ import annotations

from typing import Annotated, Literal

from self_instruct.setting_kinds import Section, place, runtime, shape


class SuperNISettings(Section):
    """Super-NaturalInstructions, the paper's first experiment (method.md, "SuperNI scoring, exactly")."""

    folder: Annotated[
        str | None, place("A clone of natural-instructions (`splits/`, `tasks/`); none leaves SuperNI out.", "superni")
    ] = None
    split: Annotated[
        str, shape("The list of tasks is `splits/<this>/test_tasks.txt` (paper: `default`).", pattern=r"^[A-Za-z0-9_.-]+$")
    ] = "default"
    instances: Annotated[int, shape("The first so many instances of each task (paper: 100).", ge=1)] = 100
    prompt_tokens: Annotated[int, shape("Longest prompt in tokens (reference evaluation: 1,024).", ge=16)] = 1024
    cut: Annotated[
        Literal["input", "official"],
        shape(
            "A prompt that is too long loses the end of its input, so that the cue survives, or its own end with the cue, as in "
            "the reference evaluation."
        ),
    ] = "input"
    max_tokens: Annotated[int, shape("New tokens at most (reference evaluation: 128).", ge=1)] = 128


class RateSettings(Section):
    """The page on which people rate answers and review data (`evaluate rate`)."""

    host: Annotated[
        str,
        runtime(
            "Address to listen on. Any other than this machine's own (127.0.0.1, ::1, localhost) asks visitors for the token in "
            "the link that is printed.",
            min_length=1,
        ),
    ] = "127.0.0.1"
    port: Annotated[int, runtime("Port of the page; 0 takes a free one.", ge=0, le=65535)] = 8642
    review: Annotated[
        int, runtime("Instructions of a run's corpus to review, one instance each (paper: 200); 0 leaves the review out.", ge=0)
    ] = 200


class JudgeSettings(Section):
    """A local model that rates as people do (`evaluate judge`)."""

    model: Annotated[str | None, runtime("The model that judges: a folder or a hub id; none is `model.name`.", min_length=1)] = None
    prompt: Annotated[
        Literal["auto", "completion", "chat"],
        runtime("How the judge is asked: by plain completion, or in its chat template; `auto`: in the template if it has one."),
    ] = "auto"
    orders: Annotated[
        int,
        runtime("Orders of the four levels in which each answer is asked about; their majority counts (ours).", ge=1, le=24),
    ] = 4


class EvaluateSettings(Section):
    """Measuring the tuned model against its base."""

    adapters: Annotated[
        tuple[str, ...] | None, place("LoRA folders to compare with the base; none is `<run.dir>/train/adapter`.", "adapter")
    ] = None
    user_oriented: Annotated[
        str | tuple[str, ...],
        place(
            "Files of user-oriented tasks, JSON Lines in the authors' format, each an evaluation set of its own; `shipped` is the "
            "set that ships. Empty leaves them out.",
            "user_oriented",
        ),
    ] = "shipped"
    max_items: Annotated[int | None, shape("The first so many tasks of each such file only; none is all.", ge=1)] = None
    max_tokens: Annotated[int, shape("New tokens at most of a user-oriented task's answer (method: 512).", ge=1)] = 512
    superni: SuperNISettings = SuperNISettings()
    cache: Annotated[
        str | None,
        runtime(
            "Folder of answers that runs share, by model, adapter, prompt and parameters, so that nothing is generated twice; none "
            "is `answers` in the user's cache folder of self-instruct."
        ),
    ] = None
    rate: RateSettings = RateSettings()
    judge: JudgeSettings = JudgeSettings()
    examples: Annotated[int, runtime("Example outputs of each evaluation set in the report.", ge=0)] = 8
