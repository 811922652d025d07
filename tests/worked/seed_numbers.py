"""Recomputes what the outputs of seed tasks on numbers, code and logic say."""

from __future__ import annotations

import csv
import itertools
import json
import re
import statistics
import tempfile
from collections import Counter
from datetime import date, timedelta
from fractions import Fraction
from html.parser import HTMLParser
from io import StringIO
from math import isqrt
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import yaml

from worked.runtimes import bash, compiled, node, python, run, sqlite


def _fenced(text: str) -> str:
    """The only fenced block of an output."""
    blocks = re.findall(r"^```\w+\n(.*?)^```$", text, flags=re.M | re.S)
    assert len(blocks) == 1
    return blocks[0]


def _is_prime(n: int) -> bool:
    return n > 1 and all(n % d for d in range(2, isqrt(n) + 1))


def check_near_square_factors(input: str, output: str) -> None:
    whole, parts = output.split("\n")[0].split(" = ")
    p, q = (int(part) for part in parts.split(" x "))
    assert int(whole) == p * q == 5183 == 72 * 72 - 1 and _is_prime(p) and _is_prime(q)


def check_braking_distance(input: str, output: str) -> None:
    assert "= v^2 / (2a)" in output and "four times" in output
    v, a, t, d, step = 20.0, 5.0, 0.0, 0.0, 1e-5
    while v - a * t > 0:
        d += (v - a * t) * step
        t += step
    assert abs(d - v**2 / (2 * a)) < 0.01


def check_paper_tower(input: str, output: str) -> None:
    sheets = round(330_000 / (50 / 500))
    assert f"{sheets:,} sheets" in output and f"{sheets // 500:,} reams" in output and "About 3.3 million" in output


def check_gallons_from_ohio(input: str, output: str) -> None:
    litres = 3.785411784 / (32 * 1.609344) * 100
    assert output.startswith(f"About {litres:.2f} litres")
    assert round(3.785 / 51.49 * 100, 2) == 7.35 and round(32 * 1.609, 2) == 51.49


def check_two_stack_queue(input: str, output: str) -> None:
    main = """
    public class Main {
        public static void main(String[] args) {
            TwoStackQueue<Integer> q = new TwoStackQueue<>();
            System.out.println(q.isEmpty());
            q.add(1); q.add(2);
            System.out.println(q.take());
            q.add(3);
            System.out.println(q.take() + " " + q.take() + " " + q.isEmpty());
            try { q.take(); } catch (java.util.NoSuchElementException e) { System.out.println("empty"); }
        }
    }
    """
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "TwoStackQueue.java").write_text(output)
        Path(folder, "Main.java").write_text(main)
        run(["javac", "TwoStackQueue.java", "Main.java"], folder=folder)
        assert run(["java", "-cp", folder, "Main"], folder=folder) == "true\n1\n2 3 true\nempty"


