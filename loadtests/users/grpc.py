"""Users of the gRPC interface. `grpc.experimental.gevent.init_gevent` comes before the first of them."""

from __future__ import annotations

import time
from urllib.parse import urlsplit

import grpc
from answers import Answer, Judgement, judge
from google.rpc import error_details_pb2, status_pb2
from payloads import Payload

from swin_proto.v1.classifier_pb2 import ClassifyRequest, Image
from swin_proto.v1.classifier_pb2_grpc import ClassifierStub
from users.sender import CALL_SECONDS, Sender

# gRPC's core gives channels with equal arguments one connection; without this all users would share it.
OPTIONS = (("grpc.use_local_subchannel_pool", 1),)


class GrpcUser(Sender):
    """One image a call, over a connection of its own."""

    def on_start(self) -> None:
        target = urlsplit(self.environment.parsed_options.grpc_url).netloc
        self._channel = grpc.insecure_channel(target, options=OPTIONS)
        self._stub = ClassifierStub(self._channel)
        super().on_start()

    def on_stop(self) -> None:
        super().on_stop()
        self._channel.close()

    def ask(self, payload: Payload, due: float) -> Judgement:
        answer = self._call(payload)
        milliseconds = 1000 * (time.perf_counter() - due)
        judgement = judge(payload, answer)
        self.environment.events.request.fire(
            request_type="gRPC",
            name=judgement.name,
            response_time=milliseconds,
            response_length=answer.size,
            exception=judgement.wrong or None,
            context={},
        )
        return judgement

    def _call(self, payload: Payload) -> Answer:
        request = ClassifyRequest(images=[Image(content=payload.content)])
        try:
            response = self._stub.Classify(request, timeout=CALL_SECONDS)
        except grpc.RpcError as error:
            return Answer(error.code().name, reason=_reason(error))
        found = [each.label for result in response.results for each in result.predictions.predictions[:1]]
        if len(found) != 1:
            return Answer("OK", reason="not one image's predictions", size=response.ByteSize())
        return Answer("OK", found[0], size=response.ByteSize())


def _reason(error: grpc.Call) -> str:
    metadata = dict(error.trailing_metadata() or ())
    for detail in status_pb2.Status.FromString(metadata.get("grpc-status-details-bin", b"")).details:
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            return error_details_pb2.ErrorInfo.FromString(detail.value).reason
    return ""
