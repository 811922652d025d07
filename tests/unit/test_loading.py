"""Config files and --set: what is refused, where the complaint points, who wins."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from self_instruct.errors import ConfigError
from self_instruct.loading import REPOSITORY, find_config, load, shipped

STAGES = ("generate", "train", "evaluate")
HEAVY = ("torch", "vllm", "transformers", "datasets", "peft", "accelerate", "numpy", "numba", "pyarrow")
EPOCHS = "Passes over the data (paper: 2)."


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "mine.yaml"


def refused(path: Path, text: str) -> ConfigError:
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load([str(path)])
    assert "\n" not in caught.value.message
    return caught.value


@pytest.mark.parametrize(
    ("text", "line", "complaint", "hint"),
    [
        ("train:\n  epoch: 3\n", 2, "unknown setting 'train.epoch'", "did you mean 'train.epochs'?"),
        ("train:\n  learning-rate: 3\n", 2, "unknown setting 'train.learning-rate'", "did you mean 'train.learning_rate'?"),
        ("trian:\n  epochs: 3\n", 1, "unknown setting 'trian'", "did you mean 'train'?"),
        ("epochs: 3\n", 1, "unknown setting 'epochs'", "did you mean 'train.epochs'?"),
        ("trian.max_length: 99\n", 1, "unknown setting 'trian.max_length'", "did you mean 'train.max_length'?"),
        ("zzzzzz: 3\n", 1, "unknown setting 'zzzzzz'", "docs/config.md lists them all"),
        ("? [a, b]\n: 3\n", 1, "a setting's name must be a word", None),
        ("train:\n  epochs: 1\n  seeds: a\n  epochs: 2\n", 4, "'train.epochs' is set twice (first in line 2)", "delete one"),
        ("train:\n  epochs: 1\ntrain:\n  seeds: a\n", 3, "'train' is set twice (first in line 1)", "delete one"),
        ("train:\n  epochs: 1\ntrain.epochs: 2\n", 3, "'train.epochs' is set twice (first in line 2)", "delete one"),
        ("\ntrain: 3\n", 2, "'train' must be a mapping of settings", None),
        ("run:\n  engine: [1]\n", 2, "'run.engine' must be a mapping of settings", None),
        ("- train\n", 1, "the file must be a mapping of settings", None),
        ("train: [\n", 2, "not valid YAML", "check indentation and quotes there"),
        ("train:\n\tepochs: 1\n", 2, "not valid YAML", "check indentation and quotes there"),
        ("train: {}\n---\ntrain: {}\n", 2, "not valid YAML", "check indentation and quotes there"),
        ("run:\n  dir: !!python/name:os.system x\n", 2, "'run.dir': not valid YAML", "quote the value"),
        ("run:\n  seed: 0b_\n", 2, "'run.seed': not valid YAML", "quote the value"),
        ("train: &all\n  epochs: *all\n", 2, "'train.epochs': not valid YAML", "quote the value"),
        ("train:\n  epochs: 0\n", 2, "'train.epochs' is 0: input should be greater than or equal to 1", EPOCHS),
        ("train:\n  epochs: two\n", 2, "'train.epochs' is 'two': input should be a valid integer", EPOCHS),
        ("train:\n  epochs: '2'\n", 2, "'train.epochs' is '2': input should be a valid integer", EPOCHS),
        ("train:\n  epochs: true\n", 2, "'train.epochs' is True: input should be a valid integer", EPOCHS),
        ("train:\n  epochs: 2.5\n", 2, "'train.epochs' is 2.5: input should be a valid integer", EPOCHS),
        ("model:\n  engine: trt\n", 2, "'model.engine' is 'trt': input should be 'vllm', 'server', 'transformers' or 'scripted'", None),  # noqa: E501
        ("model:\n  name: 7\n", 2, "'model.name' is 7: input should be a valid string", None),
        ("model:\n  name: ''\n", 2, "'model.name' is '': string should have at least 1 character", None),
        ("generate:\n  keywords: image\n", 2, "input should be a list, as in [a, b]", None),
        ("generate:\n  keywords: [a, 1]\n", 2, "input should be a valid string", None),
        ("train:\n  learning_rate: .inf\n", 2, "'train.learning_rate' is inf: input should be a finite number", None),
        ("generate:\n  top_p: .nan\n", 2, "'generate.top_p' is nan: input should be", None),
        ("generate:\n  top_p: 1.01\n", 2, "'generate.top_p' is 1.01: input should be less than or equal to 1", None),
    ],
)  # fmt: skip
def test_bad_file_is_refused_with_its_line(config: Path, text: str, line: int, complaint: str, hint: str | None) -> None:
    error = refused(config, text)
    assert error.message.startswith(f"{config}:{line}: ")
    assert complaint in error.message
    if hint is not None:
        assert error.hint == hint


def test_control_characters_are_refused(config: Path) -> None:
    assert refused(config, "run:\n  dir: \x01\n").message.startswith(f"{config}: not valid YAML: ")


def test_file_that_is_not_utf8_is_refused(config: Path) -> None:
    config.write_bytes(b"run:\n  dir: \xff\xfe\n")
    with pytest.raises(ConfigError, match="can't be read"):
        load([str(config)])


@pytest.mark.parametrize(
    ("override", "complaint", "hint"),
    [
        ("train.epochs", "--set train.epochs: no '=' in it", "write --set section.key=value"),
        ("train.epoch=3", "--set: unknown setting 'train.epoch'", "did you mean 'train.epochs'?"),
        ("train=3", "--set: 'train' is a section, not a setting", "name a key in it: train.KEY=value"),
        (
            "run.engine={max_num_seqs: 2}",
            "--set: 'run.engine' is a section, not a setting",
            "name a key in it: run.engine.KEY=value",
        ),
        ("train.epochs=[", "--set train.epochs=[: the value isn't valid YAML", "quote it: --set 'a.b=\"text\"'"),
        ("run.seed=0b_", "--set run.seed=0b_: the value isn't valid YAML", "quote it: --set 'a.b=\"text\"'"),
        ("train.epochs=-1", "--set: 'train.epochs' is -1: input should be greater", EPOCHS),
        ("=1", "--set: unknown setting ''", "docs/config.md lists them all"),
    ],
)
def test_bad_override_is_refused(override: str, complaint: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load([], [override])
    assert complaint in caught.value.message
    assert caught.value.hint == hint


@pytest.mark.parametrize("text", ["1e-4", "1E-4", "+1e-4", "1.e-4", "1.0e-4", "0.0001", "10_0e-6"])
def test_scientific_notation_is_a_number(config: Path, text: str) -> None:
    config.write_text(f"train:\n  learning_rate: {text}\n")
    assert load([str(config)]).settings.train.learning_rate == pytest.approx(1e-4, rel=1e-12)
    assert load([], [f"train.learning_rate={text}"]).settings.train.learning_rate == pytest.approx(1e-4, rel=1e-12)


def test_whole_number_serves_as_a_number() -> None:
    assert load([], ["generate.temperature=1"]).settings.generate.temperature == 1.0


def test_date_is_text(config: Path) -> None:
    config.write_text("run:\n  dir: 2026-02-30\n")
    assert load([str(config)]).settings.run.dir == "2026-02-30"


def test_section_without_settings_changes_nothing(config: Path) -> None:
    config.write_text("train:\n  # epochs: 3\nrun:\n  engine:\n")
    assert load([str(config)]).settings == load([]).settings


@pytest.mark.parametrize("text", ["", "# nothing\n", "{}\n", "\ufefftrain: {}\n"])
def test_empty_file_changes_nothing(config: Path, text: str) -> None:
    config.write_text(text, encoding="utf-8")
    assert load([str(config)]).settings == load([]).settings


def test_later_config_wins_and_set_wins_over_both(tmp_path: Path) -> None:
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text("train:\n  epochs: 3\n  lora_rank: 4\n  batch_size: 2\nrun:\n  dir: a\n")
    second.write_text("train:\n  epochs: 5\n")
    loaded = load([str(first), str(second)], ["train.batch_size=6", "train.batch_size=7"], "b")
    assert (loaded.settings.train.epochs, loaded.settings.train.lora_rank, loaded.settings.train.batch_size) == (5, 4, 7)
    assert loaded.run_dir == Path("b")
    assert loaded.name == "second"
    assert loaded.origins["train.epochs"] == f"{second}:2"
    assert loaded.origins["train.lora_rank"] == f"{first}:3"
    assert loaded.origins["train.batch_size"] == "--set"
    assert loaded.origins["run.dir"] == "--out"
    assert loaded.origins["train.max_length"] == "default"


def test_null_takes_a_value_back(config: Path) -> None:
    config.write_text("evaluate:\n  max_items: 3\n")
    assert load([str(config)], ["evaluate.max_items=null"]).settings.evaluate.max_items is None
    assert load([str(config)], ["evaluate.max_items="]).settings.evaluate.max_items is None


def test_value_may_hold_an_equals_sign() -> None:
    assert load([], ["run.dir=a=b"]).settings.run.dir == "a=b"


def test_run_folder_is_named_after_the_last_config(config: Path) -> None:
    config.write_text("{}\n")
    assert load([str(config)]).run_dir == Path("runs/mine")
    assert load([]).run_dir == Path("runs/default")
    assert load([str(config)], ["run.dir=elsewhere"]).run_dir == Path("elsewhere")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("configs/nonexistent.yaml", "shipped: configs/authors-order.yaml, configs/default.yaml"),
        ("configs/dmeo.yaml", "did you mean configs/demo.yaml?"),
        ("demo", "did you mean configs/demo.yaml?"),
        ("configs", "shipped: "),
    ],
)
def test_missing_config_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, hint: str) -> None:
    (tmp_path / "configs").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        load([name])
    assert caught.value.message == f"--config {name}: no such file"
    assert caught.value.hint is not None and caught.value.hint.startswith(hint)


def test_shipped_config_is_found_from_anywhere_and_a_local_one_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_config("configs/demo.yaml") == shipped("configs/demo.yaml")
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "demo.yaml").write_text("{}\n")
    assert find_config("configs/demo.yaml") == Path("configs/demo.yaml")


@pytest.mark.parametrize(
    "module",
    [f"self_instruct.{name}" for name in ("settings", "records", "loading", "commandline", "seedbank", "template", "rundir")]
    + [f"self_instruct.{stage}.cli" for stage in STAGES],
)
def test_import_stays_light(module: str) -> None:
    """--help and config errors answer at once only if nothing heavy is imported for them."""
    code = f"import sys, {module}; print(*sorted(set({HEAVY}) & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
