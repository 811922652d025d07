"""Recomputes what the outputs of seed tasks on the world and daily life say."""

from __future__ import annotations

import re
from fractions import Fraction
from itertools import pairwise, product
from math import ceil


def _minutes(clock: str) -> int:
    hours, minutes = clock.split(":")
    return 60 * int(hours) + int(minutes)


def _clock(minutes: int) -> str:
    return f"{minutes // 60}:{minutes % 60:02}"


def _words(text: str) -> int:
    return len(text.split())


def _sentences(text: str) -> int:
    return len(re.findall(r"[.!?]+[\"')]*(?=\s|$)", text))


def _numbered(text: str) -> list[str]:
    """The points of a numbered list, which must count from 1."""
    points = re.findall(r"^(\d+)\. (.+)$", text, flags=re.M)
    assert [int(number) for number, _ in points] == list(range(1, len(points) + 1))
    return [point for _, point in points]


def check_goldfish_memory(input: str, output: str) -> None:
    assert output in ("true", "myth")


def check_gelatine_mousse(input: str, output: str) -> None:
    animal = {"gelatine"} & set(re.findall(r"\w+", input))
    dairy = {"cream"} & set(re.findall(r"\w+", input))
    assert output == ("neither" if animal else "vegetarian" if dairy else "vegan")


def check_hobart_postcard(input: str, output: str) -> None:
    assert "Hobart" in input and "January" in input and output == "summer"


def check_lemonade_bottle(input: str, output: str) -> None:
    assert output in ("fire", "a fall", "electric shock", "suffocation", "poisoning")


def check_butter_margarine(input: str, output: str) -> None:
    assert output in ("substitutes", "complements", "unrelated")


def check_hallway_plants(input: str, output: str) -> None:
    assert len(re.findall(r"^- ", output, flags=re.M)) == 3


def check_aral_sea_talk(input: str, output: str) -> None:
    parts = _numbered(output)
    minutes = [int(m) for m in re.findall(r"\((\d+) min\)", output)]
    assert len(minutes) == len(parts) and sum(minutes) == 10


def check_grandfather_eighty(input: str, output: str) -> None:
    assert len(_numbered(output)) == 6


def check_free_buses_debate(input: str, output: str) -> None:
    assert re.findall(r"^(Ngozi|Henrik)\b", output, flags=re.M) == ["Ngozi", "Henrik"] * 2


def check_reading_room_week(input: str, output: str) -> None:
    free = {"Adel": {0, 2}, "Bronwen": {0, 1}, "Chau": {1, 2, 3}, "Dimitra": {2, 3, 4}}
    weeks = [
        week
        for week in product(free, repeat=5)
        if all(day in free[name] for day, name in enumerate(week))
        and set(week) == set(free)
        and week.count("Chau") == 2
        and all(one != other for one, other in pairwise(week))
    ]
    (only,) = weeks
    days = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday")
    assert output.split("\n") == [f"{day}: {name}" for day, name in zip(days, only, strict=True)]


def check_danube_countries(input: str, output: str) -> None:
    countries = output.split(", ")
    assert len(countries) == len(set(countries)) == 10 and (countries[0], countries[-1]) == ("Germany", "Ukraine")


def check_cold_flu_pollen(input: str, output: str) -> None:
    rows = [line.strip("|").split("|") for line in output.split("\n") if line.startswith("|")]
    assert {len(row) for row in rows} == {4}
    assert [row[0].strip() for row in rows[2:]] == ["Onset", "Fever", "Aches", "Itching"]


def check_bowline_knot(input: str, output: str) -> None:
    assert len(_numbered(output)) == 6


def check_columbus_flat_earth(input: str, output: str) -> None:
    assert _words(output) <= 100


