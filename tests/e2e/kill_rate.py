"""kill -9 of `evaluate rate` at random moments while people rate, started again each time: what was confirmed is there, once.

By hand: `python tests/e2e/kill_rate.py --kills 20`. Three raters rate at once; a request that got no answer is sent again with
its nonce, as the page does.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import aiohttp

from rating_site import Rater, Server
from sample_runs import evaluated, items, stored_suite
from self_instruct.evaluate import rating_runs
from self_instruct.evaluate.ratings import RatingStore

RATERS = ("Ann", "Bob", "Cleo")
EACH = 4  # confirmed ratings of a rater between two kills, at least


@dataclass(kw_only=True)
class Report:
    """What became of the ratings: `wrong` must have no word in it. `at` is how many were confirmed at each kill."""

    at: list[int] = field(default_factory=list)
    confirmed: int = 0
    wrong: list[str] = field(default_factory=list)


def survive(folder: Path, kills: int, *, seed: int) -> Report:
    """Rate, kill and start again; then look into the store."""
    count = EACH * (kills + 1)
    models = ("base", "tuned")
    suite = stored_suite(items(count), lambda name, item: f"{name} says {item.id}", models)
    run = evaluated(folder / "run", [suite], models)
    server, report, draws = Server(run), Report(), random.Random(seed)
    server.start()

    async def killer(raters: list[Rater]) -> None:
        for number in range(kills):
            goal = len(RATERS) * EACH * number + draws.randrange(1, len(RATERS) * EACH)
            while sum(len(rater.confirmed) for rater in raters) < goal:
                await asyncio.sleep(0)
            await asyncio.sleep(draws.uniform(0, 0.01))
            server.kill()
            report.at.append(sum(len(rater.confirmed) for rater in raters))
            await asyncio.to_thread(server.start)

    async def everybody() -> list[Rater]:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as client:
            raters = [Rater(server.url, name, client, seed) for name in RATERS]
            await asyncio.gather(killer(raters), *(rater.rate(count) for rater in raters))
        return raters

    try:
        raters = asyncio.run(everybody())
    finally:
        server.stop()
    store = RatingStore(rating_runs.place(run))
    kept = store.ratings()
    rows = store.actions()
    store.close()
    for rater in raters:
        mine = {rating.answer: rating.level for rating in kept if rating.rater == rater.name}
        report.confirmed += len(rater.confirmed)
        for _, answer, level in rater.confirmed.values():
            if mine.get(answer) != level:
                report.wrong.append(f"{rater.name}: {answer} was confirmed as {level}, is {mine.get(answer)}")
    if rows != report.confirmed:
        report.wrong.append(f"{rows} actions for {report.confirmed} ratings")
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = survive(Path(folder), arguments.kills, seed=arguments.seed)
    print(f"{len(report.at)} kills, at {report.at} confirmed ratings; {report.confirmed} confirmed in all")
    print("\n".join(report.wrong) or "every confirmed rating is in the store, once")
    raise SystemExit(bool(report.wrong))


if __name__ == "__main__":
    main()
