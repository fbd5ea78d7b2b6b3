"""The Helm chart: linted and rendered by Helm's own code, and held against Kubernetes' schemas."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import helm_python as helm
import kubernetes_validate
import pytest
import yaml
from helm_python.errors import HelmError

from deploying import DEPLOY

CHART = DEPLOY / "helm" / "reelmill"
LEAST = {"storageUrl": "s3://videos?region=eu-central-1"}
ALL = {
    **LEAST,
    "publicUrl": "https://video.example",
    "settings": {"REELMILL_LOG_LEVEL": "debug", "REELMILL_MAX_RETRIES": 5},
    "dataClaim": "reelmill-data",
    "workerSecret": "reelmill-gemini",
    "imagePullSecrets": [{"name": "registry"}],
    "ingress": {"enabled": True, "className": "nginx", "tlsSecret": "tls", "annotations": {"a.example/b": "c"}},
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "api": {"serviceAccountAnnotations": {"eks.amazonaws.com/role-arn": "arn"}, "nodeSelector": {"disk": "ssd"}},
    "worker": {"queues": "cpu,io", "tolerations": [{"operator": "Exists"}], "podAnnotations": {"a.example/b": "c"}},
}  # fmt: skip
#: Kinds that others' operators bring; Kubernetes has no schema for them.
OTHERS = {"ScaledObject", "ServiceMonitor"}


def rendered(values: dict[str, Any], release: str = "reelmill") -> list[dict[str, Any]]:
    """Return the chart's objects."""
    with helm.Chart.load(CHART) as chart:
        files = chart.render(values, name=release, namespace="video")
    texts = [text for name, text in files.items() if not name.endswith("NOTES.txt")]
    return [one for text in texts for one in yaml.safe_load_all(text) if one]


