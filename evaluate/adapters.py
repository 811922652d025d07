"""The adapters that the settings name, and whether they fit the base model.

Knows neither engines nor prompts.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from self_instruct import rundir
from self_instruct.errors import DataError
from self_instruct.evaluate import predict
from self_instruct.loading import Loaded
from self_instruct.models import TRAINED

if TYPE_CHECKING:
    from self_instruct.models import Model


def find(loaded: Loaded) -> dict[str, Path]:
    """The adapters to compare with the base, by model name. Raises DataError where one isn't there."""
    default = loaded.run_dir / "train" / "adapter"
    named = loaded.settings.evaluate.adapters
    paths = (default,) if named is None else tuple(Path(name) for name in named)
    for place, path in enumerate(paths):
        if path.resolve() in [other.resolve() for other in paths[:place]]:
            raise DataError(f"evaluate.adapters: {path} is named twice", hint="name each adapter once")
        if path == default and not path.exists() and (whole := path.with_name("model")).is_dir():
            raise DataError(
                f"{path}: no adapter: the run fine-tuned the whole model (train.method: full)",
                hint=f"measure {whole} in a run of its own: --set model.name={whole} --set 'evaluate.adapters=[]' --out DIR",
            )
        if not (path / "adapter_config.json").is_file():
            raise DataError(
                f"{path}: no LoRA adapter there (adapter_config.json)",
                hint="train one first: ./launch.sh train with the same --config; or name one: --set evaluate.adapters=[FOLDER]",
            )
    return dict(zip(predict.names(paths, default), paths, strict=True))


def require_base(adapter: Path, model: Model) -> None:
    """Raises DataError where the adapter was trained on another model, as far as its training manifest tells."""
    path = adapter / TRAINED
    if not path.exists():  # not made by the train stage
        return
    base = rundir.read_json(path).get("base_model", {})
    if base.get("fingerprint", model.fingerprint) != model.fingerprint:
        raise DataError(
            f"{adapter}: trained on {base.get('reference')} ({base['fingerprint'][:12]}), model.name is {model.reference} "
            f"({model.fingerprint[:12]})",
            hint="evaluate it with the config it was trained with",
        )
