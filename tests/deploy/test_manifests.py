"""The files in `deploy/`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.project

DEPLOY = Path(__file__).parent.parent.parent / "deploy"


def load(name: str) -> Any:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    return yaml.safe_load((DEPLOY / name).read_text())


@pytest.mark.parametrize("name", ["autoscaler", "deployment", "disruption", "service"])
def test_manifests_fit_kubernetes_schema(name: str) -> None:
    """Kubernetes takes each manifest, without a field that it does not know."""
    validate = pytest.importorskip(
        "kubernetes_validate", reason="kubernetes-validate is not installed"
    ).validate
    validate(load(f"kubernetes/{name}.yaml"), "1.31", strict=True)


def test_pods_get_the_time_that_gunicorn_needs() -> None:
    """The grace period is longer than the preStop pause, gunicorn's own and the loops' cleanup."""
    pod = load("kubernetes/deployment.yaml")["spec"]["template"]["spec"]
    graceful = int(_setting("graceful_timeout"))
    assert pod["terminationGracePeriodSeconds"] >= 5 + graceful + 10
    assert pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"] == ["sleep", "5"]
    boards = load("compose.yaml")["services"]
    assert int(boards["board-1"]["stop_grace_period"].rstrip("s")) >= graceful + 10


def _setting(name: str) -> str:
    lines = (DEPLOY.parent / "example_app" / "gunicorn.conf.py").read_text().splitlines()
    return next(line.partition("=")[2] for line in lines if line.startswith(f"{name} ="))


def test_the_manifests_name_the_same_app() -> None:
    """Service, autoscaler and disruption budget are about the pods of the deployment."""
    deployment = load("kubernetes/deployment.yaml")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert load("kubernetes/service.yaml")["spec"]["selector"] == labels
    assert load("kubernetes/disruption.yaml")["spec"]["selector"]["matchLabels"] == labels
    target = load("kubernetes/autoscaler.yaml")["spec"]["scaleTargetRef"]
    assert target["name"] == deployment["metadata"]["name"]


def test_the_compose_file_mounts_what_is_there() -> None:
    """The proxy's settings are beside the compose file, and name its services."""
    services = load("compose.yaml")["services"]
    assert (DEPLOY / "nginx.conf").is_file()
    config = (DEPLOY / "nginx.conf").read_text()
    for name in services:
        assert name == "proxy" or f"server {name}:8000" in config
