"""Runs batches of rows on a transformers model: sampling and penalties as vLLM defines them, LoRA adapters.

Knows nothing of requests that wait. Imports torch, so only a thread of `engine_transformers` imports it.
Shapes: (batch, seq) of token ids, (batch, vocabulary) of scores.
"""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    GenerationConfig,
    LogitsProcessorList,
    StoppingCriteriaList,
)

from self_instruct import choices, hardware
from self_instruct.errors import EngineError
from self_instruct.models import Model, load_tokenizer
from self_instruct.records import Request, Sampling
from self_instruct.runlog import log
from self_instruct.settings import Settings
from self_instruct.tokenizing import HeadTokenizer
from self_instruct.transformers_rows import CONTEXT_TOKENS, Row

GREEDY_BELOW = 1e-5  # the temperature under which vLLM takes the likeliest token


def load(model: Model, settings: Settings, adapters: tuple[str, ...]) -> TransformersRunner:
    """The model with its adapters in memory, on the GPU where torch sees one. Raises EngineError where they don't load."""
    cuda = torch.cuda.is_available()
    dtype, reason = hardware.choose_dtype(settings.model.dtype, found=None if cuda else [])
    log.info("%s in %s (%s)", "a GPU" if cuda else "the CPU", dtype, reason)
    if settings.run.threads:
        torch.set_num_threads(settings.run.threads)
    try:
        config = AutoConfig.from_pretrained(model.path, local_files_only=True)
        family: Any = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
        network = family.from_pretrained(model.path, dtype=getattr(torch, dtype), local_files_only=True)
        names = {path: f"adapter-{number}" for number, path in enumerate(adapters, start=1)}
        for path, name in names.items():
            network = _with_adapter(network, path, name)
        return TransformersRunner(network.to("cuda" if cuda else "cpu").eval(), load_tokenizer(model.path), model, settings, names)
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        cause = (str(error).splitlines() or [""])[0][:200]
        raise EngineError(f"{model.reference}: transformers doesn't load it: {type(error).__name__}: {cause}") from None


def _with_adapter(network: Any, path: str, name: str) -> Any:
    from peft import PeftModel

    if isinstance(network, PeftModel):
        network.load_adapter(path, adapter_name=name)
        return network
    return PeftModel.from_pretrained(network, path, adapter_name=name)


