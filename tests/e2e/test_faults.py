"""What can break, broken on purpose in the real service; docs/reliability.md has a row for each."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import zipfile
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
import httpx
import pytest
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from PIL import Image

import swinserve
from swin_proto.v1 import classifier_pb2
from swin_proto.v1.classifier_pb2_grpc import ClassifierStub
from tests.e2e.callers import calling, further
from tests.e2e.running import FREE_PORTS, READY_SECONDS, SWINSERVE, Running, get, service, status, until, value

MODEL = ("swin_digits", "--model-store")


@pytest.fixture
def running(store: Path, tmp_path: Path) -> Iterator[Running]:
    with service(tmp_path, *MODEL, store) as running:
        yield running


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose swin_digits has two workers."""
    store = tmp_path_factory.mktemp("two")
    command = [SWINSERVE, "build", "swin_digits", "--workers", "2", "--model-store", store]
    subprocess.run(command, check=True, capture_output=True)
    return store


def label(image: Path) -> str:
    return image.name.split("-")[0]


def ended(metrics: str, protocol: str) -> float:
    """Calls of a protocol that have been counted, whatever became of them."""
    of_protocol = [line for line in metrics.splitlines() if f'protocol="{protocol}"' in line]
    return value("\n".join(of_protocol), "requests_total")


def reason(url: str, image: Path) -> tuple[str, float]:
    """Why a call without a deadline of its own fails, and after how many seconds it may be made again.

    Its end is the service's to decide; a deadline of the caller's may be over some milliseconds before the answer.
    """
    if url.startswith("http"):
        refused = httpx.post(f"{url}/v1/classify", content=image.read_bytes(), timeout=60)
        return refused.json()["error"]["reason"], float(refused.headers["retry-after"])
    request = classifier_pb2.ClassifyRequest(images=[classifier_pb2.Image(content=image.read_bytes())])
    with grpc.insecure_channel(url.removeprefix("grpc://")) as channel, pytest.raises(grpc.RpcError) as error:
        ClassifierStub(channel).Classify(request)
    info, retry = ErrorInfo(), RetryInfo()
    for detail in Status.FromString(dict(error.value.trailing_metadata())["grpc-status-details-bin"]).details:
        if not detail.Unpack(info):
            detail.Unpack(retry)
    return info.reason, retry.retry_delay.ToTimedelta().total_seconds()


def classify(url: str, image: Path, timeout: float = 60.0) -> str:
    with swinserve.Client(url, retries=0) as client:
        return client.classify(image, timeout=timeout).results[0].predictions[0].label


def test_of_two_workers_one_may_die_and_callers_see_nothing(two_workers: Path, tmp_path: Path, digit: Path) -> None:
    with service(tmp_path, *MODEL, two_workers) as running:
        until(lambda: len(running.workers()) == 2, 30)
        with calling(running.grpc, running.http, image=digit, count=4) as both:
            further(both, 50, 30)
            until(lambda: running.log.count("swinserve worker ready") == 2, 60)
            victim = running.workers()[0]
            victim.send_signal(signal.SIGSTOP)  # so that it dies with jobs in its hands
            time.sleep(1)
            victim.kill()
            until(lambda: len([each for each in running.workers() if each.pid != victim.pid]) == 2, 60)
            further(both, 50, 30)
        outcomes = [dict(callers.outcomes) for callers in both]
        again = value(get(running.metrics), "sent_again_images_total")
        print(f"one of two workers killed: grpc {outcomes[0]}, http {outcomes[1]}, sent again {again:.0f}")
        assert [set(each) for each in outcomes] == [{"right"}, {"right"}]
        assert again >= 1


def test_with_one_worker_only_those_with_too_little_time_hear_of_its_death(
    store: Path, tmp_path: Path, digit: Path
) -> None:
    # Many more than the worker is given at a time: most wait in the queue while there is none.
    with (
        service(tmp_path, *MODEL, store, "--default-timeout", "1", "--max-timeout", "60") as running,
        calling(running.grpc, running.http, image=digit, count=20, timeout=60) as patient,
    ):
        further(patient, 50, 30)
        running.worker().kill()
        until(lambda: not running.ready(), 5)
        lost = [reason(url, digit) for url in (running.grpc, running.http)]
        back = until(running.ready, 90)
        further(patient, 1, 30)
        with swinserve.Client(running.grpc) as client:  # the outage is no measure of how fast it is now
            assert client.classify_many([digit] * 64, timeout=30).results[63].predictions[0].label == label(digit)
    print(f"one worker killed: ready again after {back:.1f} s; {[dict(callers.outcomes) for callers in patient]}")
    assert [why for why, _ in lost] == ["WORKER_LOST"] * 2
    assert all(seconds > 0 for _, seconds in lost)
    assert [set(callers.outcomes) for callers in patient] == [{"right"}, {"right"}]


