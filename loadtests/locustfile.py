"""Locust users who classify the sample digits over REST and over gRPC, and check the labels they get.

    make load URL=http://127.0.0.1:8000 USERS=8 TIME=30s

The gRPC users find their port in SWINSERVE_SERVER, default grpc://127.0.0.1:8001.
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import grpc.experimental.gevent as grpc_gevent
from locust import FastHttpUser, User, task

import swinserve

grpc_gevent.init_gevent()  # else a gRPC call blocks every user of the process

SAMPLES = sorted((Path(__file__).resolve().parents[1] / "model_store" / "swin_digits" / "samples").iterdir())
IMAGES = [(path.read_bytes(), path.name.split("-")[0]) for path in SAMPLES]


class RestUser(FastHttpUser):
    """One image a call, as the raw body."""

    @task
    def classify(self) -> None:
        image, label = random.choice(IMAGES)
        headers = {"content-type": "application/octet-stream"}
        with self.client.post("/v1/classify", data=image, headers=headers, catch_response=True) as answer:
            if answer.status_code != 200:
                answer.failure(f"{answer.status_code} {answer.text}")
            elif (got := answer.json()["results"][0]["predictions"][0]["label"]) != label:
                answer.failure(f"{got} instead of {label}")


class GrpcUser(User):
    """One image a call; each user has a connection of its own."""

    def on_start(self) -> None:
        self.service = swinserve.Client(os.environ.get("SWINSERVE_SERVER", "grpc://127.0.0.1:8001"))

    def on_stop(self) -> None:
        self.service.close()

    @task
    def classify(self) -> None:
        image, label = random.choice(IMAGES)
        started, failure = time.perf_counter(), None
        try:
            got = self.service.classify(image).results[0].predictions[0].label
            if got != label:
                failure = AssertionError(f"{got} instead of {label}")
        except swinserve.SwinserveError as error:
            failure = error
        self.environment.events.request.fire(
            request_type="gRPC",
            name="Classify",
            response_time=1000 * (time.perf_counter() - started),
            response_length=0,
            exception=failure,
        )
