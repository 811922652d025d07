"""vLLM's /metrics text: what is counted, what isn't, and counters that begin again."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from self_instruct.prometheus import Counters, parse, total


def exposed(tokens: float, *, running: float = 0.0) -> str:
    """What the client library that vLLM uses writes."""
    registry = CollectorRegistry()
    counter = Counter("vllm:tokens", "Tokens {of} all.", ["engine", "model_name"], registry=registry)
    counter.labels(engine="0", model_name='a "b} 7\n').inc(tokens)
    counter.labels(engine="1", model_name="x").inc(1)
    Gauge("vllm:running", "Requests.", ["engine"], registry=registry).labels(engine="0").set(running)
    Gauge("vllm:cache_usage_perc", "A share.", registry=registry).set(running / 10)
    Histogram("vllm:seconds", "Times.", registry=registry).observe(3)
    Counter("other", "Not vLLM's.", registry=registry).inc()
    return generate_latest(registry).decode()


def test_counters_and_gauges_are_summed_over_labels() -> None:
    assert parse(exposed(4, running=2)) == ({"vllm:tokens_total": 5.0}, {"vllm:running": 2.0, "vllm:cache_usage_perc": 0.2})


def test_a_value_that_is_no_number_is_an_error() -> None:
    with pytest.raises(ValueError, match="many"):
        parse("# TYPE vllm:x gauge\nvllm:x many\n")


def test_counters_count_from_the_start_and_over_a_restart_of_the_server() -> None:
    counters = Counters()
    counters.start(exposed(100))
    assert total([counters])["vllm:tokens_total"] == 0
    counters.update(exposed(130))
    assert total([counters])["vllm:tokens_total"] == 30
    counters.update(exposed(6))  # 7 with the other label: begun anew
    assert total([counters])["vllm:tokens_total"] == 37


def test_shares_are_averaged_and_the_rest_is_summed() -> None:
    servers = [Counters(), Counters()]
    for server, running in zip(servers, (2, 4), strict=True):
        server.start(exposed(1, running=running))
        server.update(exposed(2, running=running))
    values = total(servers)
    assert (values["vllm:tokens_total"], values["vllm:running"]) == (2.0, 6.0)
    assert values["vllm:cache_usage_perc"] == pytest.approx(0.3)
