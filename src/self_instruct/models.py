"""From a model's name in a config to a local folder that every library loads.

Knows nothing of torch or transformers: the folder's JSON files are read by hand. A local model never contacts a hub.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from self_instruct import embedded, rundir, toy_seq2seq
from self_instruct.errors import ConfigError
from self_instruct.runlog import log
from self_instruct.settings import ModelSettings

EMBEDDED: Final = "embedded"
EMBEDDED_TITLE = "SmolLM2-135M-Instruct, from 4 bits (embedded)"
TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "vocab.json", "vocab.txt", "tekken.json",
)  # fmt: skip
# Where the families keep the longest sequence (Llama and Qwen, GPT-2, MPT, Falcon and Bloom).
CONTEXT_KEYS = ("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length", "seq_length", "n_ctx")
Source = Literal["embedded", "toy", "local", "hub"]
UNBOUND = 2**20  # tokens: the context of models with relative positions, which have no limit of their own
HUB_FILES = ("*.json", "*.safetensors", "*.txt", "*.jinja", "*.model")
TRAINED = "training_manifest.json"  # `train` leaves it beside weights
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """A model that lies in the local folder `path`.

    `reference`: the name as the config has it. `context`: the model's longest sequence, in tokens.
    `fingerprint`: hex SHA-256 over config.json, the tokenizer's files, the names and sizes (not the contents) of the
    weight files and, for a hub model, the commit. Of a model that was trained here also the weights' contents: all trainings of one
    base have files of the same sizes. `revision`: that commit; none for another model.
    """

    reference: str
    source: Source
    path: str
    fingerprint: str
    context: int
    eos_token: str
    eos_token_id: int
    architecture: str
    revision: str | None = None


def resolve(model: ModelSettings) -> Model:
    """The model that `model.name` and `model.revision` name, converted or downloaded where needed.

    Raises ConfigError for a folder that isn't a model, a hub model that is gated, missing or not cached while
    offline, and a model without an end-of-text token.
    """
    name = model.name
    if name == EMBEDDED:
        return _read(name, EMBEDDED, embedded.prepare())
    if name == toy_seq2seq.NAME:
        return _read(name, "toy", toy_seq2seq.prepare())
    path = Path(name).expanduser()
    if path.is_dir():
        return _read(name, "local", path.resolve())
    if path.exists():
        raise ConfigError(f"model.name: {name}: a file, not a model's folder", hint="name the folder that holds config.json")
    if not HUB_ID.fullmatch(name) or name.startswith(("./", "../")):
        raise ConfigError(f"model.name: {name}: no such folder, and not a hub id", hint=_NAMES)
    snapshot = _download(name, model.revision)
    return _read(name, "hub", snapshot, commit=snapshot.name)


_NAMES = "a model is `embedded`, a folder with config.json, tokenizer and weights, or a hub id such as Qwen/Qwen3-1.7B-Base"


def _read(reference: str, source: Source, path: Path, commit: str | None = None) -> Model:
    if not (path / "config.json").is_file():
        if (path / "adapter_config.json").is_file():
            raise ConfigError(f"model.name: {path}: a LoRA adapter, not a model", hint="name its base model here")
        raise ConfigError(f"model.name: {path}: not a model: no config.json in it", hint=_NAMES)
    config = _json(path / "config.json")
    architectures = config.get("architectures")
    if not isinstance(architectures, list) or not architectures or not isinstance(architectures[0], str):
        raise ConfigError(f"model.name: {path}: not a language model: config.json names no architecture", hint=_NAMES)
    tokenizer = [path / name for name in TOKENIZER_FILES if (path / name).is_file()]
    if not tokenizer:
        raise ConfigError(f"model.name: {path}: not a whole model: no tokenizer in it", hint="copy the tokenizer's files beside it")
    weights = _weights(path)
    eos_token, eos_token_id = _end_of_text(path, config)
    extra = [path / name for name in ("tokenizer_config.json", "special_tokens_map.json", "merges.txt") if (path / name).is_file()]
    return Model(
        reference=reference,
        source=source,
        path=str(path),
        fingerprint=_fingerprint(
            [path / "config.json", *tokenizer, *extra], weights, commit or "", contents=(path / TRAINED).is_file()
        ),
        context=_context(path, config),
        eos_token=eos_token,
        eos_token_id=eos_token_id,
        architecture=architectures[0],
        revision=commit,
    )


def title(model: Model) -> str:
    """A model's name for readers: that of its folder, or on the hub."""
    if model.source == "embedded":
        return EMBEDDED_TITLE
    if model.source == "toy":
        return toy_seq2seq.TITLE
    if model.source != "local":
        return model.reference
    path = Path(model.reference).resolve()
    return f"{path.parents[1].name}, all weights tuned" if (path.parent.name, path.name) == ("train", "model") else path.name


