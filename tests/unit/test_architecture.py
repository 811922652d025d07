"""What docs and design promise of the code's shape: the arrows, the links, the names, what stays light."""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

from self_instruct.loading import REPOSITORY

PACKAGE = REPOSITORY / "src" / "self_instruct"
STAGES = ("generate", "train", "evaluate")
LINKS = (*STAGES, "configs", "seeds")
LONGEST = 320
HEAVY = {"torch", "vllm", "transformers", "datasets", "peft", "accelerate"}
PURE = (
    "records",
    "template",
    "randomness",
    "novelty",
    "generate.parsing",
    "rules",
    "generate.clean",
    "generate.prompts",
    "train.masking",
    "train.batching",
    "evaluate.scoring",
    "evaluate.intervals",
    "evaluate.comparison",
    "evaluate.agreement",
    "evaluate.rating_results",
)

# Every module of ours by its name below `self_instruct`.
MODULES = {
    **{path.stem: path for path in sorted(PACKAGE.glob("*.py"))},
    **{f"{stage}.{path.stem}": path for stage in STAGES for path in sorted((REPOSITORY / stage).glob("*.py"))},
}
INSTALLED = set(metadata.packages_distributions())
KERNEL = [name for name in MODULES if "." not in name]


def imports(path: Path, *, running: bool = True) -> Iterator[str]:
    """The dotted names that a module imports anywhere in it, `from a import b` as both `a` and `a.b`.

    With `running`, without those for type checkers only.
    """
    pending: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while pending:
        node = pending.pop()
        match node:
            case ast.If(test=ast.Name(id="TYPE_CHECKING")) if running:
                pending += node.orelse
                continue
            case ast.Import():
                yield from (alias.name for alias in node.names)
            case ast.ImportFrom():
                assert node.level == 0, f"{path}:{node.lineno}: relative import: fails under `accelerate launch`"
                yield str(node.module)
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
        pending += ast.iter_child_nodes(node)


def ours(name: str) -> str | None:
    """The module of ours that an imported name stands for."""
    inner = name.removeprefix("self_instruct.")
    return inner if inner != name and inner in MODULES else None


def stages_in(names: Iterator[str]) -> set[str]:
    return {parts[1] for parts in (name.split(".") for name in names) if parts[0] == "self_instruct" and len(parts) > 1} & set(
        STAGES
    )


def test_there_is_something_to_check() -> None:
    assert {f"{stage}.cli" for stage in STAGES} | set(PURE) | {"vllm_worker", "loading"} <= MODULES.keys()


@pytest.mark.parametrize("name", [name for name in MODULES if "." in name])
def test_stage_imports_no_other_stage(name: str) -> None:
    assert stages_in(imports(MODULES[name], running=False)) <= {name.split(".")[0]}


@pytest.mark.parametrize("name", KERNEL)
def test_kernel_imports_no_stage(name: str) -> None:
    assert stages_in(imports(MODULES[name], running=False)) == set()


@pytest.mark.parametrize("name", [name for name in KERNEL if name != "__main__"])
def test_kernel_names_no_stages_module(name: str) -> None:
    """Nor by `import_module`; the console command alone does."""
    text = MODULES[name].read_text(encoding="utf-8")
    assert not [stage for stage in STAGES if f"self_instruct.{stage}." in text or f'"{stage}.cli"' in text]


@pytest.mark.parametrize("name", MODULES)
def test_imports_are_absolute_and_of_the_package(name: str) -> None:
    """`import evaluate` would be Hugging Face's package, or the folder itself under `accelerate launch`."""
    assert not {top for top in (found.split(".")[0] for found in imports(MODULES[name])) if top in LINKS or top in ("src", "tests")}


@pytest.mark.parametrize("stage", STAGES)
def test_stage_has_no_init(stage: str) -> None:
    """A folder with `__init__.py` on the path would shadow an installed package of its name."""
    assert not (REPOSITORY / stage / "__init__.py").exists()


@pytest.mark.parametrize("name", LINKS)
def test_link_resolves(name: str) -> None:
    link = PACKAGE / name
    assert link.is_symlink() and link.resolve() == REPOSITORY / name and link.is_dir(), (
        f"src/self_instruct/{name} must be a symbolic link to ../../{name}. A checkout without symbolic links (Windows, some "
        "archives) can't run the code: clone again with `git clone -c core.symlinks=true`"
    )
    assert os.readlink(link) == f"../../{name}", "a link to an absolute path breaks in every other checkout"


@pytest.mark.parametrize("name", [name for name in MODULES if "." in name and not name.endswith(".__main__")])
def test_stage_module_shadows_nothing(name: str) -> None:
    """Under `accelerate launch train` the folder is first on the path, so a file in it hides whatever has its name."""
    stem = name.split(".")[1]
    assert stem not in sys.stdlib_module_names
    assert stem not in INSTALLED


def closure(name: str) -> set[str]:
    """Everything that importing and using one of our modules may import, through our other modules."""
    found: set[str] = set()
    pending = [name]
    seen: set[str] = set()
    while pending:
        here = pending.pop()
        if here not in seen:
            seen.add(here)
            names = set(imports(MODULES[here]))
            found |= names
            pending += [inner for inner in map(ours, names) if inner]
    return {top.split(".")[0] for top in found}


@pytest.mark.parametrize("name", PURE)
def test_pure_module_needs_no_engine_and_no_torch(name: str) -> None:
    assert closure(name) & HEAVY == set()


def test_vllm_is_imported_in_one_module() -> None:
    assert [name for name, path in MODULES.items() if any(found.split(".")[0] == "vllm" for found in imports(path))] == [
        "vllm_worker"
    ]


@pytest.mark.parametrize(
    "name", [name for name in MODULES if "." in name and name.split(".")[1] not in ("cli", "cli_files", "__main__")]
)
def test_only_the_cli_opens_engines_and_run_folders(name: str) -> None:
    assert not set(imports(MODULES[name])) & {
        "argparse",
        "self_instruct.commandline",
        "self_instruct.engines",
        "self_instruct.engines.open_engine",
        "self_instruct.rundir.open_stage",
    }
    text = MODULES[name].read_text(encoding="utf-8")
    assert not [word for word in ("sys.argv", "open_stage(", "open_engine(") if word in text]


@pytest.mark.parametrize("name", MODULES)
def test_module_is_of_readable_length(name: str) -> None:
    assert len(MODULES[name].read_text(encoding="utf-8").splitlines()) <= LONGEST


@pytest.mark.parametrize("name", [name for name in MODULES if not name.endswith("__main__")])
def test_module_says_what_it_is_for(name: str) -> None:
    assert ast.get_docstring(ast.parse(MODULES[name].read_text(encoding="utf-8")))
