"""Checks of the user-oriented tasks from entertainment, civic life and creative work."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from datetime import date, timedelta
from itertools import combinations, product

_STRAIGHT = [(0, 1), (0, -1), (1, 0), (-1, 0)]
_SLANTED = [(1, 1), (1, -1), (-1, 1), (-1, -1)]
_STEPS = {"R": _STRAIGHT, "B": _SLANTED, "Q": _STRAIGHT + _SLANTED, "K": _STRAIGHT + _SLANTED}
_STEPS["N"] = [(a, b) for a in (-2, -1, 1, 2) for b in (-2, -1, 1, 2) if abs(a) != abs(b)]
_Square = tuple[int, int]
_Board = dict[_Square, str]


def _words(text: str) -> int:
    return len(text.split())


def _sentences(text: str) -> int:
    return len(re.findall(r"[.!?]+[\"']?(?=\s|$)", text))


def _board(fen: str) -> _Board:
    board: _Board = {}
    for down, row in enumerate(fen.split()[0].split("/")):
        for x, mark in enumerate(re.sub(r"\d", lambda m: "." * int(m[0]), row)):
            if mark != ".":
                board[x, 7 - down] = mark
    return board


def _square(name: str) -> _Square:
    return "abcdefgh".index(name[0]), int(name[1]) - 1


def _reach(board: _Board, start: _Square) -> Iterator[_Square]:
    """Where a piece can move (no castling, promotion or capture in passing)."""
    piece, (x, y) = board[start], start
    if piece in "Pp":
        step, home = (1, 1) if piece == "P" else (-1, 6)
        for place in [(x, y + step), (x, y + 2 * step)][: 2 if y == home else 1]:
            if place in board:
                break
            yield place
        yield from (p for p in ((x - 1, y + step), (x + 1, y + step)) if p in board and board[p].isupper() != piece.isupper())
        return
    for dx, dy in _STEPS[piece.upper()]:
        for n in range(1, 2 if piece in "KkNn" else 8):
            place = (x + n * dx, y + n * dy)
            if not (0 <= place[0] < 8 and 0 <= place[1] < 8):
                break
            if place not in board or board[place].isupper() != piece.isupper():
                yield place
            if place in board:
                break


def _in_check(board: _Board, white: bool) -> bool:
    king = next(s for s, p in board.items() if p == ("K" if white else "k"))
    return any(king in _reach(board, s) for s, p in board.items() if p.isupper() != white)


def _moved(board: _Board, start: _Square, end: _Square) -> _Board:
    return {s: p for s, p in board.items() if s != start} | {end: board[start]}


def _moves(board: _Board, white: bool) -> list[tuple[_Square, _Square]]:
    own = [s for s, p in board.items() if p.isupper() == white]
    return [(s, e) for s in own for e in _reach(board, s) if not _in_check(_moved(board, s, e), white)]


def _mated(board: _Board, white: bool) -> bool:
    return _in_check(board, white) and not _moves(board, white)


def _play(board: _Board, line: str) -> _Board:
    """The position after moves such as "e2e4 e7e5", all of them legal; White begins."""
    for n, move in enumerate(line.split()):
        start, end = _square(move[:2]), _square(move[2:])
        assert (start, end) in _moves(board, n % 2 == 0), move
        board = _moved(board, start, end)
    return board


def check_28_smothered_mate_two(input: str, output: str) -> None:
    board, keys = _board(input), []
    for move in _moves(board, True):
        first = _moved(board, *move)
        replies = [_moved(first, *reply) for reply in _moves(first, False)]
        if replies and all(any(_mated(_moved(r, *last), False) for last in _moves(r, True)) for r in replies):
            keys.append((move, len(replies)))
    assert keys == [((_square("b3"), _square("g8")), 1)]
    assert _mated(_play(_play(board, "b3g8 f8g8"), "h6f7"), False)
    assert output.startswith("1. Qg8+ Rxg8 2. Nf7#\n")


def check_33_grandfather_score_sheet(input: str, output: str) -> None:
    board = _board("rnbqkbnr/pppppppp/8/8/8/8/PPPPPPPP/RNBQKBNR")
    files = {"QR": "a", "QN": "b", "QB": "c", "Q": "d", "K": "e", "KB": "f", "KN": "g", "KR": "h"}
    old = [m for row in input.split("\n") for m in row.split()[1:]]
    new = [m for row in output.split("\n")[:-1] for m in row.split()[1:]]
    assert len(old) == len(new) == 14
    for n, (before, after) in enumerate(zip(old, new, strict=True)):
        white = n % 2 == 0
        if before == "O-O":
            assert after == "O-O" and white
            board = {s: p for s, p in board.items() if s not in ((4, 0), (7, 0))} | {(6, 0): "K", (5, 0): "R"}
            continue
        piece = before[0]
        moves = [(s, e) for s, e in _moves(board, white) if board[s].upper() == piece]
        if "x" in before:
            taken = before.split("x")[1]
            moves = [(s, e) for s, e in moves if e in board and board[e].upper() == taken[-1]]
            moves = [(s, e) for s, e in moves if taken[:-1] in ("", "N") and (taken[:-1] == "" or e[0] in (1, 6))]
        else:
            where, rank = before.split("-")[1][:-1], int(before[-1])
            columns = {"abcdefgh".index(c) for k, c in files.items() if k == where or k[1:] == where}
            moves = [(s, e) for s, e in moves if e[0] in columns and e[1] == (rank - 1 if white else 8 - rank)]
        assert len(moves) == 1, (before, moves)
        ((start, end),) = moves
        name = "abcdefgh"[end[0]] + str(end[1] + 1)
        take = "x" if "x" in before else ""
        head = piece if piece != "P" else ("abcdefgh"[start[0]] if take else "")
        assert after == head + take + name
        board = _moved(board, start, end)


def check_38_early_queen_attack(input: str, output: str) -> None:
    start = _play(_board("rnbqkbnr/pppppppp/8/8/8/8/PPPPPPPP/RNBQKBNR"), "e2e4 e7e5 f1c4 b8c6")
    assert _mated(_play(start, "d1h5 g8f6 h5f7"), False)
    safe = _play(start, "d1h5 g7g6 h5f3 g8f6")
    assert _play(safe, "f3b3 d8e7 c4f7 e7f7")
    assert _square("f3") in _reach(_play(safe, "g2g4 c6d4"), _square("d4"))
    assert "3...g6" in output and "5...Qe7" in output and "5...Nd4" in output


def _sudoku(cells: list[int]) -> Iterator[list[int]]:
    """Every solution."""
    best: tuple[int, set[int]] | None = None
    for i, value in enumerate(cells):
        if not value:
            r, c = divmod(i, 9)
            seen = {v for j, v in enumerate(cells) if j // 9 == r or j % 9 == c or (j // 27, j % 9 // 3) == (r // 3, c // 3)}
            free = set(range(1, 10)) - seen
            if best is None or len(free) < len(best[1]):
                best = i, free
    if best is None:
        yield cells
        return
    for value in best[1]:
        yield from _sudoku([*cells[: best[0]], value, *cells[best[0] + 1 :]])


def check_43_sudoku_single_hint(input: str, output: str) -> None:
    rows = [[0 if c == "." else int(c) for c in row] for row in input.split("\n")]
    (solution,) = _sudoku([v for row in rows for v in row])
    assert solution[44] == 6 and rows[4][8] == 0 and output.startswith("The last cell of the fifth row is a 6.")
    assert [i for i, v in enumerate(rows[4]) if not v] == [0, 3, 4, 7, 8]
    assert rows[2][0] == 6 and 6 in rows[3][3:6] and rows[0][7] == 6


def _feedback(hidden: str, guess: str) -> str:
    left = Counter(h for h, g in zip(hidden, guess, strict=True) if h != g)
    marks = []
    for h, g in zip(hidden, guess, strict=True):
        mark = "+" if h == g else "?" if left[g] else "-"
        left[g] -= mark == "?"
        marks.append(g + mark)
    return " ".join(marks)


def check_48_last_word_guess(input: str, output: str) -> None:
    turns = input.split("\n")[1:5]
    words = input.split("My six: ")[1].split(", ")
    fit = [w for w in words if all(_feedback(w, "".join(p[0] for p in t.split())) == t for t in turns)]
    assert fit == ["CANDY"] and output.startswith("Guess CANDY.")
    assert [line.split(":")[0] for line in output.split("\n")[1:]] == [w for w in words if w != "CANDY"]


def check_53_rope_bridge_round(input: str, output: str) -> None:
    assert output.endswith("?")
    assert not re.search(r"\d|\b(one|two|three|four|five|twenty)\b", output)


def check_58_haste_potion_quarrel(input: str, output: str) -> None:
    speed = 6 // 2
    assert f"to {speed}" in output and f"has {speed - 2} square left now" in output and f"move {speed * 2} squares" in output
    assert _sentences(output) == 3
    assert all(str(n) in re.findall(r"\d", " ".join(re.findall(r"\(rules? [^)]*\)", output))) for n in range(1, 6))


def check_63_innkeeper_slip(input: str, output: str) -> None:
    assert _sentences(output) == 4


def check_68_joker_round_totals(input: str, output: str) -> None:
    table = []
    for row in input.split("\n")[3:]:
        team, before, right, wrong, _, joker = row.split(" | ")
        points = (2 * int(right) - int(wrong)) * (2 if joker == "yes" else 1)
        table.append((-(int(before) + points), -int(right), team, points))
    lines = output.split("\n")
    for place, (total, _, team, points) in enumerate(sorted(table), 1):
        assert lines[place - 1].startswith(f"{place}. {team}: {points}, total {-total}")
    assert len(lines) == 4


def check_73_quiz_question_audit(input: str, output: str) -> None:
    assert re.findall(r"^(\d)\. (Keep|Mend|Bin): ", output, re.M) == [("1", "Mend"), ("2", "Bin"), ("3", "Keep"), ("4", "Mend")]
    assert len(re.findall(r"^New: .+\?$", output, re.M)) == 2


def _goods(tiles: tuple[int, int, int]) -> int:
    """The best score that sets of different goods can reach."""
    best = 0
    for kinds, points in (((0, 1, 2), 5), ((0, 1), 2), ((0, 2), 2), ((1, 2), 2)):
        if all(tiles[k] for k in kinds):
            a, b, c = (n - (k in kinds) for k, n in enumerate(tiles))
            best = max(best, points + _goods((a, b, c)))
    return best


def check_78_salt_road_scoring(input: str, output: str) -> None:
    players = {"Amara": (6, (3, 2, 1), 5, 1), "Bo": (7, (2, 2, 0), 5, 0), "Celeste": (5, (1, 2, 2), 4, 1)}
    roads = [p[2] for p in players.values()]
    totals = {}
    for name, (caravans, goods, road, debts) in players.items():
        longest = 4 if road == max(roads) and roads.count(road) == 1 else 0
        totals[name] = caravans + _goods(goods) + longest - 2 * debts
        row = next(r for r in output.split("\n") if r.startswith(name)).split(" | ")
        assert row[1] == str(caravans) and row[2].endswith(str(_goods(goods))) and row[3] == str(longest)
        assert row[4:] == [str(-2 * debts), str(totals[name])]
    winner = max(players, key=lambda n: (totals[n], -players[n][3]))
    assert f"fewer unpaid debts wins: {winner}" in output


def check_83_take_back_loophole(input: str, output: str) -> None:
    assert _sentences(output) == 1


def check_88_overdue_book_scene(input: str, output: str) -> None:
    blocks = output.split("\n\n")
    assert blocks[0] == "INT. PUBLIC LIBRARY - DAY"
    speeches = [b for b in blocks[1:] if re.fullmatch(r"[A-Z]+( \(CONT'D\))?", b.split("\n")[0])]
    assert len(speeches) == 3


def check_93_organ_tuner_logline(input: str, output: str) -> None:
    assert 25 <= _words(output) <= 35 and _sentences(output) == 1
    assert not re.search("Marguerite|Dao|Anselm|Easter", output)


def check_98_chart_minor_third(input: str, output: str) -> None:
    flats = ["C", "Db", "D", "Eb", "E", "F", "Gb", "G", "Ab", "A", "Bb", "B"]
    sharps = ["C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B"]

    def up(note: re.Match[str]) -> str:
        number = (sharps if note[0] in sharps else flats).index(note[0])
        return flats[(number + 3) % 12]

    lines = [re.sub(r"(?<=[ /])[A-G][#b]?(?!r)", up, line) for line in input.split("\n")]
    assert output.split("\n") == [*lines, "Capo: 3rd fret"]


def check_103_chords_over_words(input: str, output: str) -> None:
    wanted: list[str] = []
    for line in input.split("\n"):
        chords, words = "", ""
        for chord, text in re.findall(r"(?:\[([^]]+)\])?([^[]+)", line):
            if chord:
                chords = chords.ljust(len(words)) + chord
            words += text
        wanted += [chords, words] if chords else [words]
    assert output.split("\n") == wanted


def check_108_night_bus_stanza(input: str, output: str) -> None:
    assert len(output.split("\n")) == len(input.split("\n")) == 4 and "night bus" in output.split("\n")[3]


def check_113_umbrella_triolet(input: str, output: str) -> None:
    lines = [re.sub(r"[^a-z ]", "", line.lower()) for line in output.split("\n")]
    assert len(lines) == 8 and lines[0] == lines[3] == lines[6] and lines[1] == lines[7]
    assert [line.split()[-1] for line in lines] == ["tram", "go", "lamb", "tram", "am", "toe", "tram", "go"]


def check_118_limping_pentameter(input: str, output: str) -> None:
    old, new = input.split("\n")[1].split(), output.split("Mended: ")[1].split()
    assert len(old) == len(new) and sum(a != b for a, b in zip(old, new, strict=True)) == 1 and output.startswith("Line 2.")


def check_123_burst_main_brief(input: str, output: str) -> None:
    assert _words(output) <= 100
    assert not re.search("roadworks|car |cause|crack", output)


def check_128_pumpkin_photo_caption(input: str, output: str) -> None:
    caption, credit = output.split("\n")
    assert _words(output) <= 35 and credit == "Photo: Leila Haddad" and _sentences(caption) == 1


def check_133_quiet_sunday_case(input: str, output: str) -> None:
    assert "\n" not in output


def check_138_library_fines_crux(input: str, output: str) -> None:
    assert all(quote in input for quote in re.findall(r'"([^"]+)"', output)) and "one of fact" in output


def check_143_mill_road_tripling(input: str, output: str) -> None:
    before, after = (int(line.split(": ")[1]) for line in input.split("\n")[-2:])
    assert before / 8 == after / 24 == 0.25 and "0.25 a month" in output and "2 / 8 and 6 / 24" in output


def check_148_library_visit_claims(input: str, output: str) -> None:
    rows = [line.replace(",", "").split(" | ") for line in input.split("\n")[1:5]]
    visits = {int(y): int(v) for y, v, _ in rows}
    daily = {int(y): int(v) / int(d) for y, v, d in rows}
    assert 1000 * (visits[2024] - visits[2021]) == 425 * visits[2021] and (daily[2021], daily[2024]) == (500, 400)
    assert daily[2022] == daily[2023] == 400 and max(visits, key=lambda y: visits[y]) == 2023
    assert re.findall(r"^[A-C]\. (\w+)", output, re.M) == ["Misleading", "True", "False"]
    assert all(_sentences(line[3:]) == 1 for line in output.split("\n"))


def check_153_parking_grace_appeal(input: str, output: str) -> None:
    assert "until 14:10" in output
    assert not re.search("rude|chemist|tablets|14:09", output)


def check_158_objection_last_day(input: str, output: str) -> None:
    posted = date(2026, 1, 28)
    assert f"{posted:%A} {posted.day} {posted:%B %Y}" in input
    notified = posted + timedelta(days=3)
    assert f"{notified.day} {notified:%B}, a {notified:%A}" in output
    last = date(2026, 3, 1) - timedelta(days=1)
    assert last.day < notified.day and f"{last.day} {last:%B} is a {last:%A}" in output
    while last.weekday() > 4:
        last += timedelta(days=1)
    assert output.startswith(f"Until {last:%A} {last.day} {last:%B %Y}")


def check_163_takeaway_planning_objection(input: str, output: str) -> None:
    assert re.findall(r"^\d", output, re.M) == ["1", "2", "3"]
    assert not re.search("worth|value|brother|Lim|trade", output)


def check_168_sunday_baths_petition(input: str, output: str) -> None:
    saved, visits, sundays = 18400, 9200, 46
    assert all(f"{n:,}" in input for n in (saved, visits, sundays))
    assert f"costs the council {saved / visits:g} pounds a visit" in output and f"average of {visits / sundays:g} on" in output


def check_173_green_thumb_nomination(input: str, output: str) -> None:
    assert not re.search("dahlia|wife|bakes", output)
    assert output.index("2014") < output.index("pruning") < output.index("Ashgrove")


def check_178_chair_runoff_count(input: str, output: str) -> None:
    ballots = [names.split(", ") for n, names in re.findall(r"(\d+) x (.+)", input) for _ in range(int(n))]
    left = {name for ballot in ballots for name in ballot}
    for number in range(1, 10):
        tally = Counter(next((name for name in ballot if name in left), "") for ballot in ballots)
        tally.pop("", None)
        total = sum(tally.values())
        line = next(row for row in output.split("\n") if row.startswith(f"Round {number} "))
        assert f"({total} ballots, {total // 2 + 1} needed)" in line
        assert {name: int(n) for name, n in re.findall(r"([A-Z][a-z]+) (\d+)[,.]", line)} == tally
        leader, votes = tally.most_common(1)[0]
        if 2 * votes > total:
            assert output.endswith(f"{leader} is elected.") and len(output.split("\n")) == number + 1
            return
        lowest = [name for name in tally if tally[name] == min(tally.values())]
        assert len(lowest) == 1 and f"{lowest[0]} goes out" in line
        left.remove(lowest[0])
    raise AssertionError("nobody is elected")


def check_183_nine_guest_tables(input: str, output: str) -> None:
    guests = input.split("\n")[0].removeprefix("Guests: ").split(", ")
    found = []
    for a in combinations(guests, 3):
        for b in combinations([g for g in guests if g not in a], 3):
            table = {g: "A" if g in a else "B" if g in b else "C" for g in guests}
            same = table["Chen"] == table["Priya"] and table["Maren"] == table["Tobias"]
            fixed = table["Grandma Ikeda"] == table["Dolores"] == "C" and table["Zola"] == "A"
            if same and fixed and table["Ray"] not in (table["Dolores"], table["Chen"]):
                found.append(table)
    assert len(found) == 1
    for line in output.split("\n")[:3]:
        assert {g for g in guests if found[0][g] == line[0]} == set(line[3:].split(", "))


def check_188_accordion_wedding_toast(input: str, output: str) -> None:
    assert _words(output) < 90 and output.endswith("to Lucia and Piotr!")


def check_193_clock_class_spot(input: str, output: str) -> None:
    spoken = re.sub(r"^VOICE [12]: ", "", output, flags=re.M)
    assert 60 <= _words(spoken) <= 75
    assert "Clock Repair for Beginners at Thornby Adult College" in spoken
    assert all(fact in spoken for fact in ("Six Wednesday evenings", "seven till nine", "95 pounds", "college desk", "14 January"))


def check_198_seaside_paint_names(input: str, output: str) -> None:
    lines = [line.split(" - ") for line in output.split("\n")]
    names = [word for name, _ in lines for word in name.split()[1:]]
    assert len(lines) == 4 and len(names) == len(set(names)) == 8


def check_203_tortoise_sympathy_card(input: str, output: str) -> None:
    assert not re.search("heaven|better place|bridge", output)


def check_208_bus_driver_obituary(input: str, output: str) -> None:
    born, died = date(1941, 2, 2), date(2024, 10, 19)
    age = died.year - born.year - ((died.month, died.day) < (born.month, born.day))
    assert f"aged {age}" in output and date(2024, 10, 26).strftime("%A") == "Saturday"
    assert 100 <= _words(output) <= 130 and not re.search("heart|passed away", output)
    assert output.endswith("at 11am.")


def check_213_clockmaker_padlock(input: str, output: str) -> None:
    hours = dict(re.findall(r"(blue|green|red|yellow) (\d)", output.split("Solution")[0]))
    rack = re.search(r"left to right as (green[a-z, ]+)\.", output)
    assert rack and "".join(hours[colour] for colour in rack[1].split(", ")) == "3725"


def check_218_strongbox_clue_test(input: str, output: str) -> None:
    codes = [(a, b, c, d) for a, b, c, d in product(range(10), repeat=4) if a + b + c + d == 20 and a == 2 * d and b == c + 1]
    assert ["".join(map(str, code)) for code in codes] == re.findall(r"\d{4}", output) == ["2981", "6653"]
    assert [code for code in codes if len(set(code)) == 4] == [(2, 9, 8, 1)]
    assert _words(output.split("Extra clue: ")[1]) <= 5


def check_223_letter_scene_blocking(input: str, output: str) -> None:
    assert len(output.split("\n")) == 5


def check_228_three_actor_doubling(input: str, output: str) -> None:
    scenes = {part: set(numbers.split(", ")) for part, numbers in re.findall(r"(\w+): scenes? ([\d, ]+)", input)}
    found = []
    for actors in product(("Yusuf", "Bea", "Lin"), repeat=5):
        cast = dict(zip(scenes, actors, strict=True))
        clash = any(cast[p] == cast[q] and scenes[p] & scenes[q] for p, q in combinations(scenes, 2))
        if not clash and actors.count("Yusuf") <= 1 and cast["Messenger"] == "Yusuf" and cast["Ghost"] != "Bea":
            found.append(cast)
    assert len(found) == 1
    said = {part: line.split(": ")[0] for line in output.split("\n") for part in line.split(": ")[1].split(", ")}
    assert said == found[0]


def check_233_ribbed_hat_stitches(input: str, output: str) -> None:
    wanted = 56 * 0.9 * 22 / 10
    assert f"{wanted:.2f}" in output and output.startswith(f"{min(range(4, 400, 4), key=lambda n: abs(n - wanted))}.")
    assert 50.8 < 112 / 2.2 < 51


def _stitches(row: str) -> tuple[int, int]:
    """How many stitches a piece of a row takes up and leaves."""
    takes = leaves = 0
    for move in re.findall(r"[^, ]+", row):
        use, made = {"yo": (0, 1), "ssk": (2, 1), "k2tog": (2, 1), "sl1-k2tog-psso": (3, 1)}.get(move) or (int(move[1:]),) * 2
        takes, leaves = takes + use, leaves + made
    return takes, leaves


def _adds_up(row: str, total: int) -> bool:
    found = re.fullmatch(r"(.+), \*(.+); rep from \* to (end|last.*?)(?:, (.+))?\.", row)
    assert found
    first, repeat, last = _stitches(found[1]), _stitches(found[2]), _stitches(found[4] or "")
    times, rest = divmod(total - first[0] - last[0], repeat[0])
    return rest == 0 and first[1] + times * repeat[1] + last[1] == total


def check_238_lace_row_count(input: str, output: str) -> None:
    rows = dict(re.findall(r"Row (\d): (.+)", input))
    assert [n for n, row in rows.items() if not _adds_up(row, 21)] == ["5"] and output.startswith("Row 5.")
    mended = re.search(r"Mended: (.+?k2\.)", output)
    assert mended and _adds_up(mended[1], 21)


def check_243_walking_land_proverbs(input: str, output: str) -> None:
    proverbs = re.findall(r'"(.+?)"', output)
    assert len(proverbs) == 4 and all("tortoise" not in p for p in proverbs)


def check_248_silent_morning_market(input: str, output: str) -> None:
    assert 120 <= _words(output) <= 150
