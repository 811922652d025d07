"""What several training tests build: tokenizers of four families, tiny random models, a few examples, encoded rows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from self_instruct.records import TrainingExample
from self_instruct.train.masking import Encoded

BOS, EOS, UNKNOWN, CLS, SEP = "<s>", "</s>", "<unk>", "[CLS]", "[SEP]"
TEXTS = (
    "Task: Write a short answer to the question.\nInput: Who swims faster?\nOutput: The seal does.",
    "Name three birds.\n\nOutput: a gull, an owl and a wren\n\n",
    "Sort the numbers: 12, 7, 39 and 4.\nOutput: 4, 7, 12, 39",
    "def add(a, b):\n    return a + b\n\n",
)


def byte_level() -> PreTrainedTokenizerFast:
    """GPT-2's family: byte-level BPE, no beginning-of-text, end-of-text serves as padding."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=[EOS], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    made.train_from_iterator(TEXTS, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token=EOS, pad_token=EOS)


def metaspace() -> PreTrainedTokenizerFast:
    """SentencePiece's family: unigram pieces with a mark for spaces, line breaks as bytes, beginning-of-text."""
    made = Tokenizer(models.Unigram())
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    letters = sorted(set("".join(TEXTS)) | set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,:;!?'\n"))
    trainer = trainers.UnigramTrainer(
        vocab_size=300, special_tokens=[UNKNOWN, BOS, EOS], unk_token=UNKNOWN, initial_alphabet=letters, show_progress=False
    )
    made.train_from_iterator(TEXTS, trainer)
    made.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, made.token_to_id(BOS))])
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token=BOS, eos_token=EOS, unk_token=UNKNOWN)


def word_piece() -> PreTrainedTokenizerFast:
    """BERT's family: words in pieces, white space lost, a token on both sides of a prompt."""
    made = Tokenizer(models.WordPiece(unk_token=UNKNOWN))
    made.normalizer = normalizers.BertNormalizer(lowercase=False)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=300, special_tokens=[UNKNOWN, CLS, SEP, EOS], show_progress=False)
    made.train_from_iterator(TEXTS, trainer)
    around = [(CLS, made.token_to_id(CLS)), (SEP, made.token_to_id(SEP))]
    made.post_processor = processors.TemplateProcessing(single=f"{CLS} $A {SEP}", special_tokens=around)
    return PreTrainedTokenizerFast(tokenizer_object=made, cls_token=CLS, sep_token=SEP, eos_token=EOS, unk_token=UNKNOWN)


def byte_fallback() -> PreTrainedTokenizerFast:
    """Llama 2's family: BPE with a mark for spaces in front of every text, unknown characters as bytes, beginning-of-text."""
    made = Tokenizer(models.BPE(byte_fallback=True, unk_token=UNKNOWN, fuse_unk=True))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(content=" ", left=1)]
    )
    every_byte = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=[UNKNOWN, BOS, EOS, *every_byte], show_progress=False)
    made.train_from_iterator(TEXTS, trainer)
    made.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, made.token_to_id(BOS))])
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token=BOS, eos_token=EOS, unk_token=UNKNOWN)


FAMILIES = {"byte_level": byte_level, "metaspace": metaspace, "word_piece": word_piece, "byte_fallback": byte_fallback}


