"""The plan as text."""

from __future__ import annotations

from self_instruct.template import WITH_INPUT, WITHOUT_INPUT
from self_instruct.train.masking import Encoded
from self_instruct.train.preview import DIM, PLAIN, count_forms, form_name, histogram, sample, sources


def encoded(form: str, prompt_weight: float = 0.0) -> Encoded:
    weights = (0.0, prompt_weight, 1.0, 1.0)
    return Encoded(id="row3", form=form, ids=(5, 6, 7, 8), weights=weights, prompt_tokens=2)


def decode(ids: object) -> str:
    return {(5, 6): "Name a bird.\nOutput:", (7, 8): " gull</s>"}[tuple(ids)]  # type: ignore[call-overload]


def test_forms_are_named_on_one_line_and_apart() -> None:
    names = [form_name(form) for form in WITH_INPUT + WITHOUT_INPUT]
    assert len(set(names)) == 13
    assert names[0] == "I¶Input: X¶Output:" and names[-1] == "Task: I¶¶"


def test_forms_are_counted_the_most_frequent_first() -> None:
    forms = [WITHOUT_INPUT[3], WITHOUT_INPUT[0], WITHOUT_INPUT[3], WITHOUT_INPUT[5]]
    counts = count_forms(encoded(form) for form in forms)
    assert list(counts.items()) == [("I¶", 2), ("I Output:", 1), ("Task: I¶¶", 1)]
    assert histogram(counts, width=4) == ["      2 #### I¶", "      1 ##   I Output:", "      1 ##   Task: I¶¶"]


def test_a_sample_shows_what_is_masked() -> None:
    assert sample(encoded("{I}\nOutput:"), decode) == [
        "row3: 2 prompt tokens, 2 completion tokens, template I¶Output:",
        "    masked | Name a bird.",
        "    masked | Output:",
        "   trained |  gull</s>",
    ]
    assert sample(encoded("{I}\nOutput:", 0.3), decode)[1] == "  weighted | Name a bird."


def test_on_a_terminal_what_is_masked_is_grey() -> None:
    plain, grey = (sample(encoded("{I}\nOutput:"), decode, grey=grey) for grey in (False, True))
    assert grey == [plain[0], *(f"{DIM}{line}{PLAIN}" for line in plain[1:3]), plain[3]]
    assert sample(encoded("{I}\nOutput:", 0.3), decode, grey=True) == sample(encoded("{I}\nOutput:", 0.3), decode)


def test_sources_are_counted_with_their_passes() -> None:
    assert sources({"seeds": 175, "t0": 2000}, {"seeds": 1.0, "t0": 0.5}) == [
        "    175 rows x 1 an epoch: seeds",
        "   2000 rows x 0.5 an epoch: t0",
    ]
