"""The rating page under load: ten raters at once, and how much a browser loads.

    python benchmarks/rating.py                    every section
    python benchmarks/rating.py --section load     10 raters x 200 ratings at once over loopback
    python benchmarks/rating.py --section page     8 models x 252 answers in Chromium: seconds and bytes to the first answers

The answers are made here: 252 instructions of 8 models, 60 to 400 words each. The server is `evaluate rate` in a process of its
own.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import reporting

from self_instruct.loading import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "tests"))

MODELS, ITEMS, RATERS, EACH = 8, 252, 10, 200
LOAD_MS, PAGE_S, PAGE_KB = 100, 1, 300
PATIENCE_S = 30  # a page that takes longer has gone wrong
WORDS = ("the", "of", "a", "list", "time", "garden", "budget", "with", "letter", "from", "under", "answer", "river", "short")


def answer(model: str, number: str) -> str:
    """60 to 400 words in lines, other ones for each model and item."""
    draws = random.Random(f"{model} {number}")
    words = [draws.choice(WORDS) for _ in range(draws.randint(60, 400))]
    return "\n".join(" ".join(words[at : at + 12]) for at in range(0, len(words), 12))


def make(folder: Path) -> Path:
    """An evaluated run of 8 models."""
    from sample_runs import evaluated, items, stored_suite

    models = [f"model {number}" for number in range(MODELS)]
    suite = stored_suite(items(ITEMS), lambda name, item: answer(name, item.id), models)
    return evaluated(folder / "run", [suite], models)


def load(run: Path) -> None:
    """All raters at once, each as fast as it is answered."""
    import aiohttp

    from rating_site import Rater, Server
    from self_instruct.evaluate import rating_runs
    from self_instruct.evaluate.ratings import RatingStore

    server = Server(run)
    server.start()

    async def everybody() -> list[Rater]:
        async with aiohttp.ClientSession() as client:
            raters = [Rater(server.url, f"rater {number}", client) for number in range(RATERS)]
            await asyncio.gather(*(rater.rate(EACH) for rater in raters))
        return raters

    begun = time.perf_counter()
    try:
        raters = asyncio.run(everybody())
        seconds = time.perf_counter() - begun
    finally:
        server.stop()
    store = RatingStore(rating_runs.place(run))
    kept, actions = Counter(rating.rater for rating in store.ratings()), store.actions()
    store.close()
    took = sorted(1000 * second for rater in raters for second in rater.seconds)
    sent = sum(len(rater.confirmed) for rater in raters)
    lost = sent - sum(kept.values())
    times = f"{quantile(took, 0.5):.1f}, {quantile(took, 0.99):.1f}, {took[-1]:.1f}"
    rows = [
        (f"{RATERS} raters x {EACH} ratings", f"{sent:,} confirmed in {seconds:.1f} s, {sent / seconds:.0f} a second", ""),
        ("lost, doubled", f"{lost}, {actions - sent}", "none, none"),
        ("a rating: median, p99, slowest, ms", times, f"p99 at most {LOAD_MS}"),
    ]
    reporting.table(("what", "measured", "target"), rows)


def quantile(values: list[float], share: float) -> float:
    """The smallest of the sorted `values` that at least this share of them don't exceed."""
    return values[max(0, -(-int(share * 1_000_000) * len(values) // 1_000_000) - 1)]


def page(run: Path) -> None:
    """From the address to the first answers on the screen, name and all, in a browser with an empty cache."""
    import browser
    from rating_site import Server

    found = browser.find()
    if found is None:
        raise SystemExit("no browser: install chromium")
    server = Server(run)
    server.start()

    async def look(path: str, name: str) -> tuple[float, float, int]:
        async with browser.page(path) as tab:
            await tab.show(width=1280)
            begun = time.perf_counter()
            await tab.open(server.url)
            opened = time.perf_counter() - begun
            await tab.run("document.querySelector('input').focus()")
            await tab.send("Input.insertText", text=name)
            begun = time.perf_counter()
            await tab.run("document.querySelector('form').requestSubmit()")
            async with asyncio.timeout(PATIENCE_S):
                while not await tab.run("document.body.innerText.includes('Answer 1 of')"):
                    await asyncio.sleep(0.01)
            shown = time.perf_counter() - begun
            sizes = "performance.getEntriesByType('navigation').concat(performance.getEntriesByType('resource'))"
            loaded = await tab.run(f"{sizes}.reduce((sum, one) => sum + one.transferSize, 0)")
            return opened, shown, int(loaded)

    try:
        tries = [asyncio.run(look(found, name)) for name in ("Ann", "Bob", "Cleo")]
    finally:
        server.stop()
    opened, shown, loaded = (sorted(values)[1] for values in zip(*tries, strict=True))
    rows = [
        ("opened, s (median of 3)", f"{opened:.2f}", f"at most {PAGE_S}"),
        ("name entered to first answers shown, s", f"{shown:.2f}", f"at most {PAGE_S}"),
        ("loaded until then, KB", f"{loaded / 1000:.0f}", f"at most {PAGE_KB}"),
    ]
    reporting.table((f"{MODELS} models x {ITEMS} answers", "measured", "target"), rows)


def main() -> None:
    sections = {"load": load, "page": page}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--section", choices=(*sections, "all"), default="all")
    chosen = parser.parse_args().section
    reporting.heading("Rating")
    with tempfile.TemporaryDirectory() as folder:
        for name, section in sections.items():
            if chosen in (name, "all"):
                section(make(Path(folder) / name))


if __name__ == "__main__":
    main()
