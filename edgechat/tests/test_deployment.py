"""What deploy/ has for Kubernetes and for TLS: its schemas, and that it fits the application. No cluster is needed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml
from django.core.management import get_commands

from conftest import Api
from edgechat.settings import env

PROJECT = Path(__file__).parents[2]
FOLDER = PROJECT / "deploy" / "kubernetes"
KUSTOMIZATION: dict[str, Any] = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
APART = {"kustomization.yaml", "secret.example.yaml", "prometheus-adapter.yaml"}
COMPOSE: dict[str, Any] = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())
# The oldest version with all that is used, and the newest of the schemas.
VERSIONS = ("1.30", kubernetes_validate.latest_version())


def documents(*names: str) -> list[dict[str, Any]]:
    """The documents of these files of the kustomization, or of all."""
    texts = [(FOLDER / name).read_text() for name in names or KUSTOMIZATION["resources"]]
    return [document for text in texts for document in yaml.safe_load_all(text)]


def of_kind(kind: str) -> list[dict[str, Any]]:
    return [each for each in documents() if each["kind"] == kind]


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    """(name, template) of each pod."""
    for each in documents():
        if each["kind"] in ("Deployment", "Job"):
            yield each["metadata"]["name"], each["spec"]["template"]
        elif each["kind"] == "CronJob":
            yield each["metadata"]["name"], each["spec"]["jobTemplate"]["spec"]["template"]


def containers() -> Iterator[dict[str, Any]]:
    for _, pod in pods():
        yield from [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


@pytest.mark.parametrize("version", VERSIONS)
def test_each_manifest_follows_the_schema_of_kubernetes(version: str) -> None:
    for document in documents(*KUSTOMIZATION["resources"], "secret.example.yaml"):
        kubernetes_validate.validate(document, version, strict=True)


def test_a_manifest_with_an_unknown_field_does_not() -> None:
    [deployment] = of_kind("Deployment")
    deployment["spec"]["template"]["spec"]["gracePeriod"] = 5
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, VERSIONS[0], strict=True)


def test_the_kustomization_has_each_file_and_replaces_what_exists() -> None:
    assert set(KUSTOMIZATION["resources"]) == {path.name for path in FOLDER.glob("*.yaml")} - APART
    assert {each["image"] for each in containers()} == {"edgechat"}
    for replacement in KUSTOMIZATION["replacements"]:
        for target in replacement["targets"]:
            kind, name = target["select"]["kind"], target["select"]["name"]
            [found] = [each for each in of_kind(kind) if each["metadata"]["name"] == name]
            for path in target["fieldPaths"]:
                assert value_at(found, path) == "chat.example.com", path


def value_at(document: Any, path: str) -> Any:
    for part in re.findall(r"\[[^\]]+\]|[^.\[\]]+", path):
        if part.startswith("["):
            name, value = part.strip("[]").split("=")
            [document] = [each for each in document if each[name] == value]
        else:
            document = document[int(part) if part.isdigit() else part]
    return document


def test_each_container_has_limits_and_no_rights() -> None:
    for name, pod in pods():
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert spec["automountServiceAccountToken"] is False, name
        assert {each["name"] for each in spec["volumes"]} >= {"tmp"}, name
    for each in containers():
        assert each["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, each["name"]
        assert {*each["resources"]["limits"], *each["resources"]["requests"]} == {"cpu", "memory"}, each["name"]
        assert "/tmp" in {mount["mountPath"] for mount in each["volumeMounts"]}, each["name"]


def test_a_pod_may_stop_for_longer_than_its_replies_take_to_end_or_to_be_handed_over() -> None:
    [deployment] = of_kind("Deployment")
    spec = deployment["spec"]["template"]["spec"]
    pause = int(spec["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1])
    settings = dict(line.split("=", 1) for line in lines_of("settings.env"))
    # gunicorn.conf.py adds 5 s; test_packaging reads them from the file itself.
    assert pause + int(settings["GRACEFUL_TIMEOUT"]) + 5 < spec["terminationGracePeriodSeconds"]


def lines_of(name: str) -> list[str]:
    return [line for line in (FOLDER / name).read_text().splitlines() if line and not line.startswith("#")]


def test_probes_ask_for_what_is_there(anonymous: Api) -> None:
    [deployment] = of_kind("Deployment")
    app = deployment["spec"]["template"]["spec"]["containers"][0]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert anonymous.get(f"{anonymous.origin}{app[probe]['httpGet']['path']}").status_code == 200
    assert app["ports"][0]["containerPort"] == 8000


def test_variables_and_commands_exist() -> None:
    names = {line.split("=", 1)[0] for line in lines_of("settings.env")}
    [secret] = documents("secret.example.yaml")
    assert names | secret["stringData"].keys() <= env.names_read | {"WEB_CONCURRENCY"}
    texts = [" ".join([*each.get("command", []), *each.get("args", [])]) for each in containers()]
    texts += [str(service.get("command", "")) for service in COMPOSE["services"].values()]
    commands = {name for text in texts for name in re.findall(r"manage\.py ([a-z_]+)", text)}
    assert commands >= {"migrate", "ensure_transcript_indexes", "backup"}
    assert commands <= get_commands().keys()


def test_the_autoscaler_s_metrics_come_from_the_adapter() -> None:
    [scaler] = of_kind("HorizontalPodAutoscaler")
    asked = {each["pods"]["metric"]["name"] for each in scaler["spec"]["metrics"] if each["type"] == "Pods"}
    adapter = yaml.safe_load((FOLDER / "prometheus-adapter.yaml").read_text())
    [rule] = adapter["rules"]["custom"]
    assert (
        set(re.findall(r"edgechat_\w+", rule["seriesQuery"]))
        == asked
        == {
            "edgechat_admission_waiting",
            "edgechat_replies_running",
        }
    )


def test_labels_of_pods_are_those_that_select_them() -> None:
    [deployment] = of_kind("Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    selectors = [deployment["spec"]["selector"]["matchLabels"], of_kind("Service")[0]["spec"]["selector"]]
    selectors += [each["spec"]["selector"]["matchLabels"] for each in of_kind("PodDisruptionBudget")]
    assert all(selector == labels for selector in selectors)
    [policy] = of_kind("NetworkPolicy")
    chosen = policy["spec"]["podSelector"]["matchLabels"].items()
    assert all(chosen <= pod["metadata"]["labels"].items() for _, pod in pods())


def test_proxies_pass_streams_on_at_once() -> None:
    caddy = (PROJECT / "deploy/caddy/Caddyfile").read_text()
    assert "reverse_proxy app:8000" in caddy
    assert re.search(r"^\s+flush_interval -1$", caddy, re.MULTILINE)
    [ingress] = of_kind("Ingress")
    assert ingress["metadata"]["annotations"]["nginx.ingress.kubernetes.io/proxy-buffering"] == "off"


def test_each_service_of_compose_has_limits() -> None:
    for name, service in COMPOSE["services"].items():
        assert service["deploy"]["resources"]["limits"].keys() == {"cpus", "memory", "pids"}, name
    assert COMPOSE["services"]["caddy"]["profiles"] == ["tls"]


def test_the_image_has_no_compiler() -> None:
    dockerfile = (PROJECT / "Dockerfile").read_text()
    assert re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE) == ["python:3.12-slim"] * 2
    assert "apt-get" not in dockerfile
    assert dockerfile.count("pip install") == 1  # in the first stage
