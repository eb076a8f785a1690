"""A URL and what goes with it -> where a service is and how to be let in."""

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from .certificates import Certificates

SCHEMES = {"grpc": False, "grpcs": True, "http": False, "https": True}
"""Whether each speaks TLS."""
GRPC_PORT = 8001
FORMS = "grpc://host:port, grpcs://…, http://… or https://…; several addresses with commas between them"


@dataclass(frozen=True)
class Service:
    """One service, at one address or at several that are as good as each other."""

    scheme: str
    addresses: tuple[str, ...]
    """host:port each; over HTTP the port may be left out."""
    path: str = ""
    certificates: Certificates = field(default_factory=Certificates)
    token: str | None = field(default=None, repr=False)

    @property
    def tls(self) -> bool:
        return SCHEMES[self.scheme]

    @property
    def grpc(self) -> bool:
        return self.scheme.startswith("grpc")

    @property
    def url(self) -> str:
        """For messages."""
        return f"{self.scheme}://{','.join(self.addresses)}{self.path}"

    @property
    def roots(self) -> tuple[str, ...]:
        """A URL for each address."""
        return tuple(f"{self.scheme}://{address}{self.path}" for address in self.addresses)


def service(
    url: str,
    ca: str | Path | None = None,
    cert: str | Path | None = None,
    key: str | Path | None = None,
    token: str | None = None,
) -> Service:
    """ValueError for a URL of another form, TLS files without TLS, and a token that no header carries."""
    if "@" in url:
        # Without the URL: whoever reads the message must not read the password.
        raise ValueError("a URL holds no user and no password; a token goes along as `token`, or SWINSERVE_TOKEN")
    scheme, found, rest = url.partition("://")
    addresses, slash, path = rest.partition("/")
    if not found or scheme not in SCHEMES:
        raise ValueError(f"{url!r} is none of {FORMS}")
    is_grpc = scheme.startswith("grpc")
    if "?" in url or "#" in url or (path and is_grpc):
        raise ValueError("the URL holds more than addresses")
    if not SCHEMES[scheme] and (ca or cert or key):
        raise ValueError(f"{scheme}:// has no TLS, so there is no use for certificates; did you mean {scheme}s://?")
    if token is not None and not (token.isascii() and token.isprintable() and token and " " not in token):
        raise ValueError("the token is not printable ASCII without blanks")
    paths = (None if each is None else Path(each) for each in (ca, cert, key))
    return Service(
        scheme,
        tuple(_address(address, url, GRPC_PORT if is_grpc else None) for address in addresses.split(",")),
        f"{slash}{path}".rstrip("/"),
        Certificates(*paths),
        token,
    )


def _address(address: str, url: str, port: int | None) -> str:
    parts = urlsplit(f"//{address}")
    if not parts.hostname or parts.netloc != address:
        raise ValueError(f"{url!r} has {address!r} where a host and port belong")
    if parts.port is None and port is not None:  # reading a port that is none is a ValueError too
        return f"{address.rstrip(':')}:{port}"
    return address