class TransformersRunner:
    """A model, its tokenizer, and its adapters' names by folder."""

    def __init__(self, network: Any, tokenizer: Any, model: Model, settings: Settings, adapters: dict[str, str]) -> None:
        self._network, self._tokenizer, self._adapters = network, tokenizer, adapters
        self._tokenize = HeadTokenizer(tokenizer)
        self._context = min(settings.model.max_length, model.context)
        self._beside_encoder: bool = network.config.is_encoder_decoder
        own = network.generation_config
        ends = own.eos_token_id if isinstance(own.eos_token_id, list) else [own.eos_token_id]
        self._ends = frozenset({model.eos_token_id, *ends} - {None})
        self._pad = model.eos_token_id if own.pad_token_id is None else own.pad_token_id
        # What else the model's generation_config.json asks for (top_k, penalties, beams) isn't what the request asks for.
        network.generation_config = _config(
            bos_token_id=own.bos_token_id,
            pad_token_id=self._pad,
            decoder_start_token_id=own.bos_token_id if own.decoder_start_token_id is None else own.decoder_start_token_id,
            forced_bos_token_id=own.forced_bos_token_id,
        )

    def prepare(self, request: Request) -> Row:
        """The request's tokens. Raises ValueError where it can't be served."""
        if request.adapter is not None and request.adapter not in self._adapters:
            raise ValueError(f"the adapter {request.adapter} is not one of those that the engine was started with")
        prompt = self._tokenize(request.prompt)
        heads: list[int] = []
        prefix: tuple[int, ...] = ()
        if request.choices and self._beside_encoder:  # the answer is a text of its own, not the prompt's continuation
            shared, heads = choices.split(self._tokenize_answer, "", request.choices)
            prefix = tuple(shared)
        elif request.choices:
            prompt, heads = choices.split(self._tokenize, request.prompt, request.choices)
        if len(prompt) >= self._context:
            raise ValueError(f"{len(prompt)} tokens are too many for the maximum context length of {self._context}")
        room = self._context - (0 if self._beside_encoder else len(prompt))
        return Row(
            request=request,
            tokenizer=self._tokenizer,
            prompt=prompt,
            prefix=prefix,
            heads=heads,
            limit=1 if heads else min(request.sampling.max_tokens, room),
            ends=self._ends,
            shown=[] if self._beside_encoder else prompt[-CONTEXT_TOKENS:],
        )

    def _tokenize_answer(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer(text_target=text, add_special_tokens=False).input_ids
        return ids

    @torch.inference_mode()
    def complete(self, rows: list[Row]) -> None:
        """Answer rows of one kind. A row that becomes unwanted meanwhile is left unfinished."""
        adapter, prefix = rows[0].kind
        width = max(len(row.prompt) for row in rows)
        ids = torch.full((len(rows), width), self._pad)  # (batch, seq)
        mask = torch.zeros((len(rows), width), dtype=torch.long)
        for number, row in enumerate(rows):
            place = slice(0, len(row.prompt)) if self._beside_encoder else slice(width - len(row.prompt), width)
            ids[number, place] = torch.tensor(row.prompt)
            mask[number, place] = 1
        device = self._network.device
        inputs = {"input_ids": ids.to(device), "attention_mask": mask.to(device)}
        if prefix:
            start = self._network.generation_config.decoder_start_token_id
            inputs["decoder_input_ids"] = torch.tensor([[start, *prefix]] * len(rows), device=device)
        step = _Step(rows, device)
        with self._with(adapter):
            self._network.generate(
                **inputs,
                generation_config=_config(max_new_tokens=max(row.limit for row in rows), do_sample=False, use_cache=True),
                logits_processor=LogitsProcessorList([step.choose]),
                stopping_criteria=StoppingCriteriaList([step.done]),
            )

    def _with(self, adapter: str | None) -> contextlib.AbstractContextManager[None]:
        if adapter is not None:
            self._network.set_adapter(self._adapters[adapter])
            return contextlib.nullcontext()
        return self._network.disable_adapter() if self._adapters else contextlib.nullcontext()


def _config(**values: Any) -> GenerationConfig:
    return GenerationConfig(**values)  # type: ignore[no-untyped-call]


class _Step:
    """Chooses each row's next token; `generate` then takes the only one that is left."""

    def __init__(self, rows: list[Row], device: Any) -> None:
        self._rows, self._chosen = rows, [0] * len(rows)
        self._draws = [_generator(row.request.sampling.seed, device) for row in rows]

    def choose(self, _: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """`scores` are logits, (batch, vocabulary)."""
        only = torch.full_like(scores, -torch.inf)
        for number, row in enumerate(self._rows):
            if not row.done:
                self._chosen[number] = _next_token(row, scores[number].float(), self._draws[number])
            only[number, self._chosen[number]] = 0.0
        return only

    def done(self, ids: torch.Tensor, _: Any, **__: Any) -> torch.Tensor:
        """Which rows have ended, (batch,)."""
        for row, token in zip(self._rows, self._chosen, strict=True):
            if not row.done:
                row.add(token)
        return torch.tensor([row.done for row in self._rows], device=ids.device)


def _generator(seed: int | None, device: Any) -> torch.Generator | None:
    return None if seed is None else torch.Generator(device).manual_seed(seed)


def _next_token(row: Row, logits: torch.Tensor, draws: torch.Generator | None) -> int:
    """The next token from float32 logits, (vocabulary,); keeps the choices' log-probabilities in the row."""
    if row.heads:
        heads = torch.tensor(row.heads, device=logits.device)
        row.scores = logits.log_softmax(-1)[heads].tolist()
        return row.heads[int(logits[heads].argmax())]
    sampling = row.request.sampling
    if row.counts and (sampling.presence_penalty or sampling.frequency_penalty):
        seen = torch.tensor(list(row.counts), device=logits.device)
        times = torch.tensor(list(row.counts.values()), device=logits.device, dtype=logits.dtype)
        logits = logits.index_add(0, seen, -(sampling.presence_penalty + sampling.frequency_penalty * times))
    if sampling.temperature < GREEDY_BELOW:
        return int(logits.argmax())
    return int(torch.multinomial(_probabilities(logits, sampling), 1, generator=draws))


def _probabilities(logits: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """After temperature, of the likeliest tokens whose joint probability first reaches top_p, (vocabulary,)."""
    probabilities = (logits / sampling.temperature).softmax(-1)
    if sampling.top_p < 1:
        ordered, places = probabilities.sort(descending=True)
        before = ordered.cumsum(-1) - ordered  # of all that are likelier
        probabilities = probabilities.index_fill(0, places[before >= sampling.top_p], 0.0)
    return probabilities
