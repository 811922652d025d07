"""`train merge RUN`: the adapter added to its base's weights, and the report that shows that nothing was lost on the way.

Knows nothing of training. All is computed in float32 on the CPU, where memory is largest and nothing rounds.
"""

from __future__ import annotations

import asyncio
import gc
import importlib.util
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from self_instruct import engine_vllm, hardware, loading, models, provenance, rundir, seedbank, template
from self_instruct.engine import Engine
from self_instruct.errors import ConfigError, DataError, RunFolderError
from self_instruct.loading import Loaded
from self_instruct.models import Model
from self_instruct.records import PromptExample, Request, Sampling
from self_instruct.runlog import log
from self_instruct.settings import Settings, values
from self_instruct.train import adapter, batching, parity
from self_instruct.train.masking import Encoded
from self_instruct.train.tokens import Tokens

FREE = ("run.threads", "run.engine.", "model.engine", "model.dtype")  # what `--set` may name; the rest is the run's own
STORED = ("float32", "bfloat16", "float16")

Start = Callable[[Model, Settings, tuple[str, ...], Path], Awaitable[Engine]]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be merged: the run's `stage` folder, the adapter's content by its SHA-256, the base that it belongs to.

    `dtype`: the base's own number format, in which the merged model is stored. `vllm_dtype`: what vLLM computes in here.
    `vllm_absent`: why the report has no scores from it, empty where it has.
    """

    stage: Path
    settings: Settings
    model: Model
    manifest: Mapping[str, Any]
    digest: str
    dtype: str
    encoder_decoder: bool
    vllm_dtype: str
    vllm_absent: str

    @property
    def adapter(self) -> Path:
        return self.stage / "adapter"

    @property
    def merged(self) -> Path:
        return self.stage / "merged"


def settings_of(manifest: Mapping[str, Any], flags: Loaded, where: Path) -> Settings:
    """The run's own settings, with what `--set` says of how to use this machine. Raises ConfigError for another setting."""
    own = {name: entry["value"] for name, entry in manifest["settings"].items()}
    named = [name for name, origin in flags.origins.items() if origin == "--set"]
    for name in named:
        if not name.startswith(FREE):
            raise ConfigError(
                f"--set {name}: merge takes the run's own",
                hint="these may be set: run.threads, run.engine.NAME, model.engine, model.dtype",
            )
    return loading.from_values(own | {name: values(flags.settings)[name] for name in named}, str(where))


def plan(stage: Path, settings: Settings) -> Plan:
    """Check everything that can be checked without loading a model.

    Raises RunFolderError where there is nothing to merge, DataError for an adapter that can't be merged or served, or that
    belongs to another base, and ConfigError where the base isn't there.
    """
    place = stage / "adapter"
    if settings.train.method == "full":
        raise RunFolderError(f"{stage}: train.method is full: nothing to merge", hint=f"{stage / 'model'} is a whole model already")
    if not (place / "adapter_config.json").is_file():
        raise RunFolderError(f"{place}: no adapter there", hint="train again with another --out")
    _check(place)
    manifest = rundir.read_json(place / models.TRAINED)
    base = manifest["base_model"]
    model = models.resolve(settings.model.model_copy(update={"name": base["reference"], "revision": base["revision"]}))
    if model.fingerprint != base["fingerprint"]:
        raise DataError(
            f"{place}: trained on {base['reference']} ({base['fingerprint'][:12]}), what lies there now is another model "
            f"({model.fingerprint[:12]})",
            hint="bring the base back that it was trained on",
        )
    config = rundir.read_json(Path(model.path) / "config.json")
    encoder_decoder = bool(config.get("is_encoder_decoder"))
    named = [part.get(key) for part in (config, config.get("text_config") or {}) for key in ("dtype", "torch_dtype")]
    return Plan(
        stage=stage,
        settings=settings,
        model=model,
        manifest=manifest,
        digest=rundir.sha256(place),
        dtype=next((name for name in named if name in STORED), "float32"),
        encoder_decoder=encoder_decoder,
        vllm_dtype=hardware.choose_dtype(settings.model.dtype, found=[] if engine_vllm.is_cpu_build() else hardware.gpus())[0],
        vllm_absent=_vllm_absent(settings, encoder_decoder=encoder_decoder),
    )


