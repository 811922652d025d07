"""Fixtures that several test files share, and the switch for the tests that need a GPU."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings

import browser as browser_tools

# CI draws the same examples each time, so that a red run can be repeated; by hand they are new each time.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")

ROOT = Path(__file__).resolve().parents[1]
EMPTY_WEIGHTS = (2).to_bytes(8, "little") + b"{}"  # a safetensors file without tensors


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--gpu", action="store_true", help="run the tests marked gpu; they need an NVIDIA GPU")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--gpu"):
        skip = pytest.mark.skip(reason="needs an NVIDIA GPU; run ./launch.sh test --gpu")
        for item in items:
            if "gpu" in item.keywords:
                item.add_marker(skip)


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> None:
    """What a shell starts in the background ignores Ctrl-C, and so would every process of the tests."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def embedded_model() -> Path:
    """The folder of the embedded model, converted once into the cache. Skips where its package isn't installed."""
    from self_instruct import embedded
    from self_instruct.errors import ConfigError

    try:
        embedded.folder()
    except ConfigError as error:
        if os.environ.get("CI"):
            pytest.fail(error.message)
        pytest.skip(error.message)
    return embedded.prepare()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of reference data that isn't part of the repository, named by SHARED_DATA.

    A run that has the data must not pass by skipping: under CI the fixture fails where the data lie beside the
    checkout and SHARED_DATA isn't set, and always where SHARED_DATA names no folder.
    """
    named = os.environ.get("SHARED_DATA")
    if named:
        if not Path(named).is_dir():
            pytest.fail(f"SHARED_DATA={named}: no such folder")
        return Path(named)
    if os.environ.get("CI") and (ROOT.parent / "shared" / "data").is_dir():
        pytest.fail("SHARED_DATA isn't set though ../shared/data exists; .ci/run sets it")
    pytest.skip("SHARED_DATA isn't set")


@pytest.fixture(scope="session")
def browser() -> str:
    """The path of a Chromium. Skips without one, and fails under CI, where `./launch.sh test` installs it."""
    found = browser_tools.find()
    if found is None:
        reason = f"no browser: none of {', '.join(browser_tools.NAMES)} is on PATH"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


@pytest.fixture
def tiny_model(tmp_path: Path) -> Path:
    """A folder that `models.resolve` accepts and nothing can load: for what needs a model's name only."""
    return named_model(tmp_path / "tiny-model")


def named_model(folder: Path) -> Path:
    """A new folder that names a model and has none."""
    folder.mkdir()
    config = {"architectures": ["LlamaForCausalLM"], "max_position_embeddings": 4096, "eos_token_id": 1}
    tokenizer = {"model": {"vocab": {"a": 0}}, "added_tokens": [{"id": 1, "content": "<end>"}]}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<end>"}))
    (folder / "model.safetensors").write_bytes(EMPTY_WEIGHTS)
    return folder


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that the real stages made on the scripted engine, for `verify`; its model is beside it. To be copied, not changed."""
    import verified_runs

    return verified_runs.finished(tmp_path_factory.mktemp("verify"))