def check_centred_box(input: str, output: str) -> None:
    page = _fenced(output)
    stack: list[str] = []

    class Balance(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            if tag != "meta":
                stack.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert stack.pop() == tag

    Balance().feed(page)
    assert not stack and page.startswith("<!DOCTYPE html>")
    body = re.search(r"body \{(.*?)\}", page, re.S)
    assert body and {"display: grid", "place-items: center", "min-height: 100vh"} <= {s.strip() for s in body[1].split(";")}


def check_top_mark_formula(input: str, output: str) -> None:
    assert output.split("\n")[0] == "=INDEX(A2:A50, MATCH(MAX(B2:B50), B2:B50, 0))"
    names, marks = ["Ada", "Bo", "Cy"], [7, 9, 9]
    assert names[marks.index(max(marks))] == "Bo"


def check_six_in_four(input: str, output: str) -> None:
    throws = list(itertools.product(range(1, 7), repeat=4))
    hits = sum(6 in throw for throw in throws)
    assert output.startswith(f"{hits}/{len(throws)}, or about {100 * hits / len(throws):.1f}%")


def check_hundredth_day(input: str, output: str) -> None:
    for year in (2023, 2024):
        last = date(year, 3, 15) + timedelta(days=99)
        assert output.startswith(f"{last.day} {last:%B}.")


def check_candle_margin(input: str, output: str) -> None:
    price = Fraction("3.60") / (1 - Fraction("0.40"))
    assert output.startswith(f"Charge {float(price):.2f}.")
    assert price - Fraction("3.60") == Fraction("0.4") * price == Fraction("2.40")
    assert round(Fraction("3.60") * Fraction("1.4"), 2) == Fraction("5.04") and f"{1.44 / 5.04:.1%}" in output


def check_spoken_sequence(input: str, output: str) -> None:
    words = "one two three four five six seven eight nine ten eleven twelve thirteen".split()
    assert [len(w) for w in words[:10]] == [3, 3, 5, 4, 4, 3, 5, 5, 4, 3]
    for word in words:
        assert f"{word} ({len(word)})" in output or f"{len(word)} ({word})" in output


def check_zero_riddle(input: str, output: str) -> None:
    assert len(output.split("\n")) == 4 and "zero" not in output.lower()


def check_harbour_rail_fence(input: str, output: str) -> None:
    text = "MEETATTHEHARBOUR"
    rails = [["."] * len(text) for _ in range(3)]
    for i, letter in enumerate(text):
        rails[(0, 1, 2, 1)[i % 4]][i] = letter
    rows = ["".join(rail) for rail in rails]
    assert output.startswith("".join(rows).replace(".", "") + "\n") and output.endswith("\n".join(rows))


def check_darts_finish(input: str, output: str) -> None:
    factor = {"treble": 3, "double": 2}
    darts = re.findall(r"(treble|double) (\d+) \((\d+)\)", output.lower())
    assert len(darts) == 3 and darts[-1][0] == "double" and all(int(n) <= 20 for _, n, _ in darts)
    assert all(factor[kind] * int(n) == int(score) for kind, n, score in darts) and sum(int(d[2]) for d in darts) == 141


def check_propane_oxygen(input: str, output: str) -> None:
    left, right = Counter({"C": 3, "H": 8, "O": 5 * 2}), Counter({"C": 3, "H": 4 * 2, "O": 3 * 2 + 4})
    assert left == right and output.startswith("C3H8 + 5 O2 -> 3 CO2 + 4 H2O\n")
    assert output.endswith(f"{88 // 44 * 5 * 32} g of oxygen.")


def check_leap_year_tests(input: str, output: str) -> None:
    def passes(rule: Any) -> bool:
        try:
            python(output, is_leap=rule)
        except AssertionError:
            return False
        return True

    assert passes(lambda y: y % 4 == 0 and (y % 100 != 0 or y % 400 == 0))
    wrong = [
        lambda y: y % 4 == 0,
        lambda y: y % 4 == 0 and y % 100 != 0,
        lambda y: y % 2 == 0 and (y % 100 != 0 or y % 400 == 0),
        lambda y: y % 400 == 0,
        lambda y: y % 100 != 0 or y % 400 == 0,
    ]
    assert not any(passes(rule) for rule in wrong)
    assert all(line.startswith("assert ") and "  # " in line for line in output.split("\n"))


def check_wrong_branch_commit(input: str, output: str) -> None:
    setup = """
    export HOME=$PWD GIT_CONFIG_NOSYSTEM=1
    git init -q -b main . ; git config user.email a@b.c ; git config user.name A
    echo 1 > a ; git add a ; git commit -qm first
    echo 2 > a ; git commit -qam second
    echo 3 > a
    """
    report = "git log --format=%s main; echo -; git log --format=%s search-box; git branch --show-current; cat a"
    with tempfile.TemporaryDirectory() as folder:
        shown = bash(setup + _fenced(output) + report, folder=folder).split("\n")
    start = shown.index("-") - 1
    assert shown[start:] == ["first", "-", "second", "first", "search-box", "3"]


def check_bed_by_the_wall(input: str, output: str) -> None:
    area, width = max((Fraction(w, 100) * (18 - 2 * Fraction(w, 100)), Fraction(w, 100)) for w in range(1, 900))
    assert (area, width) == (Fraction("40.5"), Fraction("4.5")) and 6 * 6 == 36 and area - 36 == Fraction("4.5")
    assert output.startswith("Make it 9 m long (along the wall) and 4.5 m wide. Its area is 40.5 square metres, 4.5 more")


def check_product_of_roots(input: str, output: str) -> None:
    assert output == ("rational" if isqrt(2 * 8) ** 2 == 2 * 8 else "irrational")


def check_three_sticks(input: str, output: str) -> None:
    a, b, c = sorted([45, 72, 120])
    assert output == ("possible" if a + b > c else "impossible")


def check_morse_train(input: str, output: str) -> None:
    letters = ".- -... -.-. -.. . ..-. --. .... .. .--- -.- .-.. -- -. --- .--. --.- .-. ... - ..- ...- .-- -..- -.-- --..".split()
    digits = "----- .---- ..--- ...-- ....- ..... -.... --... ---.. ----.".split()
    code = dict(zip(letters + digits, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", strict=True))
    assert output == " ".join("".join(code[sign] for sign in word.split()) for word in input.split(" / "))


def check_disk_warning_script(input: str, output: str) -> None:
    def said(script: str, used: int) -> tuple[str, bool]:
        with tempfile.TemporaryDirectory() as folder:
            return bash(f"df() {{ echo Use%; echo ' {used}%'; }}\n" + script, folder=folder), Path(folder, "90").exists()

    assert said(input, 12) == ("Disk is 12% full", True)
    fixed = _fenced(output)
    assert [said(fixed, used) for used in (9, 90, 91, 100)] == [
        ("", False),
        ("", False),
        ("Disk is 91% full", False),
        ("Disk is 100% full", False),
    ]


def check_climbers_json(input: str, output: str) -> None:
    tomas = int(re.search(r"Tomas, is (\d+)", input)[1])  # type: ignore[index]
    ages = {"Tomas": tomas, "Marit": 29, "Pasang": 41, "Ifeoma": 2 * tomas}
    assert json.loads(output) == [{"name": n, "age": ages[n]} for n in sorted(ages, key=lambda n: ages[n])]


def check_archive_address(input: str, output: str) -> None:
    url = urlsplit(input)
    query = ", ".join(f"{key} = {value}" for key, value in parse_qsl(url.query))
    labels = ["Scheme", "Host", "Port", "Path", "Query", "Fragment"]
    values = [url.scheme, url.hostname, url.port, url.path, query, url.fragment]
    assert output.split("\n") == [f"{label}: {value}" for label, value in zip(labels, values, strict=True)]


def check_rowing_boat_ballots(input: str, output: str) -> None:
    votes = Counter(re.findall(r"[a-z]+", input.lower()))
    rows = [f"| {name.capitalize()} | {n} | {100 * n // votes.total()} |" for name, n in votes.most_common()]
    assert output.split("\n")[2:] == rows and all(100 * n % votes.total() == 0 for n in votes.values())


def check_nested_fee(input: str, output: str) -> None:
    cases = itertools.product(([], [1]), (49.99, 50), (True, False))
    orders = [None, *({"items": items, "total": total, "express": express} for items, total, express in cases)]
    probe = f"""
    for (const order of {json.dumps(orders)}) {{
      try {{ console.log(deliveryFee(order)); }} catch (e) {{ console.log(e.message); }}
    }}"""
    assert node(output + probe) == node(input + probe) == "no order\n0\n0\n0\n0\n9\n5\n0\n0"
    assert "else" not in output


def check_run_lengths_rust(input: str, output: str) -> None:
    lines: list[str] = []
    original = python(input, print=lines.append)["runs"]
    assert compiled("rustc", "main.rs", output) == "\n".join(lines).rstrip("\n") == "a3b1c2d1"
    more = ["z", "abba", "\u00e9\u00e9x", "aaaaaaaaaaaa"]
    calls = "".join(f'println!("{{}}", runs("{text}"));' for text in more)
    program = output[: output.index("fn main")] + "fn main() {" + calls + "}"
    assert compiled("rustc", "main.rs", program) == "\n".join(original(text) for text in more)


def check_loop_trace(input: str, output: str) -> None:
    probe = input.replace("    b = r;", '    b = r; printf("%d %d\\n", a, b);')
    *passes, result = compiled("gcc", "main.c", f"#include <stdio.h>\nint main(void) {{ {probe} return 0; }}").split("\n")
    assert re.findall(r"Pass \d: a = (\d+), b = (\d+)", output) == [tuple(line.split()) for line in passes]
    assert f"{result} is printed: the greatest common divisor of 84 and 30" in output


def check_honey_prices(input: str, output: str) -> None:
    offers = {"Lime blossom": ("5.95", "0.34"), "Heather": ("9.20", "0.5"), "Forest": ("11.70", "0.75"), "Acacia": ("16.90", "1")}
    prices = {name: Fraction(price) / Fraction(kilograms) for name, (price, kilograms) in offers.items()}
    ranked = [f"{i}. {n}: {float(prices[n]):.2f} per kg" for i, n in enumerate(sorted(prices, key=lambda n: prices[n]), 1)]
    assert [line.split(" (")[0] for line in output.split("\n")] == ranked
    assert all(price in input for price, _ in offers.values())


def check_version_order(input: str, output: str) -> None:
    def key(version: str) -> tuple[Any, ...]:
        core, _, beta = version.partition("-beta.")
        return *map(int, core.split(".")), beta == "", int(beta or 0)

    assert output.split(", ") == sorted(input.split(", "), key=key)


def check_first_repeat(input: str, output: str) -> None:
    old, new = python(input)["first_repeat"], python(_fenced(output))["first_repeat"]
    for size in range(6):
        for values in itertools.product(range(3), repeat=size):
            assert old(list(values)) == new(list(values))
    assert new([*range(300_000), 7]) == 7


def check_lunch_receipt(input: str, output: str) -> None:
    total, wrong = Fraction(0), []
    for n, name, price, amount in re.findall(r"^(\d+) (.+) at ([\d.]+) +([\d.]+)$", input, re.M):
        total += int(n) * Fraction(price)
        if int(n) * Fraction(price) != Fraction(amount):
            wrong.append((name, f"{n} x {price} = {float(int(n) * Fraction(price)):.2f}, not {amount}."))
    assert [name for name, _ in wrong] == ["mineral water"] and wrong[0][1] in output
    assert f"= {float(total):.2f}, not 30.40." in output and "TOTAL                         30.40" in input


def check_escaped_hamster(input: str, output: str) -> None:
    said = {  # whom each statement leaves under suspicion
        "Anneke": {"Bilal"},
        "Bilal": {"Anneke", "Chiara", "Dimitri"},
        "Chiara": {"Dimitri", "Chiara"},
        "Dimitri": {"Anneke", "Bilal", "Chiara"},
    }
    culprits = [who for who in said if sum(who not in possible for possible in said.values()) == 1]
    assert culprits == ["Chiara"] and output.startswith("Chiara let the hamster out.")
    assert "Chiara" not in said["Anneke"]


def check_typical_rent(input: str, output: str) -> None:
    rents = [int(rent) for rent in input.split(", ")]
    assert f"Mean: {sum(rents)} / {len(rents)} = {statistics.mean(rents)}\n" in output
    assert f"= {statistics.median(rents):.0f}, the middle of {', '.join(map(str, sorted(rents)))}\n" in output
    assert sum(rent <= 700 for rent in rents) == 7


def check_missing_loans_query(input: str, output: str) -> None:
    rows = []
    branches = [("North", 101, 10, 2023), ("South", 150, 20, 2023), ("East", 100, 99, 2023), ("West", 200, 200, 2022)]
    for branch, lent, out, year in branches:
        for i in range(lent):
            day = date(year, 1, 1) + timedelta(days=364 - i)
            rows.append(f"(NULL, '{branch}', '{day}', {'NULL' if i < out else repr(f'{year + 1}-02-01')})")
    table = "CREATE TABLE loans(id INTEGER, branch TEXT, lent_on TEXT, returned_on TEXT);"
    assert sqlite(f"{table} INSERT INTO loans VALUES {','.join(rows)}", output) == [("South", 150, 13.3), ("North", 101, 9.9)]


def check_contacts_yaml(input: str, output: str) -> None:
    assert yaml.safe_load(output) == [row for row in csv.DictReader(StringIO(input)) if row["phone"]]
    assert len(yaml.safe_load(output)) == 3


def check_perl_totals(input: str, output: str) -> None:
    sales = "pears 2.5\nfigs 4\n\tpears   1\napples 3 x\n"
    totals: dict[str, float] = {}
    for line in sales.split("\n")[:-1]:
        fields = line.split()
        totals[fields[0]] = totals.get(fields[0], 0) + float(fields[1])
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "sales.txt").write_text(sales)
        assert bash(input, folder=folder) == "\n".join(f"{key} {totals[key]:g}" for key in sorted(totals))
    assert [option for option in "-l -a -n -e".split() if f"{option} " in output] == ["-l", "-a", "-n", "-e"]


def check_halving_loop_growth(input: str, output: str) -> None:
    work = python(input)["work"]
    assert all(n <= work(n) <= 2 * n for n in (1, 10, 1000, 4096, 99_999)) and output == "O(n)"


def check_postcode_column(input: str, output: str) -> None:
    values = input.split("\n")[1:]
    assert any(str(int(value)) != value for value in values) and output == "text"