def one(objects: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    (found,) = [it for it in objects if (it["kind"], it["metadata"]["name"]) == (kind, name)]
    return found


def container(objects: list[dict[str, Any]], part: str) -> dict[str, Any]:
    found: dict[str, Any] = one(objects, "Deployment", f"reelmill-{part}")["spec"]["template"]["spec"]["containers"][0]
    return found


@pytest.mark.req("B-08")
def test_helm_lints_the_chart() -> None:
    told = helm.lint(str(CHART), LEAST, strict=True)
    assert not told["errors"]
    assert {message["error"] for message in told["messages"]} <= {"icon is recommended"}


@pytest.mark.req("B-08")
@pytest.mark.parametrize(
    ("values", "kind"), list(product([LEAST, ALL], ["hpa", "keda", "none"])), ids=lambda value: str(value)[:4]
)
def test_kubernetes_takes_what_is_rendered(values: dict[str, Any], kind: str) -> None:
    objects = rendered({**values, "autoscaling": {"kind": kind}})
    names = [(it["kind"], it["metadata"]["name"]) for it in objects]
    assert len(names) == len(set(names))
    for it in objects:
        if it["kind"] not in OTHERS:
            for version in ("1.30.0", "1.37.0"):
                kubernetes_validate.validate(it, version, strict=True)


@pytest.mark.parametrize(
    "wrong",
    [
        {"storageUrl": ""}, {"storageUrl": "https://bucket"}, {"nosuch": 1}, {"existingSecret": ""},
        {"worker": {"concurrency": 0}}, {"worker": {"queues": "cpu, io"}}, {"autoscaling": {"kind": "magic"}},
        {"autoscaling": {"kind": "hpa", "minReplicas": 0}}, {"settings": {"LOG_LEVEL": "debug"}},
        {"publicUrl": "video.example"},
    ],
    ids=str,
)  # fmt: skip
def test_wrong_values_are_refused(wrong: dict[str, Any]) -> None:
    with helm.Chart.load(CHART) as chart, pytest.raises(HelmError):
        chart.validate_schema({**LEAST, **wrong})


@pytest.mark.req("B-08")
def test_workers_are_scaled_by_the_queue() -> None:
    scaler = one(rendered(ALL), "HorizontalPodAutoscaler", "reelmill-worker")["spec"]
    assert scaler["scaleTargetRef"]["name"] == "reelmill-worker"
    (metric,) = scaler["metrics"]
    (rule,) = yaml.safe_load((DEPLOY / "helm" / "prometheus-adapter.yaml").read_text())["rules"]["external"]
    assert metric["external"]["metric"]["name"] == rule["name"]["as"]
    assert metric["external"]["metric"]["selector"]["matchExpressions"][0]["values"] == ["cpu", "io"]
    # The number of workers is the scaler's, so that an upgrade doesn't set it back.
    assert "replicas" not in one(rendered(ALL), "Deployment", "reelmill-worker")["spec"]

    keda = one(rendered({**ALL, "autoscaling": {"kind": "keda", "minReplicas": 0}}), "ScaledObject", "reelmill-worker")
    query = keda["spec"]["triggers"][0]["metadata"]["query"]
    assert query == 'sum(max by (queue, status) (reelmill_queue_steps{namespace="video",queue=~"cpu|io"}))'
    assert rule["seriesQuery"].startswith("reelmill_queue_steps{")
    assert keda["spec"]["minReplicaCount"] == 0


@pytest.mark.req("E-11")
def test_pods_have_no_privileges_and_secrets_come_from_secrets() -> None:
    objects = rendered(ALL)
    for it in objects:
        if it["kind"] not in ("Deployment", "Job"):
            continue
        pod = it["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"]
        assert not pod["automountServiceAccountToken"]
        (only,) = pod["containers"]
        assert only["securityContext"]["readOnlyRootFilesystem"]
        assert only["securityContext"]["capabilities"]["drop"] == ["ALL"]
        assert {"secretRef": {"name": "reelmill"}} in only["envFrom"]
        named = {variable["name"] for variable in only.get("env", ())}
        assert not named & {"REELMILL_DATABASE_URL", "REELMILL_BROKER_URL", "GEMINI_API_KEY"}
    gemini = {"secretRef": {"name": "reelmill-gemini"}}
    assert gemini in container(objects, "worker")["envFrom"]
    assert gemini not in container(objects, "api")["envFrom"]


@pytest.mark.req("D-06")
def test_the_schema_is_upgraded_before_any_new_pod() -> None:
    job = one(rendered(LEAST), "Job", "reelmill-migrate")
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert job["spec"]["template"]["spec"]["containers"][0]["args"] == ["database", "create"]
    assert not [it for it in rendered({**LEAST, "migrate": False}) if it["kind"] == "Job"]


def test_running_steps_have_time_to_end() -> None:
    objects = rendered({**LEAST, "worker": {"graceSeconds": 300}})
    pod = one(objects, "Deployment", "reelmill-worker")["spec"]["template"]["spec"]
    env = {variable["name"]: variable["value"] for variable in pod["containers"][0]["env"]}
    assert env["REELMILL_GRACE_S"] == "300"
    assert pod["terminationGracePeriodSeconds"] > 300


def test_what_selects_pods_selects_them() -> None:
    objects = rendered(ALL)
    labels = {
        part: one(objects, "Deployment", f"reelmill-{part}")["spec"]["template"]["metadata"]["labels"]
        for part in ("api", "worker")
    }
    assert one(objects, "Service", "reelmill")["spec"]["selector"].items() <= labels["api"].items()
    assert not one(objects, "Service", "reelmill")["spec"]["selector"].items() <= labels["worker"].items()
    metrics = one(objects, "Service", "reelmill-metrics")
    assert all(metrics["spec"]["selector"].items() <= told.items() for told in labels.values())
    monitor = one(objects, "ServiceMonitor", "reelmill")["spec"]
    matching = [
        it["metadata"]["name"]
        for it in objects
        if it["kind"] == "Service" and monitor["selector"]["matchLabels"].items() <= it["metadata"]["labels"].items()
    ]
    assert matching == ["reelmill-metrics"]
    assert one(rendered(LEAST, "prod"), "Deployment", "prod-reelmill-api")


def test_the_chart_and_the_package_have_one_version() -> None:
    from reelmill import __version__

    told = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert told["appVersion"] == __version__


def test_every_value_is_in_the_schema() -> None:
    assert Path(CHART / "values.schema.json").is_file()
    with helm.Chart.load(CHART) as chart:
        chart.validate_schema(LEAST)
