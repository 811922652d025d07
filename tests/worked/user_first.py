"""Checks of user-oriented tasks: calendars, consoles, trips and plans."""

from __future__ import annotations

import itertools
import re
from datetime import date, timedelta

from worked.runtimes import python, sqlite


def _minutes(clock: str) -> int:
    hours, minutes = clock.split(":")
    return 60 * int(hours) + int(minutes)


def check_1_first_free_slot(input: str, output: str) -> None:
    busy = [tuple(map(_minutes, span)) for span in re.findall(r"([\d:]+)-([\d:]+)", input)] + [(720, 780)]
    start = next(t for t in range(540, 1020 - 44) if all(t + 45 <= begin or t >= end for begin, end in busy))
    assert output == f"{start // 60}:{start % 60:02}-{(start + 45) // 60}:{(start + 45) % 60:02}"


def check_2_three_line_update(input: str, output: str) -> None:
    assert [line.split(":")[0] for line in output.split("\n")] == ["Done", "Next", "Blocked"]


def check_4_lending_fee(input: str, output: str) -> None:
    """The formula in Python's words."""
    formula = output.split("\n")[0]
    assert formula == '=IF(C2="","",MIN(10,MAX(0,C2-B2-14)*0.5))'
    fees = {days: min(10, max(0, days - 14) * 0.5) for days in (3, 14, 15, 34, 90)}
    assert fees == {3: 0, 14: 0, 15: 0.5, 34: 10, 90: 10}


def check_5_wool_blanket(input: str, output: str) -> None:
    assert len(output.split()) <= 50
    for said in ("140 x 200 cm", "1.1 kg", "70% recycled wool", "30% polyamide", "Portugal", "moss, rust or slate", "hand in cold"):
        assert said in output


def check_6_scaled_recipe(input: str, output: str) -> None:
    for said in (
        f"{2 * 6 // 4} eggs",
        f"exactly {125 * 1.5} g",
        f"{200 * 0.5 * 1.5:.0f} g sugar",
        f"{300 * 6 // 4} ml",
        "1 1/2 tsp",
    ):
        assert said in output


def check_7_mutable_default(input: str, output: str) -> None:
    tag, given = python(output.split("\n\n")[1])["tag"], ["x"]
    assert tag("A") == ["a"] and tag("B") == ["b"]
    assert tag("C", given) == ["x", "c"] == given
    wrong = python(input)["tag"]
    assert wrong("A") == ["a"] and wrong("B") == ["a", "b"]


def check_8_latest_orders(input: str, output: str) -> None:
    setup = (
        "CREATE TABLE orders(id INTEGER, customer TEXT, ordered_on TEXT); INSERT INTO orders VALUES"
        "(1, 'Bo', '2030-01-30'), (2, 'Ada', '2030-02-01'), (3, 'Bo', '2030-02-02'), (4, 'Bo', '2029-12-01');"
    )
    assert sqlite(setup, output) == [("Ada", 2, "2030-02-01", None), ("Bo", 3, "2030-02-02", 3)]


def check_10_yearly_subscriptions(input: str, output: str) -> None:
    latest: dict[str, float] = {}
    months: dict[str, set[str]] = {}
    for line in input.split("\n"):
        _, month, *name, price = line.split()
        latest[" ".join(name)] = float(price)
        months.setdefault(" ".join(name), set()).add(month)
    monthly = {name: 12 * latest[name] for name in months if months[name] == {"Jan", "Feb", "Mar"}}
    assert set(monthly) == {"Streambox", "CloudNest"}
    assert all(f"= {cost:.2f} a year" in output for cost in monthly.values())
    assert output.endswith(f"Together: {sum(monthly.values()):.2f} a year")


def check_11_four_week_runs(input: str, output: str) -> None:
    rows = [list(map(int, re.findall(r"(\d+) km", line))) for line in output.split("\n")[2:6]]
    totals = [20, *(row[3] for row in rows)]
    assert all(sum(row[:3]) == row[3] and row[2] > max(row[:2]) for row in rows)
    assert all(before < after <= 1.1 * before for before, after in itertools.pairwise(totals[:4])) and totals[4] < totals[1]


def check_13_two_trips(input: str, output: str) -> None:
    def duration(line: str, first_offset: int) -> int:
        clocks = re.findall(r"\d\d:\d\d", line)
        return _minutes(clocks[-1]) + 4 * 60 - (_minutes(clocks[0]) - first_offset * 60)

    one, other = (duration(line, 2) for line in input.split("\n")[:2])
    assert f"= {one // 60} h {one % 60} min" in output and f"= {other // 60} h {other % 60} min" in output
    assert output.endswith(f"B is shorter by {one - other} minutes.")


def check_14_lost_lamp(input: str, output: str) -> None:
    assert len(output.split()) < 100 and output.lower().count("sorry") == 1


def check_15_bee_chapters(input: str, output: str) -> None:
    assert output.startswith("0:00 ")
    for line in output.split("\n"):
        clock, *title = line.split()
        assert len(title) <= 5 and f"\n{clock} " in "\n" + input


def check_16_eleven_minutes(input: str, output: str) -> None:
    songs = {name: _minutes(length) for name, length in (line.split() for line in input.split("\n"))}
    fits = [set(some) for n in range(1, 7) for some in itertools.combinations(songs, n) if sum(map(songs.__getitem__, some)) == 660]
    assert set(re.findall(r"[A-Z]\w+", output)) in fits


def check_17_commit_message(input: str, output: str) -> None:
    subject, empty, *_ = output.split("\n")
    assert len(subject) <= 50 and empty == ""


def check_18_critical_path(input: str, output: str) -> None:
    days = {"A": 3, "B": 5, "C": 2, "D": 4, "E": 1}
    longest = max((["A", way, "D", "E"] for way in "BC"), key=lambda path: sum(map(days.__getitem__, path)))
    assert f"{', '.join(longest)}, with" in output and f"= {sum(map(days.__getitem__, longest))} days" in output
    assert f"C can slip by {days['B'] - days['C']} days" in output


def check_19_backup_line(input: str, output: str) -> None:
    """The five fields, and the order of redirections: 2>&1 after the append, or errors would go to the terminal."""
    *fields, command = output.split(" ", 5)
    assert fields == ["30", "2", "*", "*", "1-5"]
    assert command == "/usr/local/bin/backup.sh >> /var/log/backup.log 2>&1"


def check_21_notice_by_quarter(input: str, output: str) -> None:
    over = date(2030, 11, 10)  # three months after 10 August
    quarters = [date(2030, month, 1) - timedelta(days=1) for month in (4, 7, 10)] + [date(2030, 12, 31)]
    assert f"ends on {min(q for q in quarters if q >= over):%d %B}" in output


def check_23_hidden_bird(input: str, output: str) -> None:
    assert output.split("\n")[0].lower() in input.lower().replace(" ", "") and len(output.split("\n")[0]) == 7
