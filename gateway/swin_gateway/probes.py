"""`Readiness` -> the answers of /livez and /readyz, on whichever HTTP port they are asked for."""

from __future__ import annotations

from fastapi import Request
from fastapi.responses import JSONResponse

from swin_gateway.model import Models
from swin_gateway.readiness import Readiness


class Probes:
    def __init__(self, readiness: Readiness, models: Models) -> None:
        self._readiness = readiness
        self._models = models

    async def livez(self, request: Request) -> JSONResponse:
        """200 while the process serves, whatever the load."""
        return JSONResponse({"status": "live", "models": {}})

    async def readyz(self, request: Request) -> JSONResponse:
        """200 while every model has a live worker that answers and the service is not draining; else 503."""
        ready = self._readiness.ready
        states = {f"{each.name}@{each.version}": each.workers.ready for each in self._models}
        return JSONResponse({"status": "ready" if ready else "not ready", "models": states}, 200 if ready else 503)