@pytest.mark.slow
def test_a_worker_that_hangs_is_replaced_and_its_callers_meet_their_deadlines(running: Running, digit: Path) -> None:
    hung = running.worker()
    with calling(running.grpc, image=digit, count=4, timeout=2) as (callers,):
        further([callers], 20, 30)
        hung.send_signal(signal.SIGSTOP)
        unready = until(lambda: not running.ready(), 20)
        back = until(running.ready, 150)
        further([callers], 1, 10)
    print(f"worker hung: not ready after {unready:.0f} s, ready again {back:.0f} s later; {dict(callers.outcomes)}")
    assert running.worker().pid != hung.pid
    assert set(callers.outcomes) <= {"right", "DEADLINE_EXCEEDED", "DEADLINE_UNREACHABLE", "OVERLOADED", "WORKER_LOST"}
    assert callers.slowest < 3.5


def test_torchserve_that_stalls_costs_no_more_than_the_deadline(running: Running, digit: Path) -> None:
    with calling(running.grpc, running.http, image=digit, count=4, timeout=1.5) as both:
        further(both, 20, 30)
        running.jvm().send_signal(signal.SIGSTOP)
        time.sleep(8)
        running.jvm().send_signal(signal.SIGCONT)
        back = further(both, 1, 15)
    outcomes = [dict(callers.outcomes) for callers in both]
    print(f"TorchServe stalled for 8 s: answers again after {back:.1f} s; grpc {outcomes[0]}, http {outcomes[1]}")
    for callers in both:
        assert set(callers.outcomes) <= {"right", "DEADLINE_EXCEEDED", "DEADLINE_UNREACHABLE", "OVERLOADED"}
        assert callers.outcomes["DEADLINE_EXCEEDED"]
        assert callers.slowest < 5  # far less than the stall


@pytest.fixture
def faulty(store: Path, tmp_path: Path) -> Iterator[tuple[Running, Path]]:
    """A service whose worker fails as a file says, and that file."""
    faults = tmp_path / "faults"
    with service(tmp_path, *MODEL, store, environment={"SWINSERVE_FAULTS": str(faults)}) as running:
        yield running, faults


def happen(fault: str, faults: Path) -> None:
    whole = faults.with_suffix(".new")
    whole.write_text(fault)
    whole.rename(faults)


def test_the_devices_faults_reach_no_caller(faulty: tuple[Running, Path], digit: Path) -> None:
    """Out of memory: the batch is tried in halves. A lost context: the worker ends, and its jobs go to the next."""
    running, faults = faulty
    worker = running.worker()
    happen("out-of-memory", faults)
    assert classify(running.grpc, digit) == label(digit)
    assert not faults.exists()
    assert running.worker().pid == worker.pid
    happen("cuda-error", faults)
    started = time.monotonic()
    assert classify(running.grpc, digit) == label(digit)
    print(f"context lost: answered by the next worker after {time.monotonic() - started:.1f} s")
    assert not faults.exists()
    assert running.worker().pid != worker.pid
    assert "CUDA context lost" in running.log


def test_a_full_disk_under_the_log_stops_nothing(store: Path, tmp_path: Path, digit: Path) -> None:
    (tmp_path / "stderr").symlink_to("/dev/full")
    with service(tmp_path, *MODEL, store, "--log-level", "debug") as running:
        for url in (running.grpc, running.http):
            assert classify(url, digit) == label(digit)
        with pytest.raises(swinserve.NotFound), swinserve.Client(running.http) as client:
            client.classify(digit, model="nobody")
        assert running.stop() == 0


def test_a_full_disk_under_stdout_stops_nothing_either(store: Path, tmp_path: Path, digit: Path) -> None:
    (tmp_path / "stdout").symlink_to("/dev/full")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    ports = ("--http-port", str(port), "--grpc-port", "0", "--metrics-port", "0", "--drain-grace", "0")
    running = Running(tmp_path, *MODEL, store, *ports)
    try:
        until(lambda: status(f"http://127.0.0.1:{port}/readyz") == 200, READY_SECONDS)
        until(lambda: "cannot write to stdout" in running.log, 10)
        assert classify(f"http://127.0.0.1:{port}", digit) == label(digit)
        assert running.stop() == 0
    finally:
        running.kill()


