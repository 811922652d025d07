"""What is left of an input that is too long: a beginning of it that fits, and no longer one does."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from self_instruct.evaluate import superni
from self_instruct.evaluate.cutting import Tokens, longest_prefix
from self_instruct.records import EvalItem
from self_instruct.settings_evaluate import SuperNISettings
from self_instruct.template import superni_prompt
from superni_clones import Bytes, Words

TEXTS = st.text(alphabet=st.sampled_from("ab .,:\n\u00e9\u4e2d\U0001f600"), max_size=80)


@given(steps=st.lists(st.integers(0, 5), max_size=200), start=st.integers(0, 20), share=st.floats(0, 1))
def test_the_longest_prefix_of_growing_counts(steps: list[int], start: int, share: float) -> None:
    counts = [start]
    for step in steps:
        counts.append(counts[-1] + step)
    limit = int(share * counts[-1]) - 1  # below the whole's
    kept = longest_prefix(len(steps), counts.__getitem__, limit)
    fitting = [place for place, count in enumerate(counts) if count <= limit]
    assert kept == (fitting[-1] if fitting else None)


@given(counts=st.lists(st.integers(0, 9), min_size=1, max_size=200), limit=st.integers(0, 8))
def test_a_prefix_fits_and_the_next_does_not_where_counts_shrink(counts: list[int], limit: int) -> None:
    counts.append(9)
    kept = longest_prefix(len(counts) - 1, counts.__getitem__, limit)
    if kept is None:
        assert counts[0] > limit
    else:
        assert counts[kept] <= limit < counts[kept + 1]


@given(length=st.integers(1, 5000), limit=st.integers(0, 5000), late=st.booleans())
def test_few_prefixes_are_tried(length: int, limit: int, late: bool) -> None:
    """Also where all tokens are at one end of the text, so that a straight line never says where."""
    tried: list[int] = []

    def count(kept: int) -> int:
        tried.append(kept)
        return max(0, kept - (length - 5)) * 2000 if late else min(kept, 5) * 2000

    if count(length) > limit:
        longest_prefix(length, count, limit)
    assert len(tried) <= 45


@given(definition=TEXTS, input=TEXTS, limit=st.integers(16, 400), official=st.booleans(), words=st.booleans())
def test_a_cut_input_fits_is_a_beginning_and_is_the_longest(
    definition: str, input: str, limit: int, official: bool, words: bool
) -> None:
    tokenizer = Words() if words else Bytes()
    tokens = Tokens(lambda: tokenizer)
    if tokens.count(superni_prompt("", "")) > limit:
        return
    item = EvalItem(id="i", suite="s", task="t", group="g", instruction=definition, input=input, references=("r",))
    settings = SuperNISettings(prompt_tokens=limit, cut="official" if official else "input")
    text, cut = superni.prompt(item, settings, limit, tokens)
    whole = superni_prompt(definition, input)
    assert tokens.count(text) <= limit
    assert cut == (tokens.count(whole) > limit)
    if not cut:
        assert text == whole
    elif official:
        assert whole.encode().startswith(text.encode()) if not words else whole.split()[: limit - 1] == text.split()
    else:
        shorter = [superni_prompt(definition, input[:kept]) for kept in range(len(input) + 1)]
        if tokens.count(shorter[0]) > limit:
            shorter = [superni_prompt(definition[:kept], "") for kept in range(len(definition) + 1)]
        place = max(place for place, one in enumerate(shorter) if one == text)
        assert tokens.count(shorter[place + 1]) > limit
