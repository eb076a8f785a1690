"""A generic gRPC client: it knows an address and learns everything else from server reflection, as grpcurl does."""

from __future__ import annotations

from typing import Any

import grpc
from google.protobuf import json_format
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase


class ReflectedClient:
    def __init__(self, url: str) -> None:
        self._channel = grpc.insecure_channel(url.removeprefix("grpc://"))
        self._database = ProtoReflectionDescriptorDatabase(self._channel)
        self._pool = DescriptorPool(self._database)

    def services(self) -> list[str]:
        return sorted(self._database.get_services())

    def call(self, method: str, request: dict[str, Any], **options: Any) -> dict[str, Any]:
        """`method` as package.Service/Method; request and answer in protobuf's JSON form."""
        service, _, name = method.rpartition("/")
        descriptor = self._pool.FindServiceByName(service).methods_by_name[name]
        call = self._channel.unary_unary(
            f"/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=GetMessageClass(descriptor.output_type).FromString,
        )
        message = json_format.ParseDict(request, GetMessageClass(descriptor.input_type)())
        answer = call(message, timeout=20, **options)
        return json_format.MessageToDict(answer, preserving_proto_field_name=True, descriptor_pool=self._pool)

    def close(self) -> None:
        self._channel.close()
