"""Checks of seed tasks: what a shop, a kitchen and a first course in programming ask."""

from __future__ import annotations

import itertools
import re
from datetime import datetime
from fractions import Fraction
from zoneinfo import ZoneInfo

from worked.runtimes import bash, node, python, sqlite


def check_second_largest_number(input: str, output: str) -> None:
    second_largest = python(output)["second_largest"]
    assert second_largest([3, 9, 9, 4]) == 4
    assert second_largest([5, 5]) is None and second_largest([]) is None


def check_customers_without_orders(input: str, output: str) -> None:
    setup = (
        "CREATE TABLE customers(id, name, city); CREATE TABLE orders(id, customer_id, ordered_on, total);"
        "INSERT INTO customers VALUES (1, 'Zoe', 'x'), (2, 'Ada', 'x'), (3, 'Bo', 'x'); INSERT INTO orders VALUES (7, 3, 'x', 1);"
    )
    assert sqlite(setup, output) == [("Ada",), ("Zoe",)]


def check_bath_without_plug(input: str, output: str) -> None:
    minutes = 1 / (Fraction(1, 12) - Fraction(1, 20))
    assert output.endswith(f"after {minutes} minutes.")


def check_five_runners(input: str, output: str) -> None:
    def fits(order: tuple[str, ...]) -> bool:
        place = {name: number for number, name in enumerate(order)}
        return place["Bea"] == place["Carl"] + 1 and place["Dev"] != 4 and place["Erin"] < place["Amy"] < place["Dev"]

    (only,) = filter(fits, itertools.permutations(["Amy", "Bea", "Carl", "Dev", "Erin"]))
    assert output.startswith(", ".join(only) + ".")


def check_javascript_average(input: str, output: str) -> None:
    code = output.split("\n\n")[1]
    assert node(f"{code} console.log(average([1, 2, 6]), average([]))") == "3 NaN"
    assert node(f"{input} console.log(average([1, 2, 6]))") == "NaN"


def check_largest_entries(input: str, output: str) -> None:
    made = 'cd "$(mktemp -d)"; for n in 1 2 3 4 5 6; do head -c "${n}00000" /dev/zero > "f $n"; done; '
    listed = bash(made + output.split("\n\n")[0]).splitlines()
    assert [line.split("\t")[1] for line in listed] == ["f 6", "f 5", "f 4", "f 3", "f 2"]


def check_matching_codes(input: str, output: str) -> None:
    first, second = (line.split(": ")[1].split(", ") for line in input.split("\n"))
    assert all(re.search(output, code) for code in first) and not any(re.search(output, code) for code in second)


def check_shared_bill(input: str, output: str) -> None:
    together = Fraction(0)
    for asked, told in zip(input.split("\n"), output.split("\n"), strict=False):
        dishes = sum(Fraction(price) for price in re.findall(r"[\d.]+", asked))
        together += dishes * Fraction(11, 10)
        assert told == f"{asked.split(':')[0]}: {float(dishes):.2f} + {float(dishes / 10):.2f} = {float(dishes * 11 / 10):.2f}"
    assert output.endswith(f"Together: {float(together):.2f}")


def check_tokyo_time(input: str, output: str) -> None:
    there = datetime(2030, 1, 14, 16, 30, tzinfo=ZoneInfo("Europe/London")).astimezone(ZoneInfo("Asia/Tokyo"))
    assert output.startswith(f"{there:%H:%M} on {there.day} January")


def check_snow_in_one_sentence(input: str, output: str) -> None:
    assert len(output.split()) <= 20 and output.count(".") == 1


def check_runs_or_fails(input: str, output: str) -> None:
    try:
        python(input)
    except TypeError:
        assert output == "fails"
    else:
        assert output == "runs"


def check_lighthouse_and_ship(input: str, output: str) -> None:
    assert [line.split(":")[0] for line in output.split("\n")] == ["Ship", "Lighthouse"] * 3
