"""Users of the REST interface."""

from __future__ import annotations

import time

from answers import Answer, Judgement, judge
from locust import FastHttpUser
from locust.contrib.fasthttp import FAILURE_EXCEPTIONS, ResponseContextManager
from payloads import Payload

from users.sender import CALL_SECONDS, FLIGHTS, Sender

HEADERS = {"content-type": "application/octet-stream", "x-request-timeout": f"{CALL_SECONDS:g}"}


class RestUser(Sender, FastHttpUser):
    """One image a call, as the raw body, over a connection of its own; an open loop opens more as it needs them."""

    concurrency = FLIGHTS
    network_timeout = connection_timeout = CALL_SECONDS + 1  # the service's own deadline comes first

    def ask(self, payload: Payload, due: float) -> Judgement:
        late = time.perf_counter() - due
        with self.client.post("/v1/classify", data=payload.content, headers=HEADERS, catch_response=True) as response:
            judgement = judge(payload, _answer(response))
            milliseconds = response.request_meta["response_time"] + 1000 * late
            response.request_meta.update(request_type="REST", name=judgement.name, response_time=milliseconds)
            response.failure(judgement.wrong) if judgement.wrong else response.success()
        return judgement


def _answer(response: ResponseContextManager) -> Answer:
    if not response.status_code:
        return Answer(type(response.request_meta["exception"]).__name__)
    try:
        body = response.json()
        if response.status_code == 200:
            return Answer(200, label=body["results"][0]["predictions"][0]["label"])
        return Answer(response.status_code, reason=body["error"]["reason"])
    except FAILURE_EXCEPTIONS as error:
        return Answer(type(error).__name__)  # it broke off within the body
    except (ValueError, LookupError, TypeError):
        return Answer(response.status_code, reason="not an answer of this service")
