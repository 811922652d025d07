"""From YAML files and `--set` to checked settings, with the origin of every value.

Knows nothing of what a setting means; it reports the file and line of whatever it can't accept.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from self_instruct.errors import ConfigError
from self_instruct.settings import Settings, fields

REPOSITORY = Path(__file__).resolve().parents[2]
# What PyYAML raises for scalars that it can't make a value of: `0b_`, `!!int`, `!!bool x`, `!!timestamp x`.
_MALFORMED = (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError)


class _Loader(yaml.SafeLoader):
    """YAML 1.1 with three changes: 1e-4 is a number (as in YAML 1.2), a date is text (a folder may be named so), and no key stands
    twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        made = super().construct_mapping(node, deep=deep)
        if len(made) < len(node.value):
            raise yaml.constructor.ConstructorError(None, None, "a key stands twice", node.start_mark)
        return made


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


DEFAULT = "configs/default.yaml"  # all settings as they are anyway; read where no config is named


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """Checked settings; `origins` gives for each dotted key `FILE:LINE`, `--set`, `--out` or `default`."""

    settings: Settings
    origins: dict[str, str]
    name: str

    def given(self, name: str) -> bool:
        """Whether the user said a setting, in a config or a flag."""
        origin = self.origins[name]
        return origin != "default" and not origin.startswith(f"{DEFAULT}:")

    @property
    def run_dir(self) -> Path:
        """The run folder: `run.dir`, else `runs/<name of the last config>`."""
        return Path(self.settings.run.dir or f"runs/{self.name}")


def shipped(path: str) -> Path:
    """A data file of the package, such as `configs/default.yaml` or `seeds/seed_tasks.jsonl`."""
    return Path(str(resources.files("self_instruct"))) / path


def named_or_shipped(name: str) -> Path | None:
    """The file as named; else, for `configs/...`, the one that ships; None where neither exists."""
    parts = Path(name).parts
    places = [Path(name), *([shipped(name)] if len(parts) > 1 and parts[0] == "configs" else [])]
    return next((place for place in places if place.is_file()), None)


def find_config(name: str) -> Path:
    """The file of a `--config`. Raises ConfigError where there is none."""
    if found := named_or_shipped(name):
        return found
    known = [str(p.relative_to(shipped("configs")).with_suffix("")) for p in sorted(shipped("configs").glob("**/*.yaml"))]
    known = [name for name in known if not name.startswith("accelerate/")]
    close = difflib.get_close_matches(name.removeprefix("configs/").removesuffix(".yaml"), known, n=1)
    hint = f"did you mean configs/{close[0]}.yaml?" if close else f"shipped: {', '.join(f'configs/{k}.yaml' for k in known)}"
    raise ConfigError(f"--config {name}: no such file", hint=hint)


def load(configs: Sequence[str] = (), overrides: Sequence[str] = (), out: str | None = None) -> Loaded:
    """Merge the configs left to right, then the overrides `a.b=value`, then `--out` into `run.dir`.

    Raises ConfigError for an unknown key, a wrong type, a value out of range, a duplicate key or broken YAML.
    """
    names = list(configs) or [DEFAULT]
    flat: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for name in names:
        for dotted, value, line in _read(find_config(name)):
            flat[dotted] = value
            origins[dotted] = f"{name}:{line}"
    for text in overrides:
        dotted, equals, raw = text.partition("=")
        if not equals:
            raise ConfigError(f"--set {text}: no '=' in it", hint="write --set section.key=value")
        _check_known(dotted, "--set")
        try:
            flat[dotted] = yaml.load(raw, Loader=_Loader)
        except _MALFORMED:
            raise ConfigError(f"--set {text}: the value isn't valid YAML", hint="quote it: --set 'a.b=\"text\"'") from None
        origins[dotted] = "--set"
    if out is not None:
        flat["run.dir"] = out
        origins["run.dir"] = "--out"
    try:
        settings = Settings.model_validate(_tree(flat), strict=True)
    except ValidationError as error:
        raise _explain(error, flat, origins) from None
    return Loaded(
        settings=settings,
        origins={dotted: origins.get(dotted, "default") for dotted in fields()},
        name=Path(names[-1]).stem,
    )