def test_callers_that_go_away_leave_nothing_behind(running: Running, digit: Path) -> None:
    request = classifier_pb2.ClassifyRequest(images=[classifier_pb2.Image(content=digit.read_bytes())] * 8)
    with grpc.insecure_channel(running.grpc.removeprefix("grpc://")) as channel:
        stub = ClassifierStub(channel)
        for _ in range(10):
            calls: list[grpc.Future] = []

            def images_wait(calls: list[grpc.Future] = calls) -> bool:
                calls.extend(stub.Classify.future(request) for _ in range(20))
                return value(get(running.metrics), "queue_images") > 0

            until(images_wait, 20)  # then some are with the worker
            for call in calls:
                call.cancel()
    host, _, port = running.http.removeprefix("http://").partition(":")
    head = f"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Length: {digit.stat().st_size}\r\n\r\n".encode()
    for number in range(50):
        with socket.create_connection((host, int(port)), 5) as connection:
            connection.sendall(head + digit.read_bytes()[: None if number % 2 else 100])
    until(lambda: ended(get(running.metrics), "rest") == 50, 60)  # each was accepted, and has come to its end
    until(lambda: value(get(running.metrics), "in_flight_requests") == 0, 20)
    metrics = get(running.metrics)
    assert value(metrics, "queue_images") == 0
    assert 16 <= value(metrics, "abandoned_images_total") < value(metrics, "images_total")
    with calling(running.grpc, image=digit, count=32) as (callers,):  # twice the slots: none was lost
        further([callers], 200, 30)
    assert set(callers.outcomes) == {"right"}


@pytest.fixture
def short_drain(store: Path, tmp_path: Path) -> Iterator[Running]:
    with service(tmp_path, *MODEL, store, "--drain-timeout", "5") as running:
        yield running


