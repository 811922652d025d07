"""The settings of the train stage; `settings` has the tree that they are part of.

Knows nothing of how a value is used.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from self_instruct.setting_kinds import Section, place, runtime, shape


class TrainSettings(Section):
    """Fine-tuning on the completions."""

    data: Annotated[
        str | tuple[str, ...] | None,
        place(
            "What to train on, one source or a list: a corpus folder, an Alpaca JSON file, a JSON Lines file of `prompt` and "
            "`completion` or of `messages`, a folder of such files (T0), a SuperNI folder; docs/training.md has their fields. "
            "None is `<run.dir>/generate/corpus`, an empty list the seeds alone.",
            "data",
        ),
    ] = None
    weights: Annotated[
        tuple[Annotated[float, Field(gt=0)], ...],
        shape(
            "Passes over each source of `train.data` in an epoch, in its order: 0.5 takes half of its rows, others in each epoch; "
            "2 takes each row twice. Empty is 1 for each."
        ),
    ] = ()
    sample: Annotated[
        int,
        shape("Instances taken of a SuperNI or T0 folder, spread evenly over its tasks or templates (paper, section 4.2).", ge=1),
    ] = 50_000
    instructions: Annotated[
        int | None,
        shape(
            "Train on so many instructions only, with all their rows: the seeds first, then others in an order drawn by the seed, "
            "so that a smaller set is part of a larger one (paper, Figure 7). None is all.",
            ge=1,
        ),
    ] = None
    include_seeds: Annotated[bool, shape("Train on the seed tasks too (paper, section 2.4).")] = True
    seeds: Annotated[str | None, place("Seed tasks to include; none is `generate.seeds`.", "seeds")] = None
    held_out: Annotated[
        float,
        shape(
            "Share of the instructions, never of seeds, kept out of training; their completion loss is measured before the first "
            "and after each epoch (ours; 0 measures none).",
            ge=0,
            lt=1,
        ),
    ] = 0.02
    epochs: Annotated[int, shape("Passes over the data (paper: 2).", ge=1)] = 2
    template: Annotated[
        Literal["forms", "chat"],
        shape(
            "Prompts in the authors' 13 forms, or in the chat template of the model's tokenizer. Rows of `messages` always take it."
        ),
    ] = "forms"
    template_draw: Annotated[
        Literal["epoch", "once"], shape("Draw the prompt template of an example anew each epoch, or once (the authors).")
    ] = "epoch"
    prompt_loss_weight: Annotated[float, shape("Weight of the prompt's tokens in the loss (paper: 0).", ge=0, le=1)] = 0.0
    method: Annotated[
        Literal["lora", "qlora", "full"],
        shape(
            "`lora` trains small matrices beside all linear layers; `qlora` the same over a base in 4 bits (bitsandbytes, an "
            "NVIDIA GPU); `full` trains all weights, kept in float32."
        ),
    ] = "lora"
    learning_rate: Annotated[
        float | None,
        shape(
            "Peak learning rate of AdamW; none is 2e-4 with LoRA and 2e-5 for `full` (ours; the paper's provider kept its own).",
            gt=0,
        ),
    ] = None
    warmup_ratio: Annotated[float, shape("Share of the steps with a linearly rising rate; then a cosine to 0.", ge=0, le=1)] = 0.05
    weight_decay: Annotated[float, shape("AdamW's decoupled weight decay.", ge=0)] = 0.0
    max_grad_norm: Annotated[float, shape("Gradient norm above which gradients are scaled down.", gt=0)] = 1.0
    batch_size: Annotated[int, shape("Examples an optimizer step, over all processes.", ge=1)] = 16
    micro_batch_tokens: Annotated[
        int | None,
        runtime(
            "Tokens that run through the model together; memory, not results, depends on it. A longer example runs alone. None is "
            "what the memory estimate allows on a GPU, and 512 on a CPU (benchmarks/README.md).",
            ge=1,
        ),
    ] = None
    attention: Annotated[
        Literal["auto", "padded"],
        runtime(
            "`auto` runs the examples of a micro-batch in one row without padding, where the architecture can; `padded` never "
            "does: the way out where that fails."
        ),
    ] = "auto"
    max_length: Annotated[int, shape("Longest example in tokens; longer prompts are cut in the middle.", ge=64)] = 1024
    lora_rank: Annotated[int, shape("Rank of the LoRA matrices; vLLM serves up to 512.", ge=1, le=512)] = 16
    lora_alpha: Annotated[int, shape("LoRA's scale is alpha / rank.", ge=1)] = 32
    lora_dropout: Annotated[float, shape("Dropout in front of the LoRA matrices.", ge=0, lt=1)] = 0.0
    checkpoint_every_s: Annotated[
        float, runtime("Seconds between checkpoints; 0 makes one after every step. One more is made when the run is stopped.", ge=0)
    ] = 300.0
    keep_checkpoints: Annotated[int, runtime("The newest so many checkpoints are kept.", ge=1)] = 2
    log_with: Annotated[
        tuple[str, ...],
        runtime("Trackers of accelerate that metrics go to beside metrics.jsonl, such as tensorboard, wandb, trackio, mlflow."),
    ] = ()

    @model_validator(mode="after")
    def _agree(self) -> TrainSettings:
        sources = 1 if not isinstance(self.data, tuple) else len(self.data)
        if self.data == () and not self.include_seeds:
            raise PydanticCustomError(
                "disagree", "must name a source, be null, or leave train.include_seeds true", {"key": "train.data"}
            )
        if self.weights and len(self.weights) != sources:
            raise PydanticCustomError(
                "disagree",
                "must have one number for each source of train.data, {sources}",
                {"key": "train.weights", "sources": sources},
            )
        return self

    @property
    def rate(self) -> float:
        """The peak learning rate."""
        return self.learning_rate or (2e-5 if self.method == "full" else 2e-4)
