"""The model card of an adapter, a merged model or a fully fine-tuned one: what it is, of what, and what isn't known of it.

Knows no file and no clock: the same training gives the same text, whenever it is written.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any, Literal

from self_instruct import template
from self_instruct.engine_vllm import LORA_RANKS
from self_instruct.models import EMBEDDED, EMBEDDED_TITLE, HUB_ID
from self_instruct.settings_train import TrainSettings

Kind = Literal["adapter", "merged", "model"]

EMBEDDED_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"  # what the embedded model's weights are of
WHAT = {
    "adapter": "A LoRA adapter, fine-tuned on instructions",
    "merged": "A language model with a LoRA adapter merged into it, fine-tuned on instructions",
    "model": "A language model, all of whose weights were fine-tuned on instructions",
}
EXAMPLE = ("Name the river that flows through the city.", "Vienna")
# Those that shape the training and are told nowhere else in the card; the adapter's own only where there is one.
SHOWN = (
    "method", "epochs", "batch_size", "learning_rate", "warmup_ratio", "weight_decay", "max_grad_norm", "max_length",
    "prompt_loss_weight", "template", "template_draw", "held_out",
)  # fmt: skip
OF_LORA = ("lora_rank", "lora_alpha", "lora_dropout")


def text(manifest: Mapping[str, Any], kind: Kind, *, curve: bool) -> str:
    """The card in Markdown, with the hub's YAML head; `curve` says whether `loss.png` lies beside it.

    Of `manifest` (`training_manifest.json`) it reads: `base_model` (`reference`, `revision`, `fingerprint`), `data`
    (`sha256`, `examples`, `seed_examples`, `held_out`: rows; `dropped`: rows by reason; `sources`: a list of `name`,
    `rows`, `weight`), `settings` (the values that shape the training, by dotted key), `dtype`, `versions`,
    `template_counts`, `loss_by_epoch` (nats a completion token) and `held_out_loss` (the same before the first and after each
    epoch; empty where nothing was held out).
    """
    sections = [
        _head(manifest, kind),
        f"# {WHAT[kind]}",
        _wrapped(
            f"Base: {_title(manifest)}. Trained by self-instruct (Wang et al. 2022, arXiv 2212.10560) on the completions of "
            "instruction data. Every number here is of this training."
        ),
        _load(manifest, kind),
        _prompt(manifest),
        _data(manifest),
        _training(manifest, kind),
        _losses(manifest, curve),
        _limitations(manifest),
        _versions(manifest),
    ]
    return "\n\n".join(sections) + "\n"


def _head(manifest: Mapping[str, Any], kind: Kind) -> str:
    reference = manifest["base_model"]["reference"]
    base = EMBEDDED_ID if reference == EMBEDDED else _name(reference)
    library, relation = ("peft", "adapter") if kind == "adapter" else ("transformers", "finetune")
    tags = ["self-instruct", "instruction-tuning", *(["lora"] if kind == "adapter" else [])]
    lines = [f"base_model: {base}", f"base_model_relation: {relation}", f"library_name: {library}", "pipeline_tag: text-generation"]
    return "\n".join(["---", *lines, "tags:", *(f"- {tag}" for tag in tags), "---"])


def _name(reference: str) -> str:
    """A hub id as it is, a folder by its last name: a card shows no paths of the machine."""
    return reference if HUB_ID.fullmatch(reference) else PurePath(reference).name


def _title(manifest: Mapping[str, Any]) -> str:
    base = manifest["base_model"]
    name = EMBEDDED_TITLE if base["reference"] == EMBEDDED else f"`{_name(base['reference'])}`"
    revision = f", revision `{base['revision']}`" if base.get("revision") else ""
    return f"{name}{revision}, fingerprint `{base['fingerprint'][:12]}`"


def _load(manifest: Mapping[str, Any], kind: Kind) -> str:
    if kind == "adapter":
        rank = next(allowed for allowed in LORA_RANKS if allowed >= manifest["settings"]["train.lora_rank"])
        said = "BASE is the base's hub id or folder, FOLDER this one."
        python = [
            "from peft import PeftModel",
            "from transformers import AutoModelForCausalLM, AutoTokenizer",
            "",
            'model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained("BASE"), "FOLDER")',
        ]
        serve = f"vllm serve BASE --enable-lora --max-lora-rank {rank} --lora-modules tuned=FOLDER"
    else:
        said = "FOLDER is this one."
        python = [
            "from transformers import AutoModelForCausalLM, AutoTokenizer",
            "",
            'model = AutoModelForCausalLM.from_pretrained("FOLDER")',
        ]
        serve = "vllm serve FOLDER"
    code = ["```python", *python, 'tokenizer = AutoTokenizer.from_pretrained("FOLDER")', "```", "", "```", serve, "```"]
    after = (
        "An encoder-decoder base loads with `AutoModelForSeq2SeqLM`, and not in vLLM. `generation_config.json` names the ids that "
        "end an answer."
    )
    return "\n".join(["## Loading it", "", said, "", *code, "", _wrapped(after)])


def _prompt(manifest: Mapping[str, Any]) -> str:
    counts = manifest["template_counts"]
    if set(counts) == {template.CHAT}:
        said = "Prompts were put in the chat template of the tokenizer: `tokenizer.apply_chat_template(messages, "
        return "\n".join(["## Prompt", "", _wrapped(said + "add_generation_prompt=True)`. An answer ends with the turn.")])
    said = (
        "Plain completion: the answer follows the prompt and ends with end-of-text. The evaluation of this project asks in one "
        "form, `I¶¶X¶¶Output:`, or `I¶¶Output:` without an input (I instruction, X input, ¶ line break):"
    )
    example = ["```", template.evaluation_prompt(*EXAMPLE), "```"]
    trained = (
        f"In training each example was put in a form drawn at random; `{template.CHAT}` is the tokenizer's chat template, "
        f"`{template.VERBATIM}` a prompt as the data had it. How often each was drawn, over all epochs:"
    )
    forms = _table(("form", "examples"), [(f"`{form}`", count) for form, count in counts.items()])
    return "\n".join(["## Prompt", "", _wrapped(said), "", *example, "", _wrapped(trained), "", *forms])


def _data(manifest: Mapping[str, Any]) -> str:
    data = manifest["data"]
    sources = [(PurePath(source["name"]).name, source["rows"], f"{source['weight']:g}") for source in data["sources"]]
    lines = [
        f"{data['examples']} examples were trained on, {data['seed_examples']} of them human-written seed tasks; "
        f"{data['held_out']} more were held out, by instruction, to measure the loss on. SHA-256 of the examples: "
        f"`{data['sha256']}`."
    ]
    parts = ["## Data", "", _wrapped(lines[0])]
    if sources:
        parts += ["", *_table(("source", "rows", "passes an epoch"), sources)]
    if dropped := sorted((reason, rows) for reason, rows in data["dropped"].items() if rows):
        parts += ["", "Left out:", "", *_table(("reason", "rows"), dropped)]
    return "\n".join(parts)


def _training(manifest: Mapping[str, Any], kind: Kind) -> str:
    settings = manifest["settings"]
    method = settings["train.method"]
    rate = TrainSettings(method=method, learning_rate=settings["train.learning_rate"]).rate
    names = (*SHOWN, *(OF_LORA if method != "full" else ()))
    rows = [(f"`train.{name}`", rate if name == "learning_rate" else settings[f"train.{name}"]) for name in names]
    said = {
        "lora": "LoRA on all linear layers but the output head; the base stayed as it is.",
        "qlora": "LoRA on all linear layers but the output head, beside a base in 4 bits; served and merged on the base itself.",
        "full": "All weights were trained, in float32.",
    }[method]
    if kind == "merged":
        said += " The adapter was added to the weights in float32, and these were then stored in the base's own number format."
    weight = settings["train.prompt_loss_weight"]
    prompts = f" and, with a weight of {weight:g}, the prompts'" if weight else ""
    said += f" The loss is the mean over the completions'{prompts} tokens of a whole optimizer step."
    said += " AdamW, a linear warm-up, a cosine to 0."
    rows += [("`run.seed`", settings["run.seed"]), ("number format", manifest["dtype"])]
    return "\n".join(["## Training", "", _wrapped(said), "", *_table(("setting", "value"), rows)])


def _losses(manifest: Mapping[str, Any], curve: bool) -> str:
    held_out: Sequence[float] = manifest["held_out_loss"]
    rows = [("before", "", f"{held_out[0]:.4f}")] if held_out else []
    for epoch, loss in enumerate(manifest["loss_by_epoch"], start=1):
        after = f"{held_out[epoch]:.4f}" if epoch < len(held_out) else ""
        rows.append((str(epoch), f"{loss:.4f}", after))
    columns = ("epoch", "training", "held out") if held_out else ("epoch", "training")
    table = _table(columns, [row[: len(columns)] for row in rows])
    image = ["", "![Loss by optimizer step](loss.png)"] if curve else []
    said = "Nats a completion token. The training loss is the mean over the epoch, while the weights change."
    return "\n".join(["## Loss", "", _wrapped(said), "", *table, *image])


def _limitations(manifest: Mapping[str, Any]) -> str:
    data = manifest["data"]
    points = []
    if data["examples"] > data["seed_examples"]:
        points.append(
            "Data that a language model wrote, as this project's own are, were checked by rules and by nobody: answers in them may "
            "be wrong, and what the writing model is biased to comes back in the trained one."
        )
    points += [
        "The loss says how well the model continues such data, not how good its answers are. Nothing else was measured here: not "
        "facts, not safety, not other languages than the data's.",
        "The licence of the base holds for this model too, and so may the licences of the data.",
    ]
    lines = [textwrap.fill(point, 120, initial_indent="- ", subsequent_indent="  ") for point in points]
    return "\n".join(["## Limitations", "", *lines])


def _versions(manifest: Mapping[str, Any]) -> str:
    return "\n".join(["## Versions", "", *_table(("package", "version"), list(manifest["versions"].items()))])


def _wrapped(paragraph: str) -> str:
    return textwrap.fill(paragraph, 120, break_long_words=False, break_on_hyphens=False)


def _table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    cells = [[str(cell).replace("|", "\\|") for cell in row] for row in (columns, ["---"] * len(columns), *rows)]
    return [f"| {' | '.join(row)} |" for row in cells]
