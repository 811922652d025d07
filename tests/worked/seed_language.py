"""Recomputes what can be recomputed in the tasks on language and writing."""

from __future__ import annotations

import re


def _count(text: str) -> int:
    return len(text.split())


def _words(text: str) -> list[str]:
    """Lower-case words without any punctuation or apostrophe."""
    return re.findall(r"[^\W_]+", text.lower().replace("'", ""))


def _sentences(text: str) -> int:
    return len(re.findall(r"[.!?]+(?=\s|$)", text))


def _quoted(text: str) -> list[str]:
    return re.findall(r'"([^"]+)"', text)


def check_heron_fable_cut(input: str, output: str) -> None:
    assert _count(output) < 50
    assert output.splitlines()[-1] == input.splitlines()[-1]


def check_plumber_note_punctuation(input: str, output: str) -> None:
    assert _words(output) == input.split()
    assert output.count("'") == 4 and output.count("?") == 1


def check_birthday_card_proofs(input: str, output: str) -> None:
    before, after = input.split(), output.split()
    assert len(before) == len(after)
    changed = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert changed == [
        ("Your", "You're"),
        ("Theirs", "There's"),
        ("heals", "heels"),
        ("I", "me"),
        ("wether", "whether"),
        ("except", "accept"),
    ]


def check_umbrella_articles(input: str, output: str) -> None:
    articles = {"a", "an", "the"}
    assert not articles & set(input.split())
    assert [word for word in output.split() if word not in articles] == input.split()
    for article, word in re.findall(r"\b(an?) (\w+)", output):
        assert (article == "an") == (word in {"honest", "hour"})


def check_pool_notices_joined(input: str, output: str) -> None:
    for detail in (
        "swimming pool",
        "Monday 3",
        "Friday 7 March",
        "filters",
        "gym",
        "sauna",
        "7:00-22:00",
        "café",
        "18:00",
        "Season tickets",
        "five days",
        "automatically",
        "desk",
    ):
        assert output.count(detail) == 1


def check_projector_mail_cut(input: str, output: str) -> None:
    assert _count(output) < _count(input) / 3
    for detail in ("Joanna", "projector", "Room 4", "Wednesday at 10", "Rafael"):
        assert detail in input and detail in output


def check_tenor_profile_modest(input: str, output: str) -> None:
    for fact in ("tenor", "eleven years", "choir of St Brendan's", "solo", "Vienna", "2019", "sight-read", "piano", "Tuesdays"):
        assert fact in input and fact in output


def check_marrow_street_burglar(input: str, output: str) -> None:
    assert "\n" not in output


def check_coat_poem_reading(input: str, output: str) -> None:
    quotes = [quote.rstrip(".,") for quote in _quoted(output)]
    assert len(quotes) == 4 and all(quote in input for quote in quotes)


def check_suitcase_giveaway(input: str, output: str) -> None:
    assert input.count(output) == 1
    assert output.count(".") == 1 and output.endswith(".")


def check_duck_talk_reported(input: str, output: str) -> None:
    assert "\n" not in output and '"' not in output
    assert not {"i", "ive", "ill", "im", "today", "tomorrow", "have", "will"} & set(_words(output))


def check_submarine_story_feedback(input: str, output: str) -> None:
    assert _count(output) < 120
    quotes = _quoted(output)
    assert len(quotes) == 5 and all(quote in input for quote in quotes)


def check_second_fiddle_column(input: str, output: str) -> None:
    assert 60 <= _count(output) <= 90


def check_geography_teacher_farewell(input: str, output: str) -> None:
    assert _sentences(output) == 3
    assert "stationery cupboard" in input and "stationery cupboard" in output
    assert "four umbrellas" in input and "four umbrellas" in output


def check_plain_positives(input: str, output: str) -> None:
    lines = output.splitlines()
    assert [line[:3] for line in lines] == [line[:3] for line in input.splitlines()] == ["1. ", "2. ", "3. "]
    assert not re.search(r"n't|\b(?:not|no|nobody|never|hardly)\b", output.lower())


def check_chore_defined(input: str, output: str) -> None:
    assert _sentences(output) == 1 and not {"work", "job", "task", "duty"} & set(_words(output))


def check_lift_in_blackout(input: str, output: str) -> None:
    assert 120 <= _count(output) <= 160


def check_glacier_guest(input: str, output: str) -> None:
    assert _sentences(output.replace("Dr.", "Dr")) == 3
    assert "20 years" in output and "Dr Farida Noor" in output


def check_golf_weekend_refused(input: str, output: str) -> None:
    assert _count(output) < 50


def check_poem_a_day_plea(input: str, output: str) -> None:
    assert _count(output) <= 90
    assert not re.search(r"\d|%|per cent", output)


def check_hiccuping_librarian(input: str, output: str) -> None:
    ends = [_words(line)[-1] for line in output.splitlines()]
    assert ends == ["dundee", "three", "hush", "blush", "she"]


def check_three_short_riddles(input: str, output: str) -> None:
    riddles = [re.fullmatch(r"([^()]+\?) \((an? \w+)\)", line) for line in output.splitlines()]
    assert [riddle and riddle[2] for riddle in riddles] == ["a shadow", "an echo", "a hole"]
    assert not any(riddle and riddle[2].split()[1] in riddle[1] for riddle in riddles)


def check_backward_words(input: str, output: str) -> None:
    pairs = [line.split(" - ") for line in output.splitlines()]
    assert len(pairs) == 5
    for word, backwards in pairs:
        assert len(word) >= 5 and word[::-1] == backwards != word


def check_yeast_acrostic(input: str, output: str) -> None:
    assert "".join(line[0] for line in output.splitlines()) == "YEAST"


def check_suitcase_wedding_toast(input: str, output: str) -> None:
    assert _count(output) < 130
    assert max(_count(sentence) for sentence in re.split(r"[.!?]", output)) <= 14


def check_thunder_without_e(input: str, output: str) -> None:
    assert "e" not in output.lower()
    assert _sentences(output) == 3


def check_waiting_room_fear(input: str, output: str) -> None:
    assert 1 <= _sentences(output) <= 3
    assert not re.search(r"afraid|fear|scare|fright|terr|anxi|nerv|worr|dread|panic", output.lower())


def check_stitch_proverb_trades(input: str, output: str) -> None:
    lines = output.splitlines()
    assert [line.split(":")[0] for line in lines] == ["Programmer", "Gardener", "Cyclist"]
    assert all(_sentences(line) == 1 for line in lines)
