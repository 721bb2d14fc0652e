"""What deploy/ has for Kubernetes and for TLS: its schemas, and that it fits the application. No cluster is needed."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml
from django.core.management import get_commands

from conftest import Api
from edgechat.local.metrics_page import exported_name
from edgechat.metrics import catalog
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


def test_the_secret_has_each_setting_that_is_one() -> None:
    """A new setting that is a secret, or that production cannot do without, must be in the example."""
    older = {"SECRET_KEY", "POSTGRES_PASSWORD"}  # names of the older backends
    secret_names = re.compile(r"(SECRET|PASSWORD|TOKEN|KEY|KEY_ID|DSN)$")
    secrets = {name for name in env.names_read - older if secret_names.search(name)}
    with_passwords = {"DATABASE_URL", "MONGODB_URL", "REDIS_URL", "EMAIL_URL"}
    page = (PROJECT / "docs/settings.md").read_text()
    required = set(re.findall(r"^\| `(\w+)` \| required \|", page, re.MULTILINE))
    as_files = {name.removesuffix("_FILE") for name in re.findall(r"`([A-Z_0-9]+_FILE)`", page)} - {
        "ENV",
        "CREDENTIALS",
    }
    [secret] = documents("secret.example.yaml")
    assert secret["stringData"].keys() == secrets | with_passwords | required | (as_files - older) | {
        "FIRST_SUPERUSER_EMAIL"
    }


def test_the_settings_have_what_pods_behind_an_ingress_need() -> None:
    settings = dict(line.split("=", 1) for line in lines_of("settings.env"))
    assert settings["ENVIRONMENT"] == "production"
    assert settings["PUBLIC_URL"] == f"https://{settings['ALLOWED_HOSTS']}"
    assert settings.keys() >= {"TRUSTED_PROXY_COUNT", "WEB_CONCURRENCY", "GRACEFUL_TIMEOUT", "S3_BUCKET"}
    optional = [
        line[1:].partition("=")[0] for line in (FOLDER / "settings.env").read_text().splitlines() if line[:1] == "#"
    ]
    assert {name for name in optional if name.isupper()} <= env.names_read


def test_the_autoscaler_s_metrics_come_from_the_adapter_and_from_the_pods() -> None:
    [scaler] = of_kind("HorizontalPodAutoscaler")
    asked = {each["pods"]["metric"]["name"] for each in scaler["spec"]["metrics"] if each["type"] == "Pods"}
    adapter = yaml.safe_load((FOLDER / "prometheus-adapter.yaml").read_text())
    [rule] = adapter["rules"]["custom"]
    assert set(re.findall(r"edgechat_\w+", rule["seriesQuery"])) == asked
    gauges = {
        exported_name(each)
        for each in vars(catalog).values()
        if getattr(each, "_type", "") == "gauge" and hasattr(each, "_documentation")
    }
    assert asked == {"edgechat_admission_waiting", "edgechat_replies_running"} <= gauges
    # The labels by which the adapter finds the pod are those that Prometheus adds.
    [job] = yaml.safe_load((PROJECT / "deploy/prometheus/kubernetes.yml").read_text())["scrape_configs"]
    [elsewhere] = yaml.safe_load((PROJECT / "deploy/prometheus/prometheus.yml").read_text())["scrape_configs"]
    assert (job["job_name"], job["authorization"]) == (elsewhere["job_name"], elsewhere["authorization"])
    added = {each["target_label"] for each in job["relabel_configs"] if "target_label" in each}
    assert added == set(rule["resources"]["overrides"]) == set(re.findall(r'(\w+)!=""', rule["seriesQuery"]))
    [kept] = [each["regex"] for each in job["relabel_configs"] if each.get("action") == "keep"]
    [deployment] = of_kind("Deployment")
    template = deployment["spec"]["template"]
    component = template["metadata"]["labels"]["app.kubernetes.io/component"]
    assert kept == f"{component};{template['spec']['containers'][0]['ports'][0]['name']}"
    assert job["kubernetes_sd_configs"][0]["namespaces"]["names"] == [KUSTOMIZATION["namespace"]]


STORE, PUBLIC, NODE, OTHER_POD = "10.1.2.3", "142.250.1.1", "169.254.169.254", "172.16.5.5"
NEEDED = {
    ("app", STORE, 5432),
    ("app", STORE, 6432),
    ("app", STORE, 27017),
    ("app", STORE, 6379),
    ("app", PUBLIC, 80),  # pages that users name
    ("app", PUBLIC, 443),  # the model, the bucket
    ("app", PUBLIC, 465),
    ("app", PUBLIC, 587),
    ("app", "monitoring", 4318),
    ("migrate", STORE, 5432),
    ("migrate", STORE, 27017),
    ("backup", STORE, 5432),
    ("backup", STORE, 27017),
    ("backup", PUBLIC, 443),
    *((name, "kube-system", 53) for name in ("app", "migrate", "backup")),
}
REFUSED = {
    ("app", NODE, 80),  # the cloud's address of credentials
    ("app", STORE, 443),  # the cluster's own API
    ("app", STORE, 22),
    ("app", OTHER_POD, 8000),
    ("app", PUBLIC, 5432),
    ("app", "monitoring", 9090),
    ("migrate", PUBLIC, 443),
    ("migrate", "monitoring", 4318),
    ("backup", PUBLIC, 80),
    ("backup", NODE, 80),
}


def may_reach(component: str, target: str, port: int) -> bool:
    """Whether the policies let a pod connect to an address, or to a namespace. Rules are added up."""
    labels = {"app.kubernetes.io/name": "edgechat", "app.kubernetes.io/component": component}.items()
    return any(
        any(port == each["port"] for each in rule["ports"]) and any(includes(peer, target) for peer in rule["to"])
        for policy in of_kind("NetworkPolicy")
        if policy["spec"]["podSelector"]["matchLabels"].items() <= labels
        for rule in policy["spec"].get("egress", [])
    )


def includes(peer: dict[str, Any], target: str) -> bool:
    if "ipBlock" in peer:
        if not target[0].isdigit():
            return False
        address = ipaddress.ip_address(target)
        block = peer["ipBlock"]
        return address in ipaddress.ip_network(block["cidr"]) and not any(
            address in ipaddress.ip_network(each) for each in block.get("except", [])
        )
    return bool(peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] == target)


def test_pods_reach_what_they_need_and_nothing_else() -> None:
    assert [each for each in NEEDED if not may_reach(*each)] == []
    assert [each for each in REFUSED if may_reach(*each)] == []
    [secret] = documents("secret.example.yaml")
    for name, port in {"DATABASE_URL": 5432, "MONGODB_URL": 27017, "REDIS_URL": 6379}.items():
        assert f":{port}/" in secret["stringData"][name]
    assert secret["stringData"]["EMAIL_URL"].endswith(":587")
    policies = of_kind("NetworkPolicy")
    [everywhere] = [each for each in policies if each["metadata"]["name"] == "edgechat"]
    assert everywhere["spec"]["policyTypes"] == ["Ingress", "Egress"]
    # Only the app is reached by others.
    reached = [each["metadata"]["name"] for each in policies if each["spec"].get("ingress")]
    assert reached == ["edgechat-app"]


def test_labels_of_pods_are_those_that_select_them() -> None:
    [deployment] = of_kind("Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    selectors = [deployment["spec"]["selector"]["matchLabels"], of_kind("Service")[0]["spec"]["selector"]]
    selectors += [each["spec"]["selector"]["matchLabels"] for each in of_kind("PodDisruptionBudget")]
    assert all(selector == labels for selector in selectors)
    policies = [each["spec"]["podSelector"]["matchLabels"] for each in of_kind("NetworkPolicy")]
    all_labels = [pod["metadata"]["labels"] for _, pod in pods()]
    assert all(any(chosen.items() <= each.items() for each in all_labels) for chosen in policies)
    assert all(policies[0].items() <= each.items() for each in all_labels)


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
    _, packages, runtime = re.split(r"^FROM ", dockerfile, flags=re.MULTILINE)
    assert (packages.count("bin/pip install"), runtime.count("pip install")) == (2, 0)
    # The list of packages is in the folder that the image takes over, and the program that makes it is not.
    assert "--output-file /opt/venv/sbom.cdx.json" in packages
    assert "COPY --from=packages /opt/venv /opt/venv" in runtime
    assert "/opt/sbom" not in runtime
