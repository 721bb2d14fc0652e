"""deploy/prometheus with a real Prometheus: its own checks of the files, its tests of the alerts, and a running one.

`make deploy-test` runs these, because Prometheus comes from the system's packages.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import Person
from edgechat.local.prometheus import Prometheus, promtool
from edgechat.local.web import WebServer
from edgechat.metrics.tests.test_deploy import ALERTS, PANELS, exported, expressions
from edgechat.tests.web_settings import METRICS_TOKEN

PROJECT = Path(__file__).parents[3]
FOLDER = PROJECT / "deploy" / "prometheus"
ADAPTER = yaml.safe_load((PROJECT / "deploy/kubernetes/prometheus-adapter.yaml").read_text())
POD = {"namespace": "edgechat", "pod": "edgechat-1"}


def test_the_rules_are_valid_and_their_tests_pass() -> None:
    assert promtool("check", "rules", "alerts.yml", folder=FOLDER)[0] == 0
    code, told = promtool("test", "rules", "alerts_test.yml", folder=FOLDER)
    assert code == 0, told
    assert "SUCCESS" in told


def test_the_configuration_is_valid_with_its_token(tmp_path: Path) -> None:
    copy = shutil.copytree(FOLDER, tmp_path / "prometheus")
    assert promtool("check", "config", "prometheus.yml", folder=copy)[0] == 1  # the token is missing
    (copy / "edgechat-token").write_text(METRICS_TOKEN)
    code, told = promtool("check", "config", "prometheus.yml", folder=copy)
    assert code == 0, told


def test_a_rule_that_never_fires_fails_its_test(tmp_path: Path) -> None:
    copy = shutil.copytree(FOLDER, tmp_path / "prometheus")
    text = (copy / "alerts.yml").read_text()
    for before, after in (
        ("edgechat_requests_shed_total[5m])) > 0", "edgechat_requests_shed[5m])) > 0"),
        ("> 0.05", "> 0.5"),
    ):
        assert before in text
        (copy / "alerts.yml").write_text(text.replace(before, after))
        assert promtool("test", "rules", "alerts_test.yml", folder=copy)[0] == 1


@pytest.fixture
def web(start_web: Callable[..., WebServer]) -> WebServer:
    """It has the metrics of a deployment: with a token only."""
    return start_web(workers=2, METRICS_TOKEN=METRICS_TOKEN, ENVIRONMENT="production", JWT_SECRET="x" * 32)


@pytest.fixture
def prometheus(web: WebServer, data_dir: Path) -> Iterator[Prometheus]:
    """deploy/'s configuration with another target, shorter intervals, and another job without the right token."""
    copy = shutil.copytree(FOLDER, data_dir / "configuration")
    (copy / "edgechat-token").write_text(METRICS_TOKEN)
    (copy / "wrong-token").write_text("wrong")
    config = yaml.safe_load((copy / "prometheus.yml").read_text())
    config["global"] |= {"scrape_interval": "1s", "evaluation_interval": "1s"}
    [job] = config["scrape_configs"]
    job["static_configs"] = [{"targets": [web.address], "labels": POD}]
    stranger = {"credentials_file": "wrong-token"}
    config["scrape_configs"].append({**job, "job_name": "stranger", "authorization": stranger})
    (copy / "prometheus.yml").write_text(yaml.safe_dump(config))
    server = Prometheus(copy / "prometheus.yml", data_dir)
    server.start()
    yield server
    server.kill()


def names(prometheus: Prometheus) -> set[str]:
    return set(prometheus.ask("label/__name__/values"))


def test_it_reads_the_metrics_evaluates_the_rules_and_raises_an_alert(
    web: WebServer, prometheus: Prometheus, register: Callable[..., Person], eventually: Callable[..., Any]
) -> None:
    alice = register("alice", web.url)
    assert alice.say(alice.new_conversation(), "Hello").status_code == 200

    def targets() -> dict[str, Any]:
        return {each["labels"]["job"]: each for each in prometheus.ask("targets")["activeTargets"]}

    eventually(
        lambda: {job: each["health"] for job, each in targets().items()} == {"edgechat": "up", "stranger": "down"}
    )
    assert "404" in targets()["stranger"]["lastError"]

    # Each metric that is declared arrives, with its kind.
    described = prometheus.ask("metadata")
    kinds = {name: each[0]["type"] for name, each in described.items()}
    assert {"counter", "gauge", "histogram"} <= set(kinds.values())
    eventually(lambda: "edgechat_reply_duration_seconds_count" in names(prometheus))
    stored = names(prometheus)
    assert len(stored & exported().keys()) > 45, exported().keys() - stored  # the others begin with a first event

    # Each rule was evaluated without an error, and nothing is wrong.
    def rules() -> list[dict[str, Any]]:
        return [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]

    eventually(lambda: all(rule["health"] == "ok" for rule in rules()))
    assert {rule["name"] for rule in rules()} == {alert["alert"] for alert in ALERTS}
    # A rule that was evaluated before the first answer waits for its minute, until the next evaluation.
    eventually(lambda: {rule["state"] for rule in rules()} == {"inactive"})

    # Each query of the dashboard is answered, and those of ordinary requests have values.
    assert len(PANELS) > 10
    for where, query in expressions():
        assert "result" in prometheus.ask("query", {"query": query}), where
    requests = prometheus.ask("query", {"query": 'sum(edgechat_http_requests_total{job="edgechat",status="200"})'})
    assert float(requests["result"][0]["value"][1]) >= 1

    # What the autoscaler asks for, in the words of the adapter.
    [rule] = ADAPTER["rules"]["custom"]
    series = prometheus.ask("series", {"match[]": rule["seriesQuery"]})
    found = {each["__name__"] for each in series}
    assert found == set(re.findall(r"edgechat_\w+", rule["seriesQuery"]))
    for name in found:
        query = rule["metricsQuery"].replace("<<.Series>>", name).replace("<<.GroupBy>>", "pod")
        query = query.replace("<<.LabelMatchers>>", f'namespace="{POD["namespace"]}",pod=~"{POD["pod"]}"')
        [value] = prometheus.ask("query", {"query": query})["result"]
        assert value["metric"] == {"pod": POD["pod"]}

    web.kill()
    eventually(lambda: "EdgeChatIsDown" in {each["labels"]["alertname"] for each in prometheus.ask("alerts")["alerts"]})
    [alert] = [each for each in prometheus.ask("alerts")["alerts"] if each["labels"]["alertname"] == "EdgeChatIsDown"]
    assert alert["annotations"]["summary"] == f"EdgeChat does not answer at {web.address}"
