"""What a call asks for, over either protocol -> the scope that its token must have; None for what is open to all.

Only probes and the demo page are open: kubelets, load balancers and browsers that open a page bring no token (what the
page asks for needs the one that is typed into it). What is not named here needs the most, so that what
comes later is closed until somebody decides.
"""

from __future__ import annotations

from swin_gateway.tokens import Scope

PROBES = frozenset({"/livez", "/readyz", "/v2/health/live", "/v2/health/ready", "/ping"})
PAGE, PAGE_FILES = "/", "/page/"
HEALTH = "/grpc.health.v1.Health/"
OIP = "/inference.GRPCInferenceService/"
GRPC_PROBES = frozenset(OIP + name for name in ("ServerLive", "ServerReady"))
METADATA = frozenset(
    {
        *(f"/swinserve.v1.Classifier/{name}" for name in ("ListModels", "GetModel")),
        *(OIP + name for name in ("ServerMetadata", "ModelMetadata", "ModelReady")),
    }
)
REFLECTION = "/grpc.reflection."


def rest(method: str, path: str) -> Scope | None:
    """Reading is metadata, the API's description and its page included; the rest asks for work."""
    reading = method in ("GET", "HEAD")
    if path in PROBES or (reading and (path == PAGE or path.startswith(PAGE_FILES))):
        return None
    return "metadata" if reading else "classify"


def grpc(method: str) -> Scope | None:
    """method: as in the path of the HTTP/2 request"""
    if method.startswith(HEALTH) or method in GRPC_PROBES:
        return None
    return "metadata" if method in METADATA or method.startswith(REFLECTION) else "classify"
