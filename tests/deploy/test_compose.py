"""deploy/compose.yaml: what it mounts is there, what it sets is known, and its parts find each other."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from swin_gateway.settings import ServeSettings
from tests.deploy.dockerfile import ROOT, image
from tests.monitoring.promtool import promtool

DEPLOY = ROOT / "deploy"
COMPOSE = DEPLOY / "compose.yaml"
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE.read_text())["services"]


def mounts(service: str) -> dict[str, Path]:
    """path in the container -> file or folder of ours, without named volumes"""
    triples = (mount.split(":") for mount in SERVICES[service].get("volumes", []))
    return {target: DEPLOY / source for source, target, *_ in triples if source.startswith(".")}


@pytest.mark.parametrize("service", SERVICES)
def test_what_is_mounted_is_there_and_cannot_be_written(service: str) -> None:
    for path in mounts(service).values():
        assert path.exists(), path
    assert all(mount.endswith(":ro") for mount in SERVICES[service].get("volumes", []) if mount.startswith("."))


@pytest.mark.parametrize("service", SERVICES)
def test_images_are_pinned_and_hold_no_rights(service: str) -> None:
    settings = SERVICES[service]
    version = settings["image"].rpartition(":")[2]
    assert re.fullmatch(r"v?\d+\.\d+\.\d+", version) or settings["image"] == "swinserve:cpu"
    assert settings["cap_drop"] == ["ALL"]
    assert settings["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in settings


@pytest.mark.parametrize("service", SERVICES)
def test_nobody_outside_this_machine_reaches_a_port(service: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[service]["ports"])


def test_what_is_set_for_the_service_is_known_and_its_end_outlasts_the_drain(monkeypatch: pytest.MonkeyPatch) -> None:
    service = SERVICES["swinserve"]
    for name, value in service["environment"].items():
        monkeypatch.setenv(name, value)
    settings = ServeSettings.load({})
    assert settings.log_format == "json"
    assert int(service["stop_grace_period"].removesuffix("s")) > settings.drain_grace + settings.drain_timeout
    exposed = {port for each in image("cpu") if each.name == "EXPOSE" for port in each.words}
    assert {port.rpartition(":")[2] for port in service["ports"]} < exposed


def test_the_services_root_is_read_only_and_its_tmp_can_run_what_is_unpacked_there() -> None:
    assert SERVICES["swinserve"]["read_only"] is True
    (tmp,) = SERVICES["swinserve"]["tmpfs"]
    path, _, options = tmp.partition(":")
    assert path == "/tmp"
    assert "exec" in options.split(",")


def test_prometheus_takes_its_configuration_and_scrapes_the_service() -> None:
    assert "SUCCESS" in promtool("check", "config", DEPLOY / "prometheus" / "compose.yaml")
    inside = mounts("prometheus")
    flags = dict(flag.removeprefix("--").split("=", 1) for flag in SERVICES["prometheus"]["command"])
    configuration = yaml.safe_load(inside[flags["config.file"]].read_text())
    for rules in configuration["rule_files"]:  # relative to the configuration
        assert str(Path(flags["config.file"]).with_name(rules)) in inside
    (job,) = configuration["scrape_configs"]
    assert job["static_configs"] == [{"targets": [f"swinserve:{ServeSettings.load({}).metrics_port}"]}]


def test_grafana_finds_prometheus_and_our_dashboard() -> None:
    inside = mounts("grafana")
    provisioning = inside["/etc/grafana/provisioning"]
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yaml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert source["isDefault"] is True  # the dashboard names none
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "swinserve.yaml").read_text())["providers"]
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert str(Path(home).parent) == provider["options"]["path"]
    dashboard = json.loads(inside[home].read_text())
    variable = dashboard["templating"]["list"][0]
    assert (variable["type"], variable["query"]) == ("datasource", source["type"])
