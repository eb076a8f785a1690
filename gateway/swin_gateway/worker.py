"""A `Job` and its image -> `Answer`: the hop to TorchServe's REST in its private folder, its failures in our words."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from urllib.parse import quote

import structlog
from google.protobuf.message import DecodeError

from swin_gateway.errors import InternalError, WorkerLost
from swin_gateway.image_memory import ImageMemory
from swin_gateway.torchserve_connection import Reply, TorchServeConnection, connect
from swin_proto.worker.v1.job_pb2 import Answer, Error, Job

log = structlog.get_logger("worker")

CONTENT_TYPE = "application/x-swinserve-job"
RECONNECT_SECONDS = 0.2
LOST = "the worker was lost with this request under way; try again"


class WorkerClient:
    """Calls the workers of one TorchServe. A call is never cancelled: the worker goes on with it all the same."""

    def __init__(self, address: str, memory: ImageMemory, *, key: Callable[[], str] = str) -> None:
        """address: unix:PATH or http://HOST:PORT; key: what TorchServe asks for, asked for once it can be reached"""
        self._address = address
        self._memory = memory
        self._key = key
        self._heads: dict[tuple[str, str], bytes] = {}
        self._idle: list[TorchServeConnection] = []
        self._busy: set[TorchServeConnection] = set()
        self._closing = False

    async def run(self, name: str, version: str, job: Job, image: bytes) -> Answer:
        """The answer, as long as it takes; `job` holds no image and is left as it is.

        Raises:
            WorkerLost: TorchServe or the worker ended under the job, or refused it.
            InternalError: the answer is not one of our handler's.
        """
        with self._memory.holding(image) as shared:
            sent = Job(images=[image]) if shared is None else Job(shared_images=[shared])
            sent.MergeFrom(job)
            reply = await self._post(name, version, sent)
        try:
            answer = Answer.FromString(reply.body)
        except DecodeError as nonsense:
            log.error("unreadable answer", request_id=job.request_id, answer=reply.body[:200])
            raise InternalError from nonsense
        error = answer.results[0].error if answer.results else Error()
        if shared is None or error.kind != Error.UNREADABLE:
            return answer
        if self._memory.shared:
            log.warning("workers cannot read images here, TorchServe carries them", reason=error.message)
        self._memory.shared = False
        return await self.run(name, version, job, image)

    async def close(self) -> None:
        """What is under way is lost."""
        self._closing = True
        for connection in [*self._idle, *self._busy]:
            connection.close()

    async def _post(self, name: str, version: str, job: Job) -> Reply:
        try:
            connection = await self._connection()
            self._busy.add(connection)
            try:
                reply = await connection.post(self._head(name, version), job.SerializeToString())
            except BaseException:
                connection.close()  # its answer could come to the next
                raise
            finally:
                self._busy.discard(connection)
        except OSError as error:
            log.info("job lost", request_id=job.request_id, details=str(error))
            # A process that dies closes one connection after the other and its socket last: whoever is sent again at
            # once meets the next that is about to close.
            await asyncio.sleep(RECONNECT_SECONDS)
            raise WorkerLost(LOST) from error
        if not connection.closed:
            self._idle.append(connection)
        if reply.status != 200:
            details = reply.body[:200].decode(errors="replace")
            log.info("job lost", request_id=job.request_id, status=reply.status, details=details)
            raise WorkerLost(LOST)
        return reply

    async def _connection(self) -> TorchServeConnection:
        while self._idle:
            if not (connection := self._idle.pop()).closed:
                return connection
        while not self._closing:
            try:
                return await connect(self._address)
            except (FileNotFoundError, ConnectionRefusedError):
                await asyncio.sleep(RECONNECT_SECONDS)  # TorchServe comes up seconds later than we do
        raise ConnectionAbortedError("the service ends")

    def _head(self, name: str, version: str) -> bytes:
        if (head := self._heads.get((name, version))) is None:
            key = self._key()  # written before TorchServe listens
            lines = [
                f"POST /predictions/{quote(name, safe='')}/{quote(version, safe='')} HTTP/1.1",
                "host: torchserve",
                f"content-type: {CONTENT_TYPE}",
                *([f"authorization: Bearer {key}"] if key else []),
            ]
            head = self._heads[name, version] = "".join(f"{line}\r\n" for line in lines).encode()
        return head
