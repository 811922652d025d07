"""The two kinds of request that lm-evaluation-harness sends to `vllm serve`, and the commands of docs/harness.md.

The bodies and what is read of the answers are those of its model `local-completions` (0.4.13, lm_eval/models:
openai_completions.py, api_models.py). The harness isn't installed here.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from self_instruct import template
from self_instruct.models import resolve
from self_instruct.settings import Settings
from self_instruct.train import merge
from serving import Process

pytestmark = pytest.mark.contract
PAGE = Path(__file__).resolve().parents[2] / "docs" / "harness.md"
CONTEXT = "What do bees make?\n\nOutput:"
CHOICES = (" honey", " a loaf of bread", " wool", " the sound of rain\non a roof")


@dataclass
class Reference:
    """The model in transformers, base and adapter, in float32."""

    network: Any
    tokenizer: Any

    def ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False).input_ids)

    def score(self, ids: Sequence[int], begin: int, *, tuned: bool) -> tuple[float, bool]:
        """Sum of the log-probabilities of ids[begin:], and whether each is its place's likeliest."""
        scores = self._run(ids, tuned=tuned).log_softmax(-1)[begin - 1 : -1]
        wanted = ids[begin:]
        return sum(float(row[i]) for row, i in zip(scores, wanted, strict=True)), scores.argmax(-1).tolist() == list(wanted)

    def continued(self, ids: Sequence[int], count: int, *, tuned: bool) -> list[int]:
        """The `count` likeliest next ids, one after the other."""
        found = list(ids)
        for _ in range(count):
            found.append(int(self._run(found, tuned=tuned)[-1].argmax()))
        return found[len(ids) :]

    def _run(self, ids: Sequence[int], *, tuned: bool) -> Any:
        import torch

        with torch.inference_mode():
            if tuned:
                return self.network(torch.tensor([ids])).logits[0]
            with self.network.disable_adapter():
                return self.network(torch.tensor([ids])).logits[0]


