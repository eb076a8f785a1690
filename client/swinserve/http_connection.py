"""One try over HTTP, but for the sending: whose turn it is, what to send in httpx's words, what its failures mean."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from . import rest_messages
from .errors import SwinserveError
from .http_errors import HTTPX_ERRORS, failure
from .rest_messages import Exchange
from .rotation import Rotation
from .service import Service
from .transport import Call

CONNECT_SECONDS = 2.0
"""A machine that drops what it is sent is unreachable after that, as it is over gRPC."""


class HttpConnection:
    """What the blocking and the awaited transport share. ValueError for what is no URL."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._roots = Rotation(service.roots)
        for root in service.roots:
            try:
                httpx.URL(root)
            except httpx.InvalidURL as error:
                raise ValueError(f"{root!r} is not a URL: {error}") from error

    def verify(self) -> ssl.SSLContext | bool:
        """For httpx. ValueError for certificates that cannot be used."""
        return self._service.certificates.context() if self._service.tls else True

    @contextmanager
    def a_try(self, exchange: Exchange[Any], call: Call) -> Iterator[dict[str, Any]]:
        """The arguments of httpx's `request`, to be sent inside. Raises SwinserveErrors instead of httpx's."""
        root = self._roots.next()
        headers = rest_messages.headers(self._service, call)
        body = dict(exchange.body)
        headers |= body.pop("headers", {})
        try:
            yield {
                "method": exchange.method,
                "url": root + exchange.path,
                "params": exchange.params,
                "headers": headers,
                "timeout": httpx.Timeout(call.timeout, connect=min(CONNECT_SECONDS, call.timeout)),
                **body,
            }
        except HTTPX_ERRORS as error:
            raise self._failure(error, root, call) from error

    def _failure(self, error: Exception, root: str, call: Call) -> SwinserveError:
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            self._roots.rest(root)
        return failure(error, root, call)
