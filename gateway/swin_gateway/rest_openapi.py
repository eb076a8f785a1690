"""What /openapi.json says beyond what FastAPI reads from the endpoints: bodies, errors, tokens."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from swin_gateway.body import JsonBody
from swin_gateway.oip_schema import InferJson
from swin_gateway.rest_json import ErrorBody


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """FastAPI collects no definitions of what `openapi_extra` brings, so JsonBody's one is put where it is used."""
    (schema["properties"]["images"]["items"],) = schema.pop("$defs").values()
    return schema


def _infer_schemas() -> dict[str, Any]:
    """Of the body of an inference, which FastAPI does not read: it may have tensors behind it."""
    schema = InferJson.model_json_schema(ref_template="#/components/schemas/{model}")
    return {**schema.pop("$defs"), InferJson.__name__: schema}


BINARY = {"schema": {"type": "string", "format": "binary"}}
BODY = {
    "requestBody": {
        "required": True,
        "description": "One encoded image as the raw body; or several as multipart files; or JSON with base64.",
        "content": {
            **dict.fromkeys(("application/octet-stream", "image/jpeg", "image/png", "image/webp"), BINARY),
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["images"],
                    "properties": {"images": {"type": "array", "items": BINARY["schema"]}},
                }
            },
            "application/json": {"schema": _inlined(JsonBody.model_json_schema())},
        },
    }
}
ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorBody, "description": "Malformed request, an option out of range or not for this model"},
    401: {"model": ErrorBody, "description": "No token, or an unknown one, where the service asks for one"},
    403: {"model": ErrorBody, "description": "The token lacks the scope"},
    404: {"model": ErrorBody, "description": "No such model or version"},
    413: {"model": ErrorBody, "description": "Too many bytes, pixels or images, or too large an answer"},
    415: {"model": ErrorBody, "description": "Not an image type taken here"},
    422: {"model": ErrorBody, "description": "Truncated or corrupt image"},
    429: {"model": ErrorBody, "description": "Shed, or over the token's limits: try again after Retry-After seconds"},
    500: {"model": ErrorBody, "description": "A bug"},
    503: {"model": ErrorBody, "description": "Not ready or draining: try again after Retry-After seconds"},
    504: {"model": ErrorBody, "description": "The deadline passed"},
}
REFUSALS: dict[int | str, dict[str, Any]] = {status: ERRORS[status] for status in (401, 403)}
UNGUARDED: dict[str, Any] = {"security": []}
"""For operations that never need a token."""


def with_bearer(app: FastAPI) -> None:
    """Describes the token as one of the ways to call: a service without tokens needs none."""
    describe = app.openapi

    def openapi() -> dict[str, Any]:
        description = describe()
        description["components"]["schemas"] |= _infer_schemas()
        description["components"]["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
        description["security"] = [{"bearer": []}, {}]
        return description

    app.openapi = openapi  # type: ignore[method-assign]
