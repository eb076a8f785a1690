"""Locust's entry: users of both protocols, shapes of load, and an SLO that decides the exit code.

`make load` runs it. By itself: locust -f loadtests/locustfile.py --host http://… --grpc-url grpc://… and any of

    RestUser                    these users alone; or GrpcUser
    RestUser --tags good        no malformed files; a list such as --tags takes all words up to the next option
    --shape steps -u 64 -t 2m   users come as the shape says, up to 64 of them
    --rate 10                   each user sends 10 a second in an open loop, whatever comes back
    --slo loadtests/slo.toml    exit code 3 if a limit was broken
    --processes 2               so many worker processes
"""

from __future__ import annotations

import csv
import functools
import logging
from pathlib import Path
from typing import Any

import gevent
import grpc.experimental.gevent as grpc_gevent
import locust.runners
import locust.stats
from locust import LoadTestShape, events
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.rpc import Message
from locust.runners import MasterRunner, WorkerRunner
from shapes import SHAPES
from slo import Verdict, broken_now, figures, load, sent, verdicts
from users.grpc import GrpcUser
from users.http import RestUser
from users.sender import mix

__all__ = ["GrpcUser", "RestUser"]

SLO_BROKEN = 3
"""Exit code; Locust's own are 1 for errors, 2 for what it could not do."""

log = logging.getLogger("swinserve.load")

# Locust keeps two digits, which is 10 ms from 100 ms on. Set here, so that every worker process has it too.
locust.stats.bucket_response_time = lambda milliseconds: round(milliseconds, 1)
locust.runners.WORKER_REPORT_INTERVAL = 1.0  # seconds; with the usual 3 a step of the load is smeared over the next


@events.init_command_line_parser.add_listener
def options(parser: LocustArgumentParser) -> None:
    add = parser.add_argument_group("Swinserve").add_argument
    add("--grpc-url", default="grpc://127.0.0.1:8001", env_var="SWINSERVE_SERVER", help="where gRPC users call")
    add("--slo", default="", help="TOML file of limits; the exit code is 3 where one is broken")
    add("--shape", default="", choices=["", *SHAPES], help="how users come and go; needs --run-time")
    add("--rate", type=float, default=0.0, help="open loop: calls a second of each user")
    add("--image", default="", help="send this file alone, named <label>-<whatever>")
    add("--any-label", action="store_true", help="any label is right: another model than swin_digits")


@events.init.add_listener
def begin(environment: Environment, **_: Any) -> None:
    options = environment.parsed_options
    if options.slo:
        load(Path(options.slo))  # a mistake in it shows now, not at the end of a long run
    if options.shape and not isinstance(environment.runner, WorkerRunner):
        if not options.run_time:
            raise ValueError("--shape needs --run-time")
        environment.shape_class = Shape(environment)
    if isinstance(environment.runner, MasterRunner):
        environment.runner.quit = functools.partial(quit_when_answered, environment.runner)
    else:
        # Else a gRPC call blocks every user of the process. Here, after the fork, as it starts threads.
        grpc_gevent.init_gevent()
        mix(options.image, options.any_label)


def quit_when_answered(master: MasterRunner) -> None:
    """Locust's master waits half a second for what its workers still have to report, and so would leave out what takes
    longest (https://github.com/locustio/locust/issues/1426)."""
    master.stop(send_stop_to_client=False)
    for client in master.clients.all:
        master.server.send_to_client(Message("quit", None, client.id))
    with gevent.Timeout(master.environment.stop_timeout + 5, False):
        while master.clients:
            gevent.sleep(0.1)
    MasterRunner.quit(master)


class Shape(LoadTestShape):
    """The shape that was asked for, over the run time, up to --users."""

    abstract = True  # else Locust takes it as the shape of every run

    def __init__(self, environment: Environment) -> None:
        super().__init__()
        self.runner = environment.runner
        self._options = environment.parsed_options

    def tick(self) -> tuple[int, float] | None:
        options, stats = self._options, self.runner.stats
        part = self.get_run_time() / options.run_time
        slo = load(Path(options.slo)) if options.slo and options.shape == "breakpoint" else {}
        if broken := broken_now(verdicts(slo, figures(stats, current=True))):
            log.info("The SLO broke at %d users: %s", self.get_current_user_count(), shown(broken))
            return None
        most = options.num_users or 1
        # At once: the rate holds for those who leave as well, and the shape waits for them.
        return (SHAPES[options.shape](part, most), float(most)) if part < 1 else None


@events.quitting.add_listener
def end(environment: Environment, **_: Any) -> None:
    """The SLO's verdict -> exit code and `<csv prefix>_slo.csv`."""
    options, stats = environment.parsed_options, environment.stats
    if isinstance(environment.runner, WorkerRunner):
        return
    found = list(sent(stats))
    judged = options.slo and options.shape != "breakpoint"  # which is there to break it
    if judged:
        found += verdicts(load(Path(options.slo)), figures(stats))
    for verdict in found:
        log.log(logging.INFO if verdict.kept else logging.ERROR, shown(verdict))
    if options.csv_prefix:
        with Path(f"{options.csv_prefix}_slo.csv").open("w", newline="") as file:
            rows = ((each.name, each.limit, each.measured, each.allowed, each.kept) for each in found)
            csv.writer(file).writerows([("name", "limit", "measured", "allowed", "kept"), *rows])
    if not all(verdict.kept for verdict in found):
        environment.process_exit_code = SLO_BROKEN
    elif options.slo and not environment.runner.exceptions:
        environment.process_exit_code = 0  # it says how many errors are too many; a breakpoint looks for that


def shown(verdict: Verdict) -> str:
    mark = "kept" if verdict.kept else "BROKEN"
    return f"SLO {mark}: {verdict.name} {verdict.limit} {verdict.allowed:g}, measured {verdict.measured:.4g}"