def described(model: Model) -> dict[str, str]:
    """What is stored of a model beside what it wrote."""
    named = {"title": title(model), "reference": model.reference, "source": model.source}
    named |= {"revision": model.revision} if model.revision else {}
    return {**named, "fingerprint": model.fingerprint, "architecture": model.architecture}


def load_tokenizer(folder: str) -> Any:
    """The `transformers` tokenizer of a local model, as the engine that serves it loads it.

    Raises ConfigError where it doesn't load.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # a damaged file shows as any of many types
        raise ConfigError(
            f"model.name: {folder}: its tokenizer doesn't load: {type(error).__name__}: {str(error)[:100]}",
            hint="copy or download the model again",
        ) from None


def _json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty where there is no such file."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ConfigError(f"model.name: {path}: can't be read: {error}", hint="copy or download the model again") from None
    if not isinstance(value, dict):
        raise ConfigError(f"model.name: {path}: not a JSON object", hint="copy or download the model again")
    return value


def _weights(path: Path) -> list[Path]:
    """The weight files. Where an index names shards, all of them must be there."""
    for pattern, index in (("*.safetensors", "model.safetensors.index.json"), ("*.bin", "pytorch_model.bin.index.json")):
        found = sorted(p for p in path.glob(pattern) if p.name != "training_args.bin")
        if not found:
            continue
        shards = _json(path / index).get("weight_map", {})
        absent = sorted(name for name in set(shards.values()) if not (path / name).is_file())
        if absent:
            raise ConfigError(
                f"model.name: {path}: not a whole model: {len(absent)} weight files are missing, {absent[0]} first",
                hint="copy or download the model again",
            )
        for weights in found if pattern == "*.safetensors" else ():
            _check_whole(weights)
        return found
    raise ConfigError(f"model.name: {path}: not a whole model: no weights (*.safetensors, *.bin) in it", hint=_NAMES)


def _check_whole(weights: Path) -> None:
    """Raises ConfigError where a safetensors file isn't as long as its head says (8 bytes of length, JSON, data)."""
    with weights.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        try:
            head = json.loads(file.read(min(length, weights.stat().st_size)))
            ends = [entry["data_offsets"][1] for name, entry in head.items() if name != "__metadata__"]
        except (ValueError, KeyError, TypeError, AttributeError):
            ends = [-1]
    if weights.stat().st_size != 8 + length + max(ends, default=0):
        raise ConfigError(f"model.name: {weights}: cut off or damaged", hint="copy or download the model again")


def _context(path: Path, config: dict[str, Any]) -> int:
    if config.get("relative_attention_num_buckets"):
        return UNBOUND  # T5's `n_positions` is no limit, only what it was trained on
    for section in (config, config.get("text_config") or {}):
        for key in CONTEXT_KEYS:
            if isinstance(section.get(key), int) and section[key] > 0:
                return int(section[key])
    raise ConfigError(
        f"model.name: {path}: config.json names no context length", hint="add max_position_embeddings, in tokens, to config.json"
    )


def _end_of_text(path: Path, config: dict[str, Any]) -> tuple[str, int]:
    """The end-of-text token and its id: the tokenizer's, which vLLM stops at, else the one whose id the configs name."""
    ids = _token_ids(path)
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        token = _json(path / name).get("eos_token")
        token = token.get("content") if isinstance(token, dict) else token
        if isinstance(token, str) and token:
            if token in ids:
                return token, ids[token]
            number = _first_id(config, _json(path / "generation_config.json"))
            if number is not None:
                return token, number
    number = _first_id(config, _json(path / "generation_config.json"))
    for token, known in ids.items():
        if known == number:
            return token, known
    raise ConfigError(
        f"model.name: {path}: no end-of-text token in tokenizer_config.json, config.json or generation_config.json",
        hint="name one: eos_token in tokenizer_config.json, eos_token_id in config.json",
    )


