"""The parity report: its arithmetic on numbers worked out by hand, and what it says where a column is absent."""

from __future__ import annotations

from self_instruct.train.parity import Column, Scores, markdown, report

PEFT = {
    "t1": Scores(logprobs=(-1.0, -2.0), likeliest=(5, 6)),
    "t2": Scores(logprobs=(-0.5, -0.25, -0.25), likeliest=(7, 8, 9)),
}
MERGED = {
    "t1": Scores(logprobs=(-1.1, -2.0), likeliest=(5, 4)),
    "t2": Scores(logprobs=(-0.5, -0.5, -0.25), likeliest=(7, 8, 9)),
}
FACTS = {"adapter_sha256": "ab" * 32, "base": "some/model", "merged_dtype": "bfloat16", "versions": {"torch": "2"}}


def test_sums_differences_and_shares() -> None:
    made = report(
        {
            "adapter": Column(scores=PEFT, dtype="float32"),
            "merged": Column(scores=MERGED, dtype="float32"),
            "vllm": Column(scores=PEFT, dtype="bfloat16"),
        },
        FACTS,
    )
    assert made["summary"]["merged"] == {
        "dtype": "float32", "tokens": 5, "largest_difference": 0.25, "mean_difference": 0.07, "same_likeliest": 0.8,
    }  # fmt: skip
    assert made["summary"]["vllm"]["largest_difference"] == 0 and made["summary"]["vllm"]["same_likeliest"] == 1
    first, second = made["prompts"]
    assert (first["id"], first["tokens"], first["logprob"]) == ("t1", 2, {"adapter": -3.0, "merged": -3.1, "vllm": -3.0})
    assert (first["largest_difference"]["merged"], first["same_likeliest"]["merged"]) == (0.1, 0.5)
    assert (second["largest_difference"]["merged"], second["same_likeliest"]["merged"]) == (0.25, 1.0)
    text = markdown(made)
    assert "| merged, in transformers | float32 | 5 | 0.250000 | 0.070000 | 80.0 % |" in text
    assert "stored in bfloat16, which rounds its weights" in text
    assert "| t1 | 2 | -3.0000 | -3.1000 | -3.0000 | 0.100000 | 50.0 % | 0.000000 | 100.0 % |" in text


def test_an_absent_column_says_why_and_has_no_numbers() -> None:
    columns = {
        "adapter": Column(scores=PEFT, dtype="float32"),
        "merged": Column(scores=PEFT, dtype="float32"),
        "vllm": Column(scores={}, absent="vLLM isn't installed"),
    }
    made = report(columns, FACTS | {"merged_dtype": "float32"})
    assert made["summary"]["vllm"] == {"absent": "vLLM isn't installed"}
    assert made["prompts"][0]["logprob"].keys() == {"adapter", "merged"}
    text = markdown(made)
    assert "| adapter in vLLM | absent: vLLM isn't installed | | | | |" in text
    assert "rounds" not in text