def tiny_llama(vocabulary: int, **changes: Any) -> Any:
    """A Llama of two layers with random weights that are always the same, in float32."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(7)
    settings = {
        "vocab_size": vocabulary, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 256, "initializer_range": 0.2,
    }  # fmt: skip
    return LlamaForCausalLM(LlamaConfig(**(settings | changes))).float()


COMMON = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "head_dim": 8, "max_position_embeddings": 256, "initializer_range": 0.2, "pad_token_id": None, "eos_token_id": 0,
}  # fmt: skip
# transformers' names of the classes, and what their configs need to be tiny beside COMMON.
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "Llama": COMMON,
    "Qwen2": COMMON,
    "Qwen3": COMMON,
    "Mistral": COMMON | {"sliding_window": None},
    "GPT2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256, "initializer_range": 0.2},
    "Gemma2": COMMON | {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 1.0, "query_pre_attn_scalar": 8},
    "GptOss": COMMON | {"num_local_experts": 2, "num_experts_per_tok": 1, "sliding_window": 64},
    "Qwen2Moe": COMMON
    | {"moe_intermediate_size": 32, "shared_expert_intermediate_size": 32, "num_experts": 2, "num_experts_per_tok": 1},
    "Mamba": {"hidden_size": 32, "state_size": 4, "num_hidden_layers": 2, "initializer_range": 0.2},
}


def tiny(architecture: str, vocabulary: int = 50, **changes: Any) -> Any:
    """A random model of two layers of one of ARCHITECTURES, always the same, in float32, without dropout."""
    import torch
    import transformers

    config = getattr(transformers, f"{architecture}Config")
    model = getattr(transformers, "GPT2LMHeadModel" if architecture == "GPT2" else f"{architecture}ForCausalLM")
    torch.manual_seed(7)
    made = model(config(vocab_size=vocabulary, **(ARCHITECTURES[architecture] | changes))).float()
    for module in made.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return made


def tiny_t5(vocabulary: int = 50, **changes: Any) -> Any:
    """A T5 of two layers with random weights, without dropout."""
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(7)
    settings = {
        "vocab_size": vocabulary, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "dropout_rate": 0.0,
        "decoder_start_token_id": 3, "pad_token_id": 0, "eos_token_id": 1, "initializer_factor": 0.3,
    }  # fmt: skip
    return T5ForConditionalGeneration(T5Config(**(settings | changes))).float()


def encoded(
    lengths: Sequence[int] = (9, 14, 5, 11), weight: float = 0.0, vocabulary: int = 50, prompt: float = 0.5, seed: int = 3
) -> list[Encoded]:
    """Rows of random ids, of which a share `prompt` is the prompt, with loss weight `weight`."""
    import torch

    draws = torch.Generator().manual_seed(seed)
    made = []
    for number, length in enumerate(lengths):
        ids = torch.randint(0, vocabulary, (length,), generator=draws).tolist()
        first = min(max(int(length * prompt), 1), length - 1)
        weights = (0.0, *[weight] * (first - 1), *[1.0] * (length - first))
        made.append(Encoded(id=f"row{number}", form="", ids=tuple(ids), weights=weights, prompt_tokens=first))
    return made


def plain_loss(model: Any, rows: Sequence[Encoded]) -> Any:
    """sum(w * ce) by the plainest means: every row alone through the whole model, float64 log-probabilities, token by token."""
    import torch

    total = torch.zeros((), dtype=torch.float64)
    for row in rows:
        scores = torch.log_softmax(model(input_ids=torch.tensor([row.ids]), use_cache=False).logits[0].double(), dim=-1)
        for position in range(1, len(row.ids)):
            total = total - row.weights[position] * scores[position - 1, row.ids[position]]
    return total


def stir(model: Any) -> Any:
    """Give LoRA's matrices B, which begin as zeros, an effect; the same for matrices of the same name."""
    import torch

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.1, generator=torch.Generator().manual_seed(len(name)))
    return model


def gradients(model: Any) -> dict[str, Any]:
    """Copies of the gradients, by name; the model's own are cleared."""
    found = {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}
    model.zero_grad()
    return found


def apart(one: dict[str, Any], other: dict[str, Any]) -> float:
    """The largest distance (2-norm) of two tensors of the same name, relative to all of `other` together."""
    assert one.keys() == other.keys() and one
    whole = sum(float(value.double().square().sum()) for value in other.values()) ** 0.5
    return max(float((one[name].double() - other[name].double()).norm()) for name in one) / whole


@contextmanager
def one_thread() -> Iterator[None]:
    """Tiny products are faster on one thread, and much faster where other processes use the cores."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def save_tiny_model(folder: Path) -> Path:
    """A whole model folder that transformers and PEFT load: the tiny Llama with the byte-level tokenizer."""
    tokenizer = byte_level()
    model = tiny_llama(len(tokenizer), eos_token_id=tokenizer.eos_token_id, bos_token_id=None)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def examples(count: int) -> tuple[TrainingExample, ...]:
    """Rows of different lengths, every second one with an input."""
    return tuple(
        TrainingExample(
            id=f"row{number}",
            instruction=f"Count to {number} and stop." + " Take your time." * (number % 3),
            input="" if number % 2 else f"start: {number % 5}",
            output=" ".join(str(n) for n in range(number % 7 + 1)),
        )
        for number in range(count)
    )


def save_inputs(folder: Path) -> Path:
    """What a training through the command reads: a tiny `model`, and 40 rows in `data.json`. Returns the folder."""
    save_tiny_model(folder / "model")
    rows = [{"instruction": e.instruction, "input": e.input, "output": e.output} for e in examples(40)]
    (folder / "data.json").write_text(json.dumps(rows))
    return folder