def _check(place: Path) -> None:
    """Raises DataError for what vLLM can't serve, the same as the train stage never makes."""
    found = rundir.read_json(place / "adapter_config.json")
    rank = max([found.get("r", 0), *(found.get("rank_pattern") or {}).values()])
    flaws = {
        f"its kind is {found.get('peft_type')}, not LORA": found.get("peft_type") != "LORA",
        f"its rank is {rank}, vLLM serves up to {engine_vllm.LORA_RANKS[-1]}": rank > engine_vllm.LORA_RANKS[-1],
        f"it holds retrained modules ({', '.join(found.get('modules_to_save') or ())})": bool(found.get("modules_to_save")),
        "it uses DoRA": bool(found.get("use_dora")),
        f"it has biases ({found.get('bias')})": found.get("bias", "none") != "none",
    }
    for flaw, there in flaws.items():
        if there:
            raise DataError(f"{place}: can't be merged: {flaw}", hint="train an adapter with this project's train stage")


def _vllm_absent(settings: Settings, *, encoder_decoder: bool) -> str:
    if encoder_decoder:
        return "vLLM doesn't serve encoder-decoder models"
    if settings.model.engine != "vllm":
        return f"model.engine is {settings.model.engine}"
    return "" if importlib.util.find_spec("vllm") else "vLLM isn't installed"


def run(planned: Plan, start: Start) -> dict[str, Any]:
    """Write `merged/`, `parity.json` and `parity.md` in the stage's folder, where they aren't there for this adapter.

    Returns the report. `start` starts an engine. Raises DataError where the merged weights aren't numbers, EngineError
    where vLLM fails; what is written until then is whole, and the same command goes on from there.
    """
    merged, compared = _is_of(planned, planned.merged / "merge.json"), _is_compared(planned)
    if merged and compared:
        log.info("%s: merged from this adapter already; nothing to do", planned.merged)
        return rundir.read_json(planned.stage / "parity.json")
    if planned.merged.is_dir() and not merged:
        log.info("%s: of another adapter; it is made anew", planned.merged)
    from self_instruct.train import modeling

    modeling.set_threads(planned.settings.run.threads)
    asked = _prompts(planned)
    log.info("the adapter in PEFT on %s, in float32", planned.model.reference)
    columns = {parity.REFERENCE: parity.Column(scores=_merge(planned, asked, write=not merged), dtype="float32")}
    gc.collect()
    log.info("the merged model in transformers, stored in %s, computed in float32", planned.dtype)
    columns["merged"] = parity.Column(
        scores=_score(modeling.load_base(str(planned.merged), "float32").eval(), asked), dtype="float32"
    )
    gc.collect()
    columns["vllm"] = _vllm_column(planned, asked, start)
    facts = {
        "adapter_sha256": planned.digest,
        "base": planned.model.reference,
        "merged_dtype": planned.dtype,
        "versions": provenance.versions(),
    }
    made = parity.report(columns, facts)
    rundir.write_text(planned.stage / "parity.md", parity.markdown(made))
    rundir.write_json(planned.stage / "parity.json", made)  # last: it says that all is done
    return made


def _is_of(planned: Plan, path: Path) -> bool:
    return path.is_file() and rundir.read_json(path).get("adapter_sha256") == planned.digest


def _is_compared(planned: Plan) -> bool:
    """Whether the report is of this adapter, and has vLLM's scores, in this number format, where they can be had."""
    path = planned.stage / "parity.json"
    if not _is_of(planned, path):
        return False
    return bool(planned.vllm_absent) or rundir.read_json(path)["summary"]["vllm"].get("dtype") == planned.vllm_dtype


def _prompts(planned: Plan) -> list[Encoded]:
    """The first seed tasks that ship, in the one form of evaluation, with their own outputs and end-of-text."""
    settings = planned.settings
    preparation = batching.Preparation(
        tokens=Tokens(models.load_tokenizer(planned.model.path)),
        eos_id=planned.model.eos_token_id,
        # One less, as vLLM has to write a token.
        limit=min(settings.train.max_length, settings.model.max_length, planned.model.context) - 1,
        prompt_weight=0.0,
        seed=settings.run.seed,
        template_draw="once",
        encoder_decoder=planned.encoder_decoder,
    )
    tasks = [(task.id, task.instruction, task.instances[0]) for task in seedbank.load_seeds(None)[: parity.PROMPTS]]
    examples = [
        PromptExample(id=name, prompt=template.evaluation_prompt(asked, one.input), completion=f" {one.output.strip()}")
        for name, asked, one in tasks
    ]
    return preparation.encode_all(examples, 0)


