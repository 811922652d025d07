"""Picks and starts the engine that the settings name.

Knows the engines' names only; each is imported when it is chosen.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from self_instruct.engine import Engine
from self_instruct.settings import Settings

if TYPE_CHECKING:
    from self_instruct.models import Model


async def open_engine(model: Model, settings: Settings, adapters: tuple[str, ...] = (), log_path: Path | None = None) -> Engine:
    """Start the engine of `model.engine`; `adapters` are LoRA folders it must be able to answer with.

    `log_path` receives the engine's own output. Raises EngineError where it doesn't start.
    """
    if settings.model.engine == "scripted":
        from self_instruct.engine_scripted import ScriptedEngine

        return ScriptedEngine(seed=settings.run.seed)
    if settings.model.engine == "server":
        from self_instruct.engine_server import ServerEngine

        return await ServerEngine.start(model, settings, adapters)
    if settings.model.engine == "transformers":
        from self_instruct.engine_transformers import TransformersEngine

        return await TransformersEngine.start(model, settings, adapters)
    from self_instruct.engine_restarting import RestartingEngine
    from self_instruct.engine_vllm import VllmEngine

    async def start() -> Engine:
        return await VllmEngine.start(model, settings, adapters, log_path)

    return await RestartingEngine.start(start, settings.run.engine.restarts)


def resolve_model(settings: Settings) -> Model:
    """The model of `model.name`; for the scripted engine a stand-in, so that tests need none. Raises ConfigError."""
    from self_instruct.models import Model, resolve

    if settings.model.engine == "scripted":
        return Model(
            reference="scripted",
            source="local",
            path="",
            fingerprint="scripted",
            context=1_000_000,
            eos_token="",
            eos_token_id=0,
            architecture="",
        )
    return resolve(settings.model)


def token_counter(model: Model, settings: Settings) -> Callable[[str], int]:
    """Counts a prompt's tokens as the engine will: with its tokenizer, or in words for the scripted engine.

    Raises ConfigError where the tokenizer doesn't load.
    """
    if settings.model.engine == "scripted":
        return lambda text: len(text.split())
    from self_instruct.models import load_tokenizer
    from self_instruct.tokenizing import HeadTokenizer

    tokenize = HeadTokenizer(load_tokenizer(model.path))
    return lambda text: len(tokenize(text))