def from_values(flat: Mapping[str, Any], where: str) -> Settings:
    """Settings from values by dotted key, as `settings.values` writes them; what isn't named has its default.

    Raises ConfigError, naming `where`, for a value that this version doesn't take.
    """
    try:
        return Settings.model_validate(_tree(dict(flat)), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(
            f"{where}: '{'.'.join(map(str, first['loc']))}': {first['msg']}",
            hint="it was made by another version of self-instruct: take that one",
        ) from None


def _read(path: Path) -> list[tuple[str, Any, int]]:
    """The leaves of one file as (dotted key, value, line)."""
    try:
        node = yaml.compose(path.read_text(encoding="utf-8"), Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"{path}:{line}: not valid YAML: {error.problem}", hint="check indentation and quotes there") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {str(error).splitlines()[0]}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: can't be read: {error}") from None
    if node is None:
        return []
    leaves: list[tuple[str, Any, int]] = []
    _walk(node, "", path, leaves, {})
    return leaves


def _walk(node: yaml.Node, prefix: str, path: Path, leaves: list[tuple[str, Any, int]], seen: dict[str, int]) -> None:
    """Append the leaves under `node`; `seen` holds the line of every key of the file, `a: {b: 1}` and `a.b: 1` alike."""
    if node.tag == "tag:yaml.org,2002:null" and prefix:
        return  # a section whose settings are all commented out
    if not isinstance(node, yaml.MappingNode):
        place = f"'{prefix[:-1]}'" if prefix else "the file"
        raise ConfigError(f"{path}:{node.start_mark.line + 1}: {place} must be a mapping of settings")
    known = fields()
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            raise ConfigError(f"{path}:{line}: a setting's name must be a word")
        dotted = f"{prefix}{key_node.value}"
        if dotted in seen:
            raise ConfigError(f"{path}:{line}: '{dotted}' is set twice (first in line {seen[dotted]})", hint="delete one")
        seen[dotted] = line
        if dotted in known:
            try:
                value = _Loader("").construct_object(value_node, deep=True)
            except _MALFORMED as error:
                problem = (str(error).splitlines() or [type(error).__name__])[0]
                raise ConfigError(f"{path}:{line}: '{dotted}': not valid YAML: {problem}", hint="quote the value") from None
            leaves.append((dotted, value, line))
        elif any(name.startswith(f"{dotted}.") for name in known):
            _walk(value_node, f"{dotted}.", path, leaves, seen)
        else:
            _check_known(dotted, f"{path}:{line}")


def _check_known(dotted: str, where: str) -> None:
    known = fields()
    if dotted in known:
        return
    if any(name.startswith(f"{dotted}.") for name in known):
        raise ConfigError(f"{where}: '{dotted}' is a section, not a setting", hint=f"name a key in it: {dotted}.KEY=value")
    sections = {name.rpartition(".")[0] for name in known}
    same = [name for name in known if name.split(".")[-1] == dotted.split(".")[-1]]
    close = difflib.get_close_matches(dotted, same, n=1, cutoff=0) or difflib.get_close_matches(
        dotted, [*known, *sorted(sections)], n=1, cutoff=0.5
    )
    guess = close[0] if close else None
    raise ConfigError(
        f"{where}: unknown setting '{dotted}'", hint=f"did you mean '{guess}'?" if guess else "docs/config.md lists them all"
    )


def _tree(flat: dict[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for dotted, value in flat.items():
        *sections, last = dotted.split(".")
        here = tree
        for section in sections:
            here = here.setdefault(section, {})
        here[last] = _tuples(value)
    return tree


def _tuples(value: Any) -> Any:
    """YAML's lists as the settings have them, also inside of rows."""
    if isinstance(value, list | tuple):
        return tuple(_tuples(one) for one in value)
    return {name: _tuples(one) for name, one in value.items()} if isinstance(value, dict) else value


def _explain(error: ValidationError, flat: dict[str, Any], origins: dict[str, str]) -> ConfigError:
    found_errors = error.errors()
    # An unknown name, which is misspelt, tells more than the right one's absence.
    first = next((one for one in found_errors if one["type"] == "extra_forbidden"), found_errors[0])
    # A check of several settings together names the one to change itself, since pydantic knows only the section.
    parts = [str(part) for part in first["loc"]] if "key" not in first.get("ctx", {}) else first["ctx"]["key"].split(".")
    dotted = next((".".join(parts[:n]) for n in range(len(parts), 0, -1) if ".".join(parts[:n]) in fields()), ".".join(parts))
    found = flat[dotted] if dotted in flat else fields()[dotted].default
    where = origins.get(dotted, "default")
    message = (first["msg"][:1].lower() + first["msg"][1:]).replace("valid tuple", "list, as in [a, b]")
    if inside := [f"item {int(part) + 1}" if part.isdigit() else f"`{part}`" for part in parts[dotted.count(".") + 1 :]]:
        message = f"{', '.join(inside)}: {message}"
    return ConfigError(f"{where}: '{dotted}' is {found!r:.80}: {message}", hint=f"{fields()[dotted].description}")
