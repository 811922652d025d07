"""Renders configs/default.yaml and docs/config.md from the schema; `python -m self_instruct.config_docs` rewrites both.

Knows nothing of any single setting. A test fails when a file differs from its rendering.
"""

from __future__ import annotations

import textwrap
import types
import typing
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from self_instruct.loading import REPOSITORY
from self_instruct.rundir import write_text
from self_instruct.settings import Settings

WIDTH = 120
YAML_HEAD = """\
# Every setting with its default. Rendered from src/self_instruct/settings.py by
# `python -m self_instruct.config_docs`: change it there. The other configs are overlays of a few lines.
"""
PAGE_HEAD = """\
# Settings

Rendered from `src/self_instruct/settings.py` by `python -m self_instruct.config_docs`; change it there.

A stage reads its own section, `model` and `run`. Values come from, each overriding the one before:

1. the defaults below;
2. the files of `--config FILE` (repeatable, left to right; `configs/default.yaml` when there is none);
3. `--set section.key=value` (repeatable; the value is YAML, so `null`, `[a, b]` and `1e-4` mean what they do in a file);
4. `--out DIR`, which sets `run.dir`.

Without `run.dir` the run folder is `runs/<name of the last config>`. `manifest.json` in a stage's folder records
every value with its origin (file and line, `--set`, `--out` or default).

A *shaping* setting decides what a stage makes: a run folder that was made with another value is refused. A *runtime*
setting changes speed or place only, and may change when a run is continued. A *place* names what is read: it may change
when what lies there is the same.
"""


def sections(section: type[BaseModel] = Settings, prefix: str = "") -> list[tuple[str, type[BaseModel]]]:
    """Every section by its dotted name in the order of declaration, nested ones after their parent."""
    found: list[tuple[str, type[BaseModel]]] = []
    for name, info in section.model_fields.items():
        if is_section(info):
            kind = typing.cast(type[BaseModel], info.annotation)
            found += [(f"{prefix}{name}", kind), *sections(kind, f"{prefix}{name}.")]
    return found


def is_section(info: FieldInfo) -> bool:
    return isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel)


def default_yaml() -> str:
    """The text of configs/default.yaml."""
    return YAML_HEAD + "".join(_yaml_section(name, kind) for name, kind in sections())


def _yaml_section(dotted: str, kind: type[BaseModel]) -> str:
    depth = dotted.count(".")
    indent = "  " * (depth + 1)
    lines = [*([""] if depth == 0 else []), *_comment(_first_line(kind), "  " * depth), f"{'  ' * depth}{dotted.split('.')[-1]}:"]
    for name, info in kind.model_fields.items():
        if not is_section(info):
            lines += _comment(str(info.description), indent)
            if _of_sections(info.default):  # a line for each
                lines += [f"{indent}{name}:", *(f"{indent}  - {_value(one)}" for one in info.default)]
            else:
                lines.append(f"{indent}{name}: {_value(info.default)}")
    return "\n".join(lines) + "\n"


def _comment(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ", break_on_hyphens=False)


def page() -> str:
    """The text of docs/config.md."""
    return PAGE_HEAD + "".join(_page_section(name, kind) for name, kind in sections())


def _page_section(dotted: str, kind: type[BaseModel]) -> str:
    head = f"\n## {dotted}\n\n{_first_line(kind)}\n\n| key | default | takes | meaning | kind |\n| --- | --- | --- | --- | --- |\n"
    rows = [_row(f"{dotted}.{name}", info) for name, info in kind.model_fields.items() if not is_section(info)]
    return head + "".join(rows)


def _row(dotted: str, info: FieldInfo) -> str:
    extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
    kind = "runtime" if extra.get("runtime") else "place" if "reads" in extra else "shaping"
    names = tuple(one.name for one in info.default) if _of_sections(info.default) else info.default
    cells = [f"`{dotted}`", f"`{_value(names)}`", takes(info), str(info.description), kind]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def _of_sections(value: Any) -> bool:
    return isinstance(value, tuple) and any(isinstance(one, BaseModel) for one in value)


def _value(value: Any) -> str:
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json", exclude_defaults=True)
    plain = list(value) if isinstance(value, tuple) else value
    return str(yaml.safe_dump(plain, default_flow_style=True, sort_keys=False, width=2**20, allow_unicode=True)).split("\n")[0]


def takes(info: FieldInfo) -> str:
    """The type and range of a setting in words, such as "whole number, at least 1, or null"."""
    kind, optional = info.annotation, False
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        kind = next(part for part in typing.get_args(kind) if part is not type(None))
        optional = True
    words = [_kind(kind)]
    limits = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    words += [f"{word} {getattr(limit, name)}" for limit in info.metadata for name, word in limits.items() if hasattr(limit, name)]
    return ", ".join(words) + (", or `null`" if optional else "")


def _kind(kind: Any) -> str:
    if typing.get_origin(kind) is typing.Literal:
        return " or ".join(f"`{choice}`" for choice in typing.get_args(kind))
    if typing.get_origin(kind) is tuple:
        item = typing.get_args(kind)[0]
        if isinstance(item, type) and issubclass(item, BaseModel):
            return "list of mappings"
        whole = int in (item, *typing.get_args(item))
        return f"list of {'whole numbers' if whole else 'numbers' if float in (item, *typing.get_args(item)) else 'texts'}"
    return {bool: "`true` or `false`", int: "whole number", float: "number", str: "text"}[kind]


def _first_line(kind: type[BaseModel]) -> str:
    return (kind.__doc__ or "").strip().split("\n")[0]


def rendered(root: Path = REPOSITORY) -> dict[Path, str]:
    """The rendered files of a checkout and what they must hold."""
    return {root / "configs" / "default.yaml": default_yaml(), root / "docs" / "config.md": page()}


def main() -> None:
    """Rewrite both files of this checkout."""
    for path, text in rendered().items():
        write_text(path, text)


if __name__ == "__main__":
    main()