def check_breakfast_van_idea(input: str, output: str) -> None:
    pace = {"four": 4}[re.findall(r"(\w+) minutes a bowl", input)[0]]
    opens, closes = re.findall(r"(\d+:\d+)", input)
    needed = int(re.findall(r"sell (\d+)", input)[0])
    span = _minutes(closes) - _minutes(opens)
    assert f"In {span} minutes" in output and f"at most {span // pace} bowls" in output and 3 * (span // pace) < needed


def check_class_trip_budget(input: str, output: str) -> None:
    pupils, adults = map(int, re.findall(r"(\d+) pupils, (\d+) adults", input)[0])
    coach = Fraction(re.findall(r"Coach: (\d+)", input)[0])
    pupil_fee, adult_fee = (Fraction(fee) for fee in re.findall(r"pupils ([\d.]+), adults ([\d.]+)", input)[0])
    lunch = Fraction(re.findall(r"Lunch: ([\d.]+)", input)[0])
    grant = Fraction(re.findall(r"adds (\d+)", input)[0])
    paying = adults - min(adults, pupils // 10)
    costs = [coach, pupils * pupil_fee, paying * adult_fee, (pupils + adults) * lunch]
    rest = sum(costs) - grant
    share = Fraction(ceil(rest / pupils * 2), 2)
    amounts = [Fraction(a) for a in re.findall(r": (-?[\d.]+)$", output, flags=re.M)]
    assert amounts == [*costs, sum(costs), -grant, rest]
    assert f"= {float(rest / pupils):.3f}, so each pupil pays {float(share):.2f} euros" in output
    assert f"brings in {float(share * pupils):.2f} and leaves a reserve of {float(share * pupils - rest):.2f}" in output


def check_promise_to_the_dead(input: str, output: str) -> None:
    assert [p.split(":")[0] for p in output.split("\n\n")] == ["The utilitarian", "The Kantian"]


def check_rip_current_sign(input: str, output: str) -> None:
    assert _words(output) <= 40


def check_highland_noon_hike(input: str, output: str) -> None:
    km = int(re.findall(r"(\d+) km", input)[0])
    climb = int(re.findall(r"([\d,]+) m of", input)[0].replace(",", ""))
    sunset = _minutes(re.findall(r"Sunset is at (\d+:\d+)", input)[0])
    walk = 60 * (Fraction(km, 5) + Fraction(climb, 600))
    hours, minutes = map(int, re.findall(r"about (\d+) hours (\d+) minutes", output)[0])
    back = _minutes(re.findall(r"back at about (\d+:\d+)", output)[0])
    assert abs(60 * hours + minutes - walk) <= 2 and abs(back - (_minutes("12:00") + walk)) <= 2
    assert back - sunset > 60


def check_tennis_points_paradox(input: str, output: str) -> None:
    sets = [(4, 6), (6, 0), (4, 6)]  # Ana's games, Bea's games
    ana = [4 * a + 2 * b for a, b in sets]
    bea = [4 * b for _, b in sets]
    assert "Bea beats Ana 6-4, 0-6, 6-4" in output and sum(b > a for a, b in sets) == 2
    assert f"4 x 4 + 6 x 2 = {ana[0]} points; Bea gets 6 x 4 = {bea[0]}." in output
    assert f"{ana[1]} points to {bea[1]}." in output and f"{ana[2]} to {bea[2]}." in output
    assert f"Ana has won {sum(ana)} points and Bea {sum(bea)}," in output and sum(ana) > sum(bea)


def check_pastry_chef_interview(input: str, output: str) -> None:
    pairs = [block.split("\n") for block in output.split("\n\n")]
    assert len(pairs) == 3 and all(len(pair) == 2 and pair[0].endswith('?"') for pair in pairs)


def check_flat_treasure_hunt(input: str, output: str) -> None:
    lines = output.split("\n")
    assert [line.split(",")[0] for line in lines[:5]] == [f"Clue {i}" for i in range(1, 6)]
    places = [re.findall(r"\((\w+)\)$", line)[0] for line in lines[:5]]
    for place, following in zip(places, lines[1:], strict=False):
        assert place in following.split('"')[0]  # says where it's hidden


def check_venus_bungalow(input: str, output: str) -> None:
    assert _words(output) <= 90
    spin, year = 243.025, 224.701  # days; Venus turns backwards
    assert f"once in {1 / (1 / spin + 1 / year):.0f} Earth days" in output


def check_first_flight_bumps(input: str, output: str) -> None:
    assert _sentences(output) == 4 and not re.search(r"\d|\b(one|two|three|four|five|ten|hundred|thousand|million)\b", output)


def check_savings_or_card(input: str, output: str) -> None:
    cost, yields = 2400 * 21 // 100, 2400 * 2 // 100
    assert f"about {cost} in interest" in output and f"earns {yields}." in output
    assert f"some {cost - yields} a year" in output and f"You'd keep {3000 - 2400} " in output


def check_lentil_soup_shopping(input: str, output: str) -> None:
    recipe, stock = (line.split(": ")[1].split(", ") for line in input.split("\n"))
    factor = Fraction(10, int(re.findall(r"for (\d+)", input)[0]))

    def amounts(parts: list[str]) -> dict[str, int]:
        found = [re.match(r"(\d+)( g)? (.+)", part) for part in parts]
        return {m[3].rstrip("s"): int(m[1]) for m in found if m}

    need, have = amounts(recipe), amounts(stock)
    buy = {item: ceil(factor * n) - have.get(item, 0) for item, n in need.items()}
    assert "full jar of cumin" in input and "stock cubes for 3 litres" in input and factor * need["litre of vegetable stock"] <= 3
    del buy["teaspoon of cumin"], buy["litre of vegetable stock"]
    listed = amounts(output.split("\n"))
    assert {item.replace("tins", "tin"): n for item, n in listed.items()} == {item: n for item, n in buy.items() if n > 0}


def check_gluten_free_menu(input: str, output: str) -> None:
    before, after = input.split("\n"), output.split("\n")
    assert [line.split(":")[0] for line in before] == [line.split(":")[0] for line in after]
    gluten = re.compile(r"barley|ordinary soy|couscous|\bwheat\b", re.I)
    for old, new in zip(before, after, strict=False):
        assert (old == new) == (not gluten.search(old)) and not gluten.search(new)


def check_mill_lane_ferry(input: str, output: str) -> None:
    rows = {line.split()[0]: line.split()[1:] for line in input.split("\n") if re.match(r"(Mill|Station|Harbour) ", line)}
    lane = [_minutes(t) for t in rows["Mill"][1:]]
    harbour = [_minutes(t) for t in re.findall(r"\d+:\d+", re.findall(r"^Harbour  .*$", input, flags=re.M)[0])]
    bus = next(i for i, minute in enumerate(lane) if minute >= _minutes("8:50"))
    arrival = harbour[bus] + int(re.findall(r"(\d+) minutes on foot", input)[0])
    closing = _minutes("10:15") - int(re.findall(r"passengers (\d+) minutes", input)[0])
    assert output.startswith(f"Yes, with {closing - arrival} minutes to spare.") and closing > arrival
    assert re.findall(r"\d+:\d+", output) == [_clock(m) for m in (lane[bus], harbour[bus], arrival, closing)]


def check_big_pool_saturday(input: str, output: str) -> None:
    def admitted(age: int, with_adult: bool, minute: int) -> bool:
        big_pool = age >= 12 or (age >= 8 and with_adult)
        club = minute < _minutes("11:00")  # only lanes 5 and 6 are left to the public
        lanes = age >= 12 or minute >= _minutes("10:00")
        return big_pool and (lanes or not club)

    assert output.startswith("No.") and not admitted(9, True, _minutes("9:30"))
    assert "From 10:00" in output and admitted(9, True, _minutes("10:00")) and not admitted(9, True, _minutes("9:59"))


def check_missing_hut_key(input: str, output: str) -> None:
    assert "the side pocket of Greta's rucksack" in input and output == "Rosalind is, in the side pocket of Greta's rucksack."


def check_body_facts_poster(input: str, output: str) -> None:
    verdicts = _numbered(output)
    assert [v.split(".")[0] for v in verdicts] == ["Right", "Wrong", "Right", "Wrong", "Wrong"]
    assert len(verdicts) == len(_numbered(input)) and abs(70 * 60 * 24 - 100_000) < 2_000
