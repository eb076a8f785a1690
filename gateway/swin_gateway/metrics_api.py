"""The metrics port: GET /metrics for Prometheus, and /livez and /readyz for probes that the users' ports are closed to.

Pure ASGI beside the REST application, so that a scrape counts neither as a call nor as one in flight.
"""

from __future__ import annotations

import asyncio
import gzip

from fastapi import Request
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from swin_gateway.access import Access
from swin_gateway.calls import Calls
from swin_gateway.errors import NotFound, ServingError
from swin_gateway.probes import Probes
from swin_gateway.request_id import REQUEST_ID, request_id_from
from swin_gateway.rest_dialect import error_response
from swin_gateway.security_headers import security_headers


class MetricsApi:
    def __init__(self, registry: CollectorRegistry, probes: Probes, calls: Calls, access: Access) -> None:
        self._registry = registry
        self._probes = {"/livez": probes.livez, "/readyz": probes.readyz}
        self._calls = calls
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        request_id = request_id_from(request.headers.get(REQUEST_ID))
        try:
            response = await self._answer(request)
        except ServingError as error:
            with self._calls.serving("rest", request_id, "Metrics") as served:
                served.failed(error)
            response = error_response(error, request_id, scope["path"])
        response.headers[REQUEST_ID] = request_id
        response.raw_headers += security_headers(response.raw_headers, scheme=request.url.scheme)
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        path = request.scope["path"]
        if probe := self._probes.get(path):
            return await probe(request)
        self._access.admit(request.headers.get("authorization"), "metrics")
        if path != "/metrics" or request.method not in ("GET", "HEAD"):
            raise NotFound("there are GET /metrics, /livez and /readyz here")
        encode, media_type = choose_encoder(request.headers.get("accept", ""))
        if "gzip" not in request.headers.get("accept-encoding", ""):
            return Response(await asyncio.to_thread(encode, self._registry), media_type=media_type)
        body = await asyncio.to_thread(lambda: gzip.compress(encode(self._registry)))
        return Response(body, media_type=media_type, headers={"content-encoding": "gzip"})