def _merge(planned: Plan, asked: Sequence[Encoded], *, write: bool) -> dict[str, parity.Scores]:
    """The adapter's scores on its base; then, where wanted, the merged folder."""
    import torch
    from peft import PeftModel

    from self_instruct.train import modeling

    network = PeftModel.from_pretrained(modeling.load_base(planned.model.path, "float32"), str(planned.adapter)).eval()
    scores = _score(network, asked)
    if not write:
        return scores
    stored = getattr(torch, planned.dtype)
    rundir.require_disk(planned.stage, (network.num_parameters() * stored.itemsize + 2**26) / 2**30)
    try:
        whole = network.merge_and_unload(safe_merge=True)
    except ValueError as error:  # PEFT's word for weights that aren't finite
        raise DataError(f"{planned.adapter}: can't be merged: {str(error).splitlines()[0]}", hint="train it again") from None
    adapter.write_model(
        planned.merged,
        whole.to(stored),
        models.load_tokenizer(planned.model.path),
        planned.manifest,
        rundir.read_json(planned.adapter / "generation_config.json"),
        planned.adapter / adapter.CURVE,
        kind="merged",
        facts={
            "adapter_sha256": planned.digest,
            "base": {"reference": planned.model.reference, "fingerprint": planned.model.fingerprint},
            "computed_in": "float32",
            "stored_in": planned.dtype,
            "versions": provenance.versions(),
        },
    )
    log.info("merged model in %s, %s", planned.merged, planned.dtype)
    return scores


def _score(network: Any, asked: Sequence[Encoded]) -> dict[str, parity.Scores]:
    """Each completion's tokens after their prompt, one example at a time. C completion tokens, V vocabulary."""
    import torch

    found = {}
    for one in asked:
        ids, target = torch.tensor([one.ids]), torch.tensor([one.labels])  # (1, T), (1, C)
        with torch.inference_mode():
            if network.config.is_encoder_decoder:
                logits = network(input_ids=ids[:, : one.prompt_tokens], labels=target).logits[0]  # (C, V)
            else:
                logits = network(input_ids=ids, use_cache=False).logits[0, one.prompt_tokens - 1 : -1]  # (C, V)
            logprobs = logits.float().log_softmax(-1)
            own = logprobs.gather(-1, target[0, :, None])[:, 0]
        found[one.id] = parity.Scores(logprobs=tuple(own.tolist()), likeliest=tuple(logits.argmax(-1).tolist()))
    return found


def _vllm_column(planned: Plan, asked: Sequence[Encoded], start: Start) -> parity.Column:
    if planned.vllm_absent:
        log.info("no scores from vLLM: %s", planned.vllm_absent)
        return parity.Column(scores={}, absent=planned.vllm_absent)
    return parity.Column(scores=asyncio.run(_ask(planned, asked, start)), dtype=planned.vllm_dtype)


async def _ask(planned: Plan, asked: Sequence[Encoded], start: Start) -> dict[str, parity.Scores]:
    folder = str(planned.adapter.resolve())
    run = planned.settings.run
    # What it dies of here it dies of again; the same command goes on.
    once = run.model_copy(update={"engine": run.engine.model_copy(update={"restarts": 0})})
    settings = planned.settings.model_copy(update={"run": once})
    engine = await start(planned.model, settings, (folder,), planned.stage / "engine.log")
    try:
        requests = [Request(id=one.id, prompt="", sampling=Sampling(max_tokens=1), adapter=folder, scored=one.ids) for one in asked]
        answers = await asyncio.gather(*map(engine.generate, requests))
    finally:
        await engine.close()
    return {
        one.id: parity.Scores(
            logprobs=answer.logprobs[one.prompt_tokens - 1 :], likeliest=answer.likeliest[one.prompt_tokens - 1 :]
        )
        for one, answer in zip(asked, answers, strict=True)
    }


def told(planned: Plan, made: Mapping[str, Any]) -> dict[str, Any]:
    """What the line on stdout says."""
    differences = {name: one["largest_difference"] for name, one in made["summary"].items() if "largest_difference" in one}
    differences.pop(parity.REFERENCE)
    said = {"merged": str(planned.merged), "parity": str(planned.stage / "parity.md"), "largest_difference": differences}
    return {"stage": "train", **said}