def test_a_client_that_reads_or_sends_a_byte_a_second_holds_up_nobody(short_drain: Running, digit: Path) -> None:
    running = short_drain
    host, _, port = running.http.removeprefix("http://").partition(":")
    image = digit.read_bytes()
    slow: list[socket.socket] = []
    try:
        for number in range(40):
            connection = socket.socket()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            connection.connect((host, int(port)))
            slow.append(connection)
            if number % 2:
                connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 300)
            else:
                connection.sendall(b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
        with calling(running.grpc, running.http, image=digit, count=2) as both:
            for _ in range(3):
                time.sleep(1)
                for number, connection in enumerate(slow):
                    _ = connection.recv(1) if number % 2 else connection.send(image[:1])
            further(both, 20, 60)  # all forty are still there
        assert [set(callers.outcomes) for callers in both] == [{"right"}, {"right"}]
        started = time.monotonic()
        assert running.stop() == 0  # an unfinished upload has its deadline, an unread answer the drain's
        print(f"drained in {time.monotonic() - started:.1f} s with slow clients connected")
    finally:
        for connection in slow:
            connection.close()


@pytest.fixture(scope="module")
def jumping_clock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that shifts the wall clock of the processes it is preloaded into."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None and not os.environ.get("CI"):
        pytest.skip("no C compiler is installed")
    library = tmp_path_factory.mktemp("clock") / "jumping_clock.so"
    source = Path(__file__).with_name("jumping_clock.c")
    subprocess.run([str(compiler), "-shared", "-fPIC", "-O1", source, "-o", library], check=True)
    return library


def test_a_jumping_wall_clock_changes_nothing(store: Path, tmp_path: Path, digit: Path, jumping_clock: Path) -> None:
    offset = tmp_path / "offset"
    offset.write_bytes(bytes(8))
    jumping = {"LD_PRELOAD": str(jumping_clock), "CLOCK_OFFSET": str(offset)}
    with service(tmp_path, *MODEL, store, environment=jumping) as running:
        with calling(running.grpc, running.http, image=digit, count=2, timeout=5) as both:
            for jump in (864000, -864000, 0):
                with offset.open("r+b") as file:  # written in place: the processes have it mapped
                    file.write(jump.to_bytes(8, "little", signed=True))
                further(both, 20, 20)
                with pytest.raises(swinserve.NotFound), swinserve.Client(running.grpc) as client:
                    client.classify(digit, model="nobody")  # which leaves a line in the log
                time.sleep(1)
                assert running.ready()
        assert [set(callers.outcomes) for callers in both] == [{"right"}, {"right"}]
        assert running.stop() == 0
        days = {json.loads(line)["timestamp"][:10] for line in running.log.splitlines() if '"timestamp"' in line}
        assert len(days) >= 3, f"the clock did not jump: {days}"


def rewritten(store: Path, target: Path, member: str) -> Path:
    """A copy of the default archive with the last bit of a member flipped."""
    with zipfile.ZipFile(next(store.glob("swin_digits-*.mar"))) as source, zipfile.ZipFile(target, "w") as copy:
        names = source.namelist()
        assert any(name.startswith(member) for name in names), names
        for name in names:
            content = source.read(name)
            if name.startswith(member):
                content = content[:-1] + bytes([content[-1] ^ 1])
            copy.writestr(name, content)
    return target


def test_a_corrupt_artifact_falls_back_to_the_safe_default_and_says_so(
    store: Path, tmp_path: Path, digit: Path
) -> None:
    with zipfile.ZipFile(next(store.glob("swin_digits-*.mar"))) as whole:
        compiled = [name for name in whole.namelist() if re.match(r"engine/\w+/", name)]
    if not compiled:
        pytest.skip("eager serves on this CPU: nothing was compiled")
    damaged = rewritten(store, tmp_path / "damaged.mar", compiled[0])
    with service(tmp_path, damaged) as running:
        assert classify(running.grpc, digit) == label(digit)
        assert value(get(running.metrics), "engine_fallback") == 1
        assert "a safe default serves" in running.log


@pytest.mark.parametrize("share", [0.1, 0.9, 0.999])
def test_a_truncated_archive_is_refused_in_one_line(store: Path, tmp_path: Path, share: float) -> None:
    whole = next(store.glob("swin_digits-*.mar")).read_bytes()
    archive = tmp_path / "truncated.mar"
    archive.write_bytes(whole[: int(len(whole) * share)])
    ended = subprocess.run([SWINSERVE, "serve", archive, *FREE_PORTS], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    assert len(ended.stderr.strip().splitlines()) == 1, ended.stderr
    assert "truncated.mar" in ended.stderr


@pytest.mark.parametrize("shared", ["--http-port", "--grpc-port", "--metrics-port"])
def test_of_starts_that_race_for_a_port_one_wins_and_the_others_say_why(
    store: Path, tmp_path: Path, shared: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    taken = (*FREE_PORTS, shared, port, "--drain-grace", "0")
    racers = []
    for number in range(3):
        folder = tmp_path / str(number)
        folder.mkdir()
        racers.append(Running(folder, *MODEL, store, *taken))
    try:
        until(lambda: sum(racer.process.poll() is None for racer in racers) == 1, 60)
        (winner,) = [racer for racer in racers if racer.process.poll() is None]
        losers = [racer for racer in racers if racer is not winner]
        winner.wait_ready()
        for loser in losers:
            assert loser.process.returncode == 2
            assert "cannot listen on" in loser.log
        assert winner.stop() == 0
    finally:
        for racer in racers:
            racer.kill()


@pytest.fixture
def crowded(store: Path, tmp_path: Path) -> Iterator[Running]:
    """A service whose queue one caller alone can fill."""
    with service(tmp_path, *MODEL, store, "--queue-size", "128") as running:
        yield running


async def test_callers_share_the_service_fairly_when_one_floods(crowded: Running) -> None:
    """Each caller has an address of its own; one keeps eight times as many images coming as the others."""
    large = io.BytesIO()  # tens of milliseconds to decode, a few kilobytes to send: the worker is what they share
    Image.new("RGB", (3000, 2250)).save(large, "PNG")
    good = dict.fromkeys(("127.0.0.2", "127.0.0.3", "127.0.0.4"), 0)
    refused, ending = 0, False

    async def call(client: httpx.AsyncClient, address: str) -> None:
        nonlocal refused
        while not ending:
            answer = await client.post(f"{crowded.http}/v1/classify", content=large.getvalue())
            good[address] += answer.status_code == 200
            if answer.status_code != 200:
                refused += 1
                await asyncio.sleep(0.1)

    counts = {"127.0.0.2": 192, "127.0.0.3": 24, "127.0.0.4": 24}  # each more than there are slots
    async with AsyncExitStack() as stack:
        calls = []
        for address, count in counts.items():
            # Given up before the service does, or a call may meet the end of an idle connection.
            limits = httpx.Limits(max_connections=count, keepalive_expiry=2)
            transport = httpx.AsyncHTTPTransport(local_address=address, limits=limits)
            client = await stack.enter_async_context(httpx.AsyncClient(transport=transport, timeout=60))
            calls += [asyncio.create_task(call(client, address)) for _ in range(count)]
        await asyncio.sleep(12)  # what came before a rate was known has met its deadline of 10 s
        before = dict(good)
        enough = sum(good.values()) + 120  # however slow the machine: a batch more or less decides nothing
        await asyncio.to_thread(until, lambda: sum(good.values()) >= enough, 90)
        served = {address: good[address] - before[address] for address in good}
        ending = True
        await asyncio.gather(*calls)
    print(f"192, 24 and 24 images kept coming: answers {served}, {refused} refused")
    assert refused
    assert max(served.values()) <= 1.5 * min(served.values())