def _first_id(*configs: dict[str, Any]) -> int | None:
    for config in configs:
        for section in (config, config.get("text_config") or {}):
            number = section.get("eos_token_id")
            number = number[0] if isinstance(number, list) and number else number
            if isinstance(number, int):
                return number
    return None


def _token_ids(path: Path) -> dict[str, int]:
    """Token to id, as far as JSON files tell: the vocabulary first, then the added tokens, which win."""
    ids: dict[str, int] = {}
    tokenizer = _json(path / "tokenizer.json")
    vocabulary = (tokenizer.get("model") or {}).get("vocab") or _json(path / "vocab.json")
    if isinstance(vocabulary, dict):
        ids |= vocabulary
    elif isinstance(vocabulary, list):  # Unigram: [token, score] by id
        ids |= {entry[0]: number for number, entry in enumerate(vocabulary)}
    ids |= {token["content"]: token["id"] for token in tokenizer.get("added_tokens") or []}
    decoder = _json(path / "tokenizer_config.json").get("added_tokens_decoder") or {}
    return ids | {token["content"]: int(number) for number, token in decoder.items()}


def _fingerprint(texts: Sequence[Path], weights: Sequence[Path], commit: str, *, contents: bool) -> str:
    digest = hashlib.sha256(f"commit {commit}\n".encode())
    for path in sorted(texts):
        digest.update(f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    for path in sorted(weights):
        told = rundir.sha256(path) if contents else f"{path.stat().st_size} bytes"
        digest.update(f"{path.name} {told}\n".encode())
    return digest.hexdigest()


def _download(name: str, revision: str | None) -> Path:
    """The snapshot of a hub model, from the cache or the hub. Asks the hub once, even where all is cached, unless offline."""
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import (  # type: ignore[attr-defined]  # HTTPError, its client's, isn't in its list
        GatedRepoError,
        HFValidationError,
        HTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    place = f"model.name: {name}"
    hub = constants.ENDPOINT
    log.info("model: %s from the cache%s", name, "" if constants.HF_HUB_OFFLINE else f" or {hub}")
    try:
        snapshot = Path(snapshot_download(name, revision=revision, allow_patterns=list(HUB_FILES), ignore_patterns=["*/*"]))
        if not list(snapshot.glob("*.safetensors")):
            snapshot_download(name, revision=revision, allow_patterns=["*.bin"], ignore_patterns=["*/*"])
        return snapshot
    except GatedRepoError:
        raise ConfigError(
            f"{place}: gated: your account may not read it yet",
            hint=f"accept its licence at {hub}/{name}, then `hf auth login` or set HF_TOKEN",
        ) from None
    except RepositoryNotFoundError:
        raise ConfigError(
            f"{place}: no such folder here, and no such model at {hub}, or it is private and your token can't read it",
            hint=f"check the spelling; for a private model `hf auth login` or set HF_TOKEN. {_NAMES}",
        ) from None
    except RevisionNotFoundError:
        raise ConfigError(
            f"model.revision: {revision}: {name} at {hub} has no such branch, tag or commit", hint=f"see {hub}/{name}/tree/main"
        ) from None
    except (LocalEntryNotFoundError, OfflineModeIsEnabled):
        if constants.HF_HUB_OFFLINE:
            raise ConfigError(
                f"{place}: no such folder, and not in the cache {constants.HF_HUB_CACHE} while HF_HUB_OFFLINE is set",
                hint="unset HF_HUB_OFFLINE once to download it, or name a folder or `embedded`",
            ) from None
        raise ConfigError(
            f"{place}: not in the cache {constants.HF_HUB_CACHE}, and {hub} can't be reached",
            hint="check the network or HF_ENDPOINT, or name a folder or `embedded`",
        ) from None
    except HFValidationError as error:
        raise ConfigError(f"{place}: not a hub id: {error}", hint=_NAMES) from None
    except HTTPError as error:
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise ConfigError(f"{place}: {hub} failed: {said[0]}", hint="run the same command again; downloads are kept") from None
