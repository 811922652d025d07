"""`generate replay RUN`: everything that a run wrote at its end, once more from its folder alone.

Knows no engine, no tokenizer and no hub. It writes only what the run derived from its journal, and only where the bytes are
the same as the run's.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from self_instruct import journal, provenance, rundir
from self_instruct.errors import RunFolderError
from self_instruct.generate import inputs, outputs, outputs_products, products, session

Settings = Mapping[str, Any]  # values by dotted key
Hashes = Mapping[str, str]
COPY = "restore it from a copy of the run folder; nothing was changed"


def rebuild(stage: Path, manifest: Mapping[str, Any]) -> dict[str, Path]:
    """Rebuild the products of the finished run in `stage` and put them in place; returns their places by name.

    Raises RunFolderError, with nothing changed, where the journal is damaged, lacks something, isn't the one that the run
    wrote, or gives other bytes than the run's.
    """
    try:
        recorded = {name: (Path(output["path"]), output["sha256"]) for name, output in manifest["outputs"].items()}
        settings = {name: setting["value"] for name, setting in manifest["settings"].items()}
        anew = settings.get("generate.outputs_of") is not None
        truth = [recorded.pop(name) for name in (outputs.TRUTH if anew else session.TRUTH)]
        hashes = {name: str(digest) for name, digest in manifest["inputs"].items()}
        model = str(manifest["facts"]["model"])
    except (KeyError, TypeError, AttributeError) as error:
        raise RunFolderError(f"{stage / 'manifest.json'}: not the manifest of a finished run: {error!r}", hint=COPY) from None
    for path, digest in truth:
        journal.read(stage / path)  # names the line of a damage
        if not (stage / path).exists() or rundir.sha256(stage / path) != digest:
            found = "not the file that the run wrote" if (stage / path).exists() else "gone"
            raise RunFolderError(f"{stage / path}: {found}", hint=COPY)
    with (_outputs if anew else _tasks)(stage, settings, model, hashes) as aside:
        for path, wrote in recorded.values():
            if not (aside / path).exists() or rundir.sha256(aside / path) != wrote:
                raise RunFolderError(
                    f"{stage / path}: the journal gives other bytes than the run wrote; nothing was changed",
                    hint=_cause(session.starts(stage)[-1]["versions"]),
                )
        return products.install(aside, stage)


def _tasks(stage: Path, settings: Settings, model: str, hashes: Hashes) -> AbstractContextManager[Path]:
    given = inputs.kept(stage, settings)
    result, records = session.replay(stage, given)
    _, made, report = session.derive(stage, given, result, records, model=model, hashes=hashes)
    return products.written(stage, result, made, report)


def _outputs(stage: Path, settings: Settings, model: str, hashes: Hashes) -> AbstractContextManager[Path]:
    """Those of a run with `generate.outputs_of`."""
    given = outputs_products.again(stage, settings)
    anew, records = outputs.replay(stage, given)
    facts = outputs_products.summarize(stage, given, anew, model, records)
    return outputs_products.written(stage, given, anew, facts, hashes)


def _cause(versions: Mapping[str, str]) -> str:
    """What may have changed the bytes: packages that the run had in another version, else our own code."""
    now = provenance.versions()
    other = [f"{name} {version}" for name, version in sorted(versions.items()) if now.get(name) != version]
    if other:
        return f"take the versions that the run had: {', '.join(other)}"
    return "the code or a file of the journal changed since; manifest.json names the commit"
