"""Our gRPC services -> a port that serves them: Classifier, Open Inference Protocol, health and reflection."""

from __future__ import annotations

from collections.abc import Sequence

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from swin_gateway.access import Access
from swin_gateway.calls import Calls
from swin_gateway.classifier import Classifier
from swin_gateway.errors import StartError
from swin_gateway.grpc_access import GrpcAccess
from swin_gateway.grpc_api import GrpcApi
from swin_gateway.grpc_reading import RequestReading
from swin_gateway.listening import address, listen
from swin_gateway.oip_grpc import OipGrpc
from swin_gateway.readiness import Readiness
from swin_proto.oip.v2 import inference_pb2
from swin_proto.v1 import classifier_pb2

SERVICES = (
    (classifier_pb2.DESCRIPTOR, "Classifier"),
    (inference_pb2.DESCRIPTOR, "GRPCInferenceService"),
    (health_pb2.DESCRIPTOR, "Health"),
)


def grpc_server(
    classifier: Classifier, readiness: Readiness, calls: Calls, access: Access, *, options: Sequence[tuple[str, int]]
) -> grpc.aio.Server:
    """options: channel arguments, as grpc_limits.py makes them"""
    reading = RequestReading(calls, classifier.time_limit)
    server = grpc.aio.server(
        # An interceptor costs each call some time, so there is one less where everybody is let in.
        interceptors=[reading] if access.open else [GrpcAccess(access, calls), reading],
        options=options,
    )
    GrpcApi(classifier, calls, access).add_to(server)
    OipGrpc(classifier, readiness, calls, access).add_to(server)
    health_pb2_grpc.add_HealthServicer_to_server(readiness.health, server)
    names = [file.services_by_name[name].full_name for file, name in SERVICES]
    reflection.enable_server_reflection([*names, reflection.SERVICE_NAME], server)
    return server


def bind(server: grpc.aio.Server, host: str, port: int, credentials: grpc.ServerCredentials | None) -> int:
    """The port; raises StartError when it is busy. Without credentials there is no TLS."""
    listen(host, port, "gRPC").close()  # gRPC's own complaint about a busy port is two lines of C++
    where = address(host, port)
    try:
        if credentials is None:
            return server.add_insecure_port(where)
        return server.add_secure_port(where, credentials)
    except RuntimeError:  # another took it in the moment between
        raise StartError(f"cannot listen on {where} (gRPC): port 0 takes a free one") from None
