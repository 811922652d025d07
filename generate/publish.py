"""Puts a finished corpus on a Hugging Face hub, and only when `generate.push_to_hub` asks for it.

Knows nothing of how the corpus was made: it sends the folder as it lies, card and configs included.
"""

from __future__ import annotations

from pathlib import Path

from self_instruct import __version__
from self_instruct.corpus import COLUMNS
from self_instruct.errors import ConfigError

_LOGIN = "`hf auth login` with a token that may write, or set HF_TOKEN; or push later: run the same command again"


def check(hub_id: str) -> None:
    """Raises ConfigError, before anything is made, where pushing can't work: no token, or no network wanted."""
    from huggingface_hub import constants, get_token

    place = f"generate.push_to_hub: {hub_id}"
    if constants.HF_HUB_OFFLINE:
        raise ConfigError(f"{place}: HF_HUB_OFFLINE is set", hint="unset it, or leave generate.push_to_hub out and push later")
    if get_token() is None:
        raise ConfigError(f"{place}: no token of {constants.ENDPOINT} on this machine", hint=_LOGIN)


def push(folder: Path, hub_id: str) -> str:
    """Send the corpus in `folder` to the dataset `hub_id`; returns its address.

    A new dataset is private, an older one stays as open as it is. Data files of an earlier push are removed, anything
    else in the dataset is left. Raises ConfigError for what the hub refuses and where it can't be reached; the same
    call goes on then.
    """
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import (  # type: ignore[attr-defined]  # HTTPError, its client's, isn't in its list
        HfHubHTTPError,
        HFValidationError,
        HTTPError,
    )

    check(hub_id)
    place, again = f"generate.push_to_hub: {hub_id}", f"the corpus is whole in {folder}; run the same command again to push it"
    api = HfApi(library_name="self-instruct", library_version=__version__)
    try:
        address = str(api.create_repo(hub_id, repo_type="dataset", private=True, exist_ok=True))
        api.upload_folder(
            repo_id=hub_id,
            repo_type="dataset",
            folder_path=folder,
            delete_patterns=[f"data/{config}/train-*.parquet" for config in COLUMNS],
            commit_message=f"Corpus made by self-instruct {__version__}",
        )
    except HFValidationError as error:
        raise ConfigError(f"{place}: not a hub id: {_first_line(error)}", hint="name it as ACCOUNT/NAME") from None
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403):
            raise ConfigError(
                f"{place}: {constants.ENDPOINT} refused your token ({status}): {_first_line(error)}", hint=_LOGIN
            ) from None
        raise ConfigError(f"{place}: {constants.ENDPOINT} failed ({status}): {_first_line(error)}", hint=again) from None
    except (HTTPError, OSError, RuntimeError) as error:  # RuntimeError: the uploader's, written in Rust
        raise ConfigError(f"{place}: {constants.ENDPOINT} can't be reached: {_first_line(error)}", hint=again) from None
    return address


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
