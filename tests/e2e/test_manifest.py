"""The container of the rendered manifest, run as a process: its command line, its environment, its probes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import httpx
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.deploy.manifests import Pods, objects, serving, settings
from tests.e2e import in_image
from tests.e2e.running import Running, get, status, until, value

# What a pod has to itself and this machine does not; and a grace in which nothing happens.
ELSEWHERE = {f"SWINSERVE_{name}_PORT": "0" for name in ("HTTP", "GRPC", "METRICS")} | {"SWINSERVE_DRAIN_GRACE": "6"}


def probed(pod: Pods, probe: str, running: Running) -> int:
    """What the kubelet would hear."""
    request = pod.container[f"{probe}Probe"]["httpGet"]
    scheme, _, address = getattr(running, request["port"]).removesuffix("/metrics").partition("://")
    return status(f"{scheme}://{address}{request['path']}")


class SlowUpload:
    """An image with a pause in its middle, until `resumed`; the call's answer is `answer.result()`."""

    def __init__(self, pool: ThreadPoolExecutor, running: Running, image: bytes) -> None:
        self.resumed = threading.Event()
        self._image = image
        self.answer = pool.submit(httpx.post, f"{running.http}/v1/classify", content=self._body(), timeout=60)
        until(lambda: value(get(running.metrics), "in_flight_requests") == 1, 10)

    def _body(self) -> Iterator[bytes]:
        yield self._image[:100]
        assert self.resumed.wait(30)
        yield self._image[100:]


def top(answer: httpx.Response) -> str:
    return answer.json()["results"][0]["predictions"][0]["label"]


def test_the_manifests_container_gets_ready_classifies_drains_and_ends_with_0(
    store: Path, tmp_path: Path, digit: Path
) -> None:
    found = objects("cpu")
    pod = serving(found)
    assert "command" not in pod.container, "the image's entry point is the command line"
    subcommand, *arguments = pod.container["args"]
    assert subcommand == "serve"
    environment = settings(found) | ELSEWHERE | {"SWINSERVE_MODEL_STORE": str(store)}
    running = Running(tmp_path, *arguments, prefix=in_image.prefix(**environment))
    try:
        running.wait_ready()
        for probe in ("startup", "readiness", "liveness"):
            assert probed(pod, probe, running) == 200, probe
        answer = httpx.post(f"{running.http}/v1/classify", content=digit.read_bytes(), timeout=10)
        assert top(answer) == digit.name.split("-")[0]
        with grpc.insecure_channel(running.grpc.removeprefix("grpc://")) as channel:
            health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
        assert health.status == health_pb2.HealthCheckResponse.SERVING

        with ThreadPoolExecutor(1) as pool:
            upload = SlowUpload(pool, running, digit.read_bytes())
            running.process.terminate()
            started = time.monotonic()
            until(lambda: probed(pod, "readiness", running) == 503, 10)
            assert probed(pod, "liveness", running) == 200
            until(lambda: status(f"{running.http}/livez") == 0, 20)  # nobody new is let in any more
            upload.resumed.set()
            assert top(upload.answer.result()) == digit.name.split("-")[0]
        assert running.process.wait(pod.spec["terminationGracePeriodSeconds"]) == 0, running.log
        print(f"swinserve {subcommand} {environment} ended {time.monotonic() - started:.1f} s after SIGTERM")
    finally:
        running.kill()
