"""The container of the rendered manifest, run as a process: its command line, its environment, its probes."""

from __future__ import annotations

import time
from pathlib import Path

import grpc
import httpx
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.deploy.manifests import Pods, objects, serving, settings
from tests.e2e.running import Running, status, until

# What a pod has to itself and this machine does not; and a grace in which nothing happens.
ELSEWHERE = {f"SWINSERVE_{name}_PORT": "0" for name in ("HTTP", "GRPC", "METRICS")} | {"SWINSERVE_DRAIN_GRACE": "3"}


def probed(pod: Pods, probe: str, running: Running) -> int:
    """What the kubelet would hear."""
    request = pod.container[f"{probe}Probe"]["httpGet"]
    scheme, _, address = getattr(running, request["port"]).removesuffix("/metrics").partition("://")
    return status(f"{scheme}://{address}{request['path']}")


def test_the_manifests_container_gets_ready_classifies_drains_and_ends_with_0(
    store: Path, tmp_path: Path, digit: Path
) -> None:
    found = objects("cpu")
    pod = serving(found)
    assert "command" not in pod.container, "the image's entry point is the command line"
    subcommand, *arguments = pod.container["args"]
    assert subcommand == "serve"
    environment = settings(found) | ELSEWHERE | {"SWINSERVE_MODEL_STORE": str(store)}
    running = Running(tmp_path, *arguments, environment=environment)
    try:
        running.wait_ready()
        for probe in ("startup", "readiness", "liveness"):
            assert probed(pod, probe, running) == 200, probe
        answer = httpx.post(f"{running.http}/v1/classify", content=digit.read_bytes(), timeout=10).json()
        assert answer["results"][0]["predictions"][0]["label"] == digit.name.split("-")[0]
        with grpc.insecure_channel(running.grpc.removeprefix("grpc://")) as channel:
            health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
        assert health.status == health_pb2.HealthCheckResponse.SERVING

        running.process.terminate()
        started = time.monotonic()
        until(lambda: probed(pod, "readiness", running) == 503, 5)
        assert probed(pod, "liveness", running) == 200
        assert running.process.wait(pod.spec["terminationGracePeriodSeconds"]) == 0, running.log
        print(f"swinserve {subcommand} {environment} ended {time.monotonic() - started:.1f} s after SIGTERM")
    finally:
        running.kill()