@pytest.fixture(scope="module")
def reference(embedded_model: Path, random_adapter: Path) -> Reference:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = AutoModelForCausalLM.from_pretrained(embedded_model, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(embedded_model)
    return Reference(PeftModel.from_pretrained(base, random_adapter).eval(), tokenizer)


def post(url: str, body: dict[str, Any]) -> Any:
    headers = {"Content-Type": "application/json", "Authorization": "Bearer "}  # the harness' header where no key is set
    asked = urllib.request.Request(f"{url}/v1/completions", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(asked, timeout=300) as answer:
        return json.load(answer)


def scoring(model: str, prompt: Any) -> dict[str, Any]:
    """`loglikelihood`: what each token of the prompt was worth; one new token that is left out again."""
    return {"model": model, "prompt": prompt, "temperature": 0, "max_tokens": 1, "logprobs": 1, "seed": 1234, "echo": True}


def read(choice: Any, begin: int) -> tuple[float, bool]:
    """The sum over a choice's tokens and whether greedy decoding would have said it, as the harness reads them."""
    scores, tops = choice["logprobs"]["token_logprobs"][begin:-1], choice["logprobs"]["top_logprobs"][begin:-1]
    return sum(scores), all(score == max(top.values()) for score, top in zip(scores, tops, strict=True))


@pytest.fixture(params=["base", "adapter"])
def asked(request: pytest.FixtureRequest, vllm_serve: Process, random_adapter: Path) -> tuple[str, bool]:
    """The name that is served, and whether it is the adapter's."""
    tuned = request.param == "adapter"
    return (random_adapter.name if tuned else vllm_serve.model.path), tuned


def test_choices_are_scored_as_transformers_scores_them(vllm_serve: Process, reference: Reference, asked: tuple[str, bool]) -> None:
    """Eight at once, as num_concurrent=8, and each twice: scores must be whole when the prefix cache knows the prompt."""
    model, tuned = asked
    context = reference.ids(CONTEXT)
    rows = [context + reference.ids(choice) for choice in CHOICES] + [context + reference.continued(context, 3, tuned=tuned)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda row: post(vllm_serve.url, scoring(model, [row])), rows * 2))
    found = [read(answer["choices"][0], len(context)) for answer in answers]
    expected = [reference.score(row, len(context), tuned=tuned) for row in rows]
    assert [score for score, _ in found] == pytest.approx([score for score, _ in expected] * 2, abs=1e-3)
    assert [greedy for _, greedy in found] == [greedy for _, greedy in expected] * 2
    assert [greedy for _, greedy in expected][-1] and not all(greedy for _, greedy in expected)
    for row, answer in zip(rows * 2, answers, strict=True):
        (choice,) = answer["choices"]
        marks = choice["logprobs"]
        assert len(marks["tokens"]) == len(marks["token_logprobs"]) == len(marks["top_logprobs"]) == len(row) + 1
        assert marks["token_logprobs"][0] is None
        assert "".join(marks["tokens"][:-1]) == reference.tokenizer.decode(row)
        assert choice["text"].startswith(reference.tokenizer.decode(row))


def test_prompts_of_one_request_come_back_by_index(vllm_serve: Process, reference: Reference) -> None:
    """--batch_size above 1; then tokenized_requests=False, where the prompt is text."""
    model = vllm_serve.model.path
    context = reference.ids(CONTEXT)
    rows = [context + reference.ids(choice) for choice in CHOICES]
    answer = post(vllm_serve.url, scoring(model, rows))
    choices = sorted(answer["choices"], key=lambda choice: choice["index"])
    assert [choice["index"] for choice in choices] == [0, 1, 2, 3]
    expected = [reference.score(row, len(context), tuned=False) for row in rows]
    assert [read(choice, len(context))[0] for choice in choices] == pytest.approx([score for score, _ in expected], abs=1e-3)
    text = post(vllm_serve.url, scoring(model, CONTEXT + CHOICES[0]))["choices"][0]
    assert read(text, len(context))[0] == pytest.approx(expected[0][0], abs=1e-3)


def test_an_answer_ends_at_its_stop_and_at_its_limit(vllm_serve: Process, reference: Reference, asked: tuple[str, bool]) -> None:
    model, tuned = asked
    context = reference.ids(CONTEXT)
    ids = reference.continued(context, 12, tuned=tuned)
    whole = reference.tokenizer.decode(ids)
    body = {"model": model, "prompt": [context], "max_tokens": 12, "temperature": 0, "seed": 1234}
    (free,) = post(vllm_serve.url, body | {"stop": []})["choices"]
    assert (free["index"], free["text"], free["finish_reason"]) == (0, whole, "length")
    stop = whole[len(whole) // 2 :][:4]
    (cut,) = post(vllm_serve.url, body | {"stop": ["\n\n\n\n", stop]})["choices"]
    assert (cut["text"], cut["finish_reason"]) == (whole[: whole.index(stop)], "stop")


def test_the_page_serves_with_flags_that_vllm_has(installed_vllm: None) -> None:
    """Read from vLLM's source: its parser takes 15 s of CPU to import."""
    spec = importlib.util.find_spec("vllm")
    assert spec is not None and spec.origin is not None
    folder = Path(spec.origin).parent
    known = {"--model"}
    for name in ("engine/arg_utils.py", "entrypoints/launchers/cli_args.py"):
        for node in ast.walk(ast.parse((folder / name).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("--"):
                known.add(node.value)
            elif isinstance(node, ast.ClassDef) and node.name.endswith("FrontendArgs"):
                fields = [item.target for item in node.body if isinstance(item, ast.AnnAssign)]
                known |= {f"--{field.id.replace('_', '-')}" for field in fields if isinstance(field, ast.Name)}
    served = [command for command in commands() if "vllm serve" in command or "api_server.entry" in command]
    assert len(served) >= 3
    for command in served:
        flags = re.findall(r"(?<=\s)--[a-z-]+", command)
        assert flags
        assert [flag for flag in flags if flag not in known and f"--{flag.removeprefix('--no-')}" not in known] == []


def test_the_page_names_what_train_merge_writes(tiny_model: Path) -> None:
    run = "runs/demo"
    planned = merge.Plan(
        stage=Path(run, "train"),
        settings=Settings(),
        model=resolve(Settings.model_validate({"model": {"name": str(tiny_model)}}).model),
        manifest={},
        digest="",
        dtype="float32",
        encoder_decoder=False,
        vllm_dtype="float32",
        vllm_absent="",
    )
    page = "\n".join(commands())
    named = {path.rstrip("/") for path in re.findall(rf"{run}/[\w/]+", page)}
    assert named == {str(planned.merged), str(planned.adapter)}
    assert f"train merge {run}" in page


def test_the_page_asks_as_our_evaluation_does() -> None:
    tasks = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)]
    rows = [json.loads(line) for line in re.findall(r"^\{.*\}$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)]
    assert [task["task"] for task in tasks] == ["answer", "choice"]
    answer, choice = tasks
    assert filled(answer["doc_to_text"], rows[0]) == template.evaluation_prompt(rows[0]["instruction"], rows[0]["input"])
    assert filled(choice["doc_to_text"], rows[1]) == template.evaluation_prompt(rows[1]["question"], "")
    assert choice["target_delimiter"] == " "  # a form that ends in a colon is continued with one space
    asked = next(command for command in commands() if "lm_eval run" in command)
    assert "--tasks choice,answer" in asked
    assert "--apply_chat_template" not in asked


def commands() -> list[str]:
    """The commands in the page's indented blocks, each on one line."""
    lines = re.findall(r"^    (.*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return [re.sub(r"\s+", " ", line) for line in re.sub(r"\\\n", " ", "\n".join(lines)).splitlines()]


def filled(form: str, row: dict[str, Any]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda name: str(row[name[1]]), form)
