"""What httpx raises -> SwinserveErrors."""

import ssl

import httpx

from .errors import UNREACHABLE, DeadlineExceeded, InternalError, InvalidRequest, SwinserveError, Unavailable
from .transport import Call

# What httpx raises -> what we raise, and the reason word; the first that fits.
FOREIGN: tuple[tuple[type[Exception], type[SwinserveError], str], ...] = (
    (httpx.ConnectTimeout, Unavailable, UNREACHABLE),
    (httpx.TimeoutException, DeadlineExceeded, "DEADLINE_EXCEEDED"),
    (httpx.NetworkError, Unavailable, UNREACHABLE),
    (httpx.ProxyError, Unavailable, UNREACHABLE),
    (httpx.RemoteProtocolError, Unavailable, UNREACHABLE),
    # What a server says of our certificate may come after the handshake, as httpx's asyncio side has not foreseen.
    (ssl.SSLError, Unavailable, UNREACHABLE),
    (httpx.LocalProtocolError, InvalidRequest, "INVALID_REQUEST"),
    (httpx.UnsupportedProtocol, InvalidRequest, "INVALID_REQUEST"),
    (httpx.InvalidURL, InvalidRequest, "INVALID_REQUEST"),
    (httpx.DecodingError, InternalError, ""),
    (httpx.TooManyRedirects, InternalError, ""),
    (httpx.HTTPStatusError, InternalError, ""),
    (httpx.StreamError, InternalError, ""),
    (httpx.CookieConflict, InternalError, ""),
)
HTTPX_ERRORS = (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, httpx.CookieConflict, ssl.SSLError)


def failure(error: Exception, url: str, call: Call) -> SwinserveError:
    ours, reason, message = foreign(error, url, call.timeout)
    return ours(message, reason=reason, request_id=call.request_id)


def foreign(error: Exception, url: str, timeout: float) -> tuple[type[SwinserveError], str, str]:
    """An exception of httpx -> our class, the reason, the message."""
    matches = ((ours, reason) for theirs, ours, reason in FOREIGN if isinstance(error, theirs))
    ours, reason = next(matches, (InternalError, ""))
    if isinstance(error, httpx.ConnectTimeout):
        return ours, reason, f"cannot reach {url}: no connection in time"
    if reason == UNREACHABLE:
        return ours, reason, f"cannot reach {url}: {error}"
    if ours is DeadlineExceeded:
        return ours, reason, f"{url} did not answer within {timeout:g} s"
    return ours, reason, f"{type(error).__name__} from {url}: {error}"
