"""What several training tests build: tokenizers of four families, a tiny random Llama, a few examples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from self_instruct.records import TrainingExample

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
