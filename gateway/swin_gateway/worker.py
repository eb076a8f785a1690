"""`Job` -> `Answer`: the hop to TorchServe's gRPC on loopback, its failures told in our words."""

from __future__ import annotations

from collections.abc import Callable

import grpc
import grpc.aio
import structlog
from google.protobuf.message import DecodeError

from swin_gateway.errors import InternalError, WorkerLost
from swin_proto.torchserve.inference_pb2 import PredictionsRequest
from swin_proto.torchserve.inference_pb2_grpc import InferenceAPIsServiceStub
from swin_proto.worker.v1.job_pb2 import Answer, Job

log = structlog.get_logger("worker")


class WorkerClient:
    """Calls the workers of one TorchServe. A call is never cancelled: cancelling can kill the worker under it."""

    def __init__(self, target: str, *, max_message_bytes: int, key: Callable[[], str] = str) -> None:
        """key: what TorchServe asks for with each call; asked for once it can be reached"""
        self._key = key
        self._metadata: tuple[tuple[str, str], ...] | None = None
        self._channel = grpc.aio.insecure_channel(
            target,
            options=[
                ("grpc.max_send_message_length", max_message_bytes),
                ("grpc.max_receive_message_length", max_message_bytes),
                ("grpc.enable_http_proxy", 0),
                # TorchServe comes up seconds later than we do; the default back-off would oversleep that.
                ("grpc.max_reconnect_backoff_ms", 500),
            ],
        )
        self._stub = InferenceAPIsServiceStub(self._channel)

    async def run(self, name: str, version: str, job: Job) -> Answer:
        """The answer, as long as it takes.

        Raises:
            WorkerLost: TorchServe or the worker ended under the job, or refused it.
            InternalError: the answer is not one of our handler's.
        """
        request = PredictionsRequest(model_name=name, model_version=version, input={"job": job.SerializeToString()})
        if self._metadata is None:
            await self._channel.channel_ready()  # it writes its key before it listens
            key = self._key()
            self._metadata = (("authorization", f"Bearer {key}"),) if key else ()
        try:
            response = await self._stub.Predictions(request, metadata=self._metadata, wait_for_ready=True)
        except grpc.aio.AioRpcError as error:
            log.info("job lost", request_id=job.request_id, code=error.code().name, details=error.details())
            raise WorkerLost("the worker was lost with this request under way; try again") from error
        try:
            return Answer.FromString(response.prediction)
        except DecodeError as error:
            log.error("unreadable answer", request_id=job.request_id, answer=response.prediction[:200])
            raise InternalError from error

    async def close(self) -> None:
        await self._channel.close(None)
