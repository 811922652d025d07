"""The paper's own numbers: Wang et al. 2022, arXiv 2212.10560. Facts alone, each with the table, figure or section it is from.

Knows nothing of ours. The models are the paper's; `role` says which of ours stands for each (method.md, "Models in the
comparison"), none where it has no counterpart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

INSTRUCTIONS = 52_445  # Table 1
CLASSIFICATION = 11_584
INSTANCES = 82_439
EMPTY_INPUTS = 35_878
MEAN_WORDS = {"instruction": 15.9, "input": 12.7, "output": 18.9}
VERB_NOUN_PAIRS = 26_559  # section 3.1, of INSTRUCTIONS
TOP_SHARE = 0.14  # Figure 3: the top 20 root verbs with their top 4 nouns
TASKS, ITEMS = 119, 11_900  # section 5.1, Table 3: SuperNI's unseen tasks, the first 100 instances of each
RATED = 252  # section 5.4
QUALITY_SAMPLE = 200  # section 3.3


@dataclass(frozen=True, kw_only=True, slots=True)
class SuperNIRow:
    """A row of Table 3: ROUGE-L on the 119 tasks of SuperNI's test split, zero-shot."""

    block: str
    model: str
    rouge_l: float
    role: str | None


VANILLA = "vanilla LMs"
WITHOUT_SUPERNI = "instruction-tuned, without SuperNI"
WITH_SUPERNI = "instruction-tuned, with SuperNI"

TABLE_3 = (
    SuperNIRow(block=VANILLA, model="T5-LM 11B", rouge_l=25.7, role="t5_lm"),
    SuperNIRow(block=VANILLA, model="GPT3 175B", rouge_l=6.8, role="base"),
    SuperNIRow(block=WITHOUT_SUPERNI, model="T0 11B", rouge_l=33.1, role="t5_t0"),
    SuperNIRow(block=WITHOUT_SUPERNI, model="GPT3 + T0 training", rouge_l=37.9, role="t0"),
    SuperNIRow(block=WITHOUT_SUPERNI, model="GPT3 Self-Inst", rouge_l=39.9, role="self_inst"),
    SuperNIRow(block=WITHOUT_SUPERNI, model="InstructGPT-001", rouge_l=40.8, role="instruct"),
    SuperNIRow(block=WITH_SUPERNI, model="Tk-Instruct 11B", rouge_l=46.0, role="t5_superni"),
    SuperNIRow(block=WITH_SUPERNI, model="GPT3 + SuperNI training", rouge_l=49.5, role="superni"),
    SuperNIRow(block=WITH_SUPERNI, model="GPT3 Self-Inst + SuperNI training", rouge_l=51.6, role="self_inst_superni"),
)

# Table 2, in percent of QUALITY_SAMPLE instructions with one instance each.
TABLE_2 = (
    ("Does the instruction describe a valid task?", 92),
    ("Is the input appropriate for the instruction?", 79),
    ("Is the output a correct and acceptable response?", 58),
    ("All three", 54),
)

# Figure 6: how many of the 252 answers people rated A, B, C and D.
FIGURE_6 = (
    ("GPT3", (1, 0, 64, 187), "base"),
    ("GPT3 + T0", (44, 31, 59, 118), "t0"),
    ("GPT3 + SuperNI", (74, 30, 80, 68), "superni"),
    ("GPT3 Self-Inst + SuperNI", (83, 54, 84, 31), "self_inst_superni"),
    ("GPT3 Self-Inst", (112, 49, 66, 25), "self_inst"),
    ("InstructGPT-001", (128, 45, 61, 18), "instruct"),
    ("InstructGPT-002", (168, 40, 34, 10), None),
    ("InstructGPT-003", (192, 30, 28, 2), None),
)
LEVELS = (
    "A: valid and satisfying",
    "B: acceptable, minor errors",
    "C: relevant, significant errors",
    "D: irrelevant or invalid",
)

# Section 5.4 and its appendix: two raters on four levels, on A or B against C or D, and their rank correlation.
AGREEMENT = {"kappa": 0.57, "binary": 0.75, "spearman": 0.81}

# Figure 7: percent rated A by the number of instructions trained on; then with the outputs written by a stronger model.
FIGURE_7 = ((175, 31.0), (800, 36.9), (7_500, 43.7), (51_200, 44.4))
FIGURE_7_STRONGER = 54.4


def tree() -> dict[str, Any]:
    """All of it as plain JSON values, for the report: the tables and figures by their numbers in the paper."""
    return {
        "source": "Wang et al. 2022, arXiv 2212.10560",
        "table_1": {
            "instructions": INSTRUCTIONS,
            "classification": CLASSIFICATION,
            "other": INSTRUCTIONS - CLASSIFICATION,
            "classification_percent": round(100 * CLASSIFICATION / INSTRUCTIONS, 1),
            "instances": INSTANCES,
            "empty_inputs": EMPTY_INPUTS,
            "empty_inputs_percent": round(100 * EMPTY_INPUTS / INSTANCES, 1),
            "mean_words": MEAN_WORDS,
        },
        "table_2": [{"question": question, "percent": percent} for question, percent in TABLE_2],
        "table_2_sample": QUALITY_SAMPLE,
        "table_3": [{"block": row.block, "model": row.model, "rouge_l": row.rouge_l, "role": row.role} for row in TABLE_3],
        "table_3_size": {"tasks": TASKS, "items": ITEMS},
        "figure_3": {
            "pairs": VERB_NOUN_PAIRS,
            "share_percent": round(100 * VERB_NOUN_PAIRS / INSTRUCTIONS, 1),
            "top_share_percent": round(100 * TOP_SHARE),
        },
        "figure_6": [
            {
                "model": model,
                "counts": list(counts),
                "a_percent": round(100 * counts[0] / RATED, 1),
                "a_or_b_percent": round(100 * sum(counts[:2]) / RATED, 1),
                "role": role,
            }
            for model, counts, role in FIGURE_6
        ],
        "figure_6_levels": list(LEVELS),
        "figure_6_items": RATED,
        "agreement": AGREEMENT,
        "figure_7": [{"instructions": size, "percent": percent} for size, percent in FIGURE_7],
        "figure_7_stronger_percent": FIGURE_7_STRONGER,
    }
