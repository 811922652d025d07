"""The report's plots: their alternative texts, their bytes, hostile names, and colours that follow a page."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from self_instruct.evaluate import drawing, figures, paper
from self_instruct.evaluate.document import Figure
from self_instruct.evaluate.intervals import Estimate

pytest.importorskip("matplotlib")
NASTY = "a<b> & $x_1$ \"'\u2028\x00 名前 " + "long" * 30
TOP = [
    {"verb": "write", "count": 9, "nouns": [["story", 5], ["poem", 3], ["code", 1]]},
    {"verb": "give", "count": 4, "nouns": [["example", 4]]},
    {"verb": "name", "count": 1, "nouns": [["river", 1]]},
]
LENGTHS = {
    "instruction": {"texts": 102, "mean": 12.5, "counts": [[4, 50], [20, 50], [300, 2]]},
    "input": {"texts": 1, "mean": 3.0, "counts": [[3, 1]]},
    "output": {"texts": 2, "mean": 1.0, "counts": [[0, 1], [2, 1]]},
}
WHOLE, NONE = Estimate(12.5, 10.25, 14.75), Estimate(3.0, None, None)

MAKERS: dict[str, Callable[[str], Figure]] = {
    "differences": lambda name: figures.differences([(name, WHOLE), ("worse", Estimate(-2.0, -3.0, -1.0)), ("unclear", NONE)]),
    "groups": lambda name: figures.groups([(name, 3, {"base": WHOLE, name: NONE}), ("other", 1, {"base": NONE, name: WHOLE})]),
    "tasks": lambda name: figures.tasks("base", name, [(name, 1.0, 2.0), ("b", 5.0, 5.0), ("c", 9.0, 1.0)]),
    "loss": lambda name: figures.loss([(1, 3.0), (2, 2.5), (4, 2.0)], [2.4], name=f"loss-{name}"),
    "sunburst": lambda name: figures.sunburst([*TOP, {"verb": name, "count": 1, "nouns": [[name, 1]]}], caption="Figure 3"),
    "nearest_seed": lambda name: figures.nearest_seed([0.0, 0.5, 1.0], [3, 1], 0.31, name=name),
    "lengths": lambda name: figures.lengths(LENGTHS, paper.MEAN_WORDS, name=name),
    "ratings": lambda name: figures.ratings([(n, *c) for n, c, _ in paper.FIGURE_6], ours=[(name, 1, 2, 3, 4)]),
    "data_size": lambda name: figures.data_size(paper.FIGURE_7, (name, 54.4), [(175, WHOLE)], (900, WHOLE), ours_rated_by=name),
}


@pytest.mark.parametrize("kind", MAKERS)
def test_every_plot_is_xml_with_words_for_those_who_cant_see_it(kind: str) -> None:
    made = MAKERS[kind]("tuned")
    root = ElementTree.fromstring(made.svg)
    assert root.tag == "{http://www.w3.org/2000/svg}svg" and root.attrib["viewBox"]
    assert len(list(root.iter("{http://www.w3.org/2000/svg}text"))) >= 3
    assert made.alt.endswith(".") and made.caption.endswith(".") and re.search(r"\d", made.alt)
    assert re.fullmatch(r"[\w-]+", made.name, re.ASCII)


@pytest.mark.parametrize("kind", MAKERS)
def test_the_same_data_give_the_same_bytes(kind: str) -> None:
    assert MAKERS[kind]("tuned") == MAKERS[kind]("tuned")


@pytest.mark.parametrize("kind", MAKERS)
def test_any_name_is_safe(kind: str) -> None:
    made = MAKERS[kind](NASTY)
    ElementTree.fromstring(made.svg)
    assert "<b>" not in made.svg
    assert re.fullmatch(r"[\w-]+", made.name, re.ASCII) and len(made.name) < 120


@pytest.mark.parametrize("kind", MAKERS)
def test_a_page_gives_its_own_colours(kind: str) -> None:
    """Nothing of the palette stays behind, nor a size that keeps the drawing from shrinking."""
    themed = figures.themed(MAKERS[kind]("tuned").svg)
    root = ElementTree.fromstring(themed)
    assert "width" not in root.attrib and "height" not in root.attrib and root.attrib["viewBox"]
    tags = "".join(re.findall("<[^>]*>", themed))
    assert not set(re.findall("#[0-9a-f]{6}", tags)) & drawing.VARIABLES.keys()
    assert "var(--ink)" in tags
    assert "<!DOCTYPE" not in themed and "<style" not in themed


def test_a_name_that_looks_like_a_colour_stays() -> None:
    assert "#1c2127" in re.sub("<[^>]*>", "", figures.themed(MAKERS["differences"]("#1c2127").svg))


def test_css_has_every_colour_of_the_plots_for_light_pages() -> None:
    from self_instruct.loading import shipped

    light = shipped("evaluate/report.css").read_text("utf-8").split("@media")[0]
    given = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", light))
    assert {name: given.get(name) for name in drawing.VARIABLES.values()} == {
        name: colour for colour, name in drawing.VARIABLES.items()
    }


def test_alternative_texts_hold_the_numbers() -> None:
    assert MAKERS["differences"]("tuned").alt.split(": ")[1].startswith("tuned +12.5 [+10.2, +14.8], better; worse -2.0")
    assert "1 higher, 1 lower; from a (+1.0) to c (-8.0)" in figures.tasks(
        "base", "tuned", [("c", 9.0, 1.0), ("b", 5.0, 5.0), ("a", 1.0, 2.0)]
    ).alt  # fmt: skip
    assert "write story (5), give example (4), write poem (3)" in MAKERS["sunburst"]("tuned").alt
    assert "GPT3 1/0/64/187" in MAKERS["ratings"]("tuned").alt
    assert "mean 0.31, most between 0.00 and 0.50" in MAKERS["nearest_seed"]("x").alt


@pytest.mark.parametrize("count", [1, 2, figures.LABELLED_TASKS, figures.LABELLED_TASKS + 1, 400])
def test_few_tasks_are_named_and_of_many_the_extremes(count: int) -> None:
    made = figures.tasks("base", "tuned", [(f"task{n:03d}", float(n), 2.0 * n) for n in range(count)])
    named = {text for text in re.findall(r"task\d{3}", made.svg)}
    assert len(named) == (count if count <= figures.LABELLED_TASKS else 2 * figures.NAMED_EXTREMES)
    assert f"task{count - 1:03d}" in named


def test_one_point_without_an_interval() -> None:
    assert "tuned +3.0, undecided" in figures.differences([("tuned", replace(NONE))]).alt
    figures.groups([("only", 1, {"base": NONE})])
    figures.loss([(1, 2.0)])
    figures.nearest_seed([0.0, 1.0], [0], 0.0)
    figures.sunburst(TOP[:1], caption="Figure 3")
