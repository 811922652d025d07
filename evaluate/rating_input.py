"""What the rating page may send, checked; and how texts are sent to it.

Knows neither the store nor the server.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from self_instruct.errors import DataError
from self_instruct.evaluate.ratings import JUDGE
from self_instruct.records import Level

LONGEST_NAME = 40
LONGEST_COMMENT = 2_000
SHOWN = 8_000  # characters of a text that are sent with its page
_NAME_SIGNS = " .-_'"
_BREAKS = re.compile(r"\r\n?")
# Controls as the signs that Unicode has for them; of the others only that something is there.
_SIGNS = (
    {code: 0x2400 + code for code in range(32) if code not in (9, 10)}
    | {127: 0x2421}
    | {code: 0xFFFD for code in (*range(0x80, 0xA0), *range(0xD800, 0xE000))}
)


class _Body(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Enter(_Body):
    name: Annotated[str, Field(max_length=1_000)]
    session: Annotated[str | None, Field(max_length=100)] = None
    take_over: bool = False


class ReviewValue(_Body):
    """The questions of the data quality review (paper, section 3.3), and whether the instance is in the right format."""

    instruction: bool | None = None
    input: bool | None = None
    output: bool | None = None
    format: Literal["right", "partly", "wrong"] | None = None


Nonce = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{8,64}$")]


class Rate(_Body):
    set: int
    position: int
    answer: Annotated[str, Field(max_length=64)]
    value: Level | Literal["skip"] | ReviewValue | None
    comment: Annotated[str, Field(max_length=LONGEST_COMMENT)] = ""
    nonce: Nonce


class Undo(_Body):
    set: int
    nonce: Nonce


class Leave(_Body):
    pass


Body = TypeVar("Body", bound=_Body)


def parse(kind: type[Body], raw: bytes) -> Body:
    """The body of a request. Raises DataError, naming the field, for anything else than what `kind` asks for."""
    try:
        return kind.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "body"
        raise DataError(f"{where}: {first['msg']}", hint="reload the page; if it happens again, it is a bug") from None


def person(name: str) -> tuple[str, str]:
    """A person's name in one form, and the key that tells it from others, which upper case doesn't. Raises DataError."""
    shown = " ".join(unicodedata.normalize("NFC", name).split())
    if not 1 <= len(shown) <= LONGEST_NAME:
        raise DataError(f"a name of {len(shown)} characters", hint=f"1 to {LONGEST_NAME} characters are possible")
    odd = next((sign for sign in shown if sign not in _NAME_SIGNS and unicodedata.category(sign)[0] not in "LMN"), None)
    if odd is not None or not any(sign.isalnum() for sign in shown):
        why = "no letter or digit in it" if odd is None else f"it has {odd!a} in it"
        raise DataError(f"this name can't be taken: {why}", hint="letters, digits, spaces and . - _ ' are possible")
    if shown.casefold().startswith(JUDGE):
        raise DataError(f"a name that begins with '{JUDGE.strip()}' is a judge model's", hint="take another name")
    return shown, shown.casefold()


def visible(text: str) -> str:
    """The text with signs in the stead of control characters and lone surrogates; tabs and line breaks stay."""
    return _BREAKS.sub("\n", text).translate(_SIGNS)


def cut(text: str) -> dict[str, object]:
    """A text for the page: its first characters, and how many there are more."""
    whole = visible(text)
    return {"text": whole[:SHOWN], "more": max(0, len(whole) - SHOWN)}
