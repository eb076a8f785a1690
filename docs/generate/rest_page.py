"""OpenAPI, as /openapi.json has it -> the page on REST."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock

from markdown import anchor, page, table

from swin_gateway.rest_api import RestApi

Json = dict[str, Any]

OWN = {"operationId", "summary"}
"""What operations have for themselves though they are alike otherwise."""

INTRO = """The same as a page to try calls on is at `/docs` of a running service, the document itself at
`/openapi.json`. Errors have one body everywhere ([errors](errors.md)). Images may be sent raw, as multipart files or
as base64 in JSON:

```console
$ curl --data-binary @photo.jpg 'http://127.0.0.1:8000/v1/classify?top_k=3'
$ curl -F images=@one.jpg -F images=@two.jpg http://127.0.0.1:8000/v1/models/NAME:classify
```"""


def text() -> str:
    # Nothing behind the application is asked while it describes itself.
    document = RestApi(Mock(), Mock(), Mock(), Mock()).app.openapi()
    named: Json = document["components"]["schemas"]
    operations = [part for alike in _alike(document["paths"]) for part in _operation(*alike)]
    schemas = [part for name in sorted(named) for part in _schema(name, named[name])]
    return page("REST", "the gateway's OpenAPI document", INTRO, *operations, "## Schemas", *schemas)


def _alike(paths: Json) -> list[tuple[list[str], Json]]:
    """Operations that differ in nothing but their path, with all of their paths."""
    groups: list[tuple[list[str], Json]] = []
    for path, methods in paths.items():
        for method, operation in methods.items():
            name = f"{method.upper()} {path}"
            same = next((names for names, each in groups if _said(each) == _said(operation)), None)
            if same is None:
                groups.append(([name], operation))
            else:
                same.append(name)
    return groups


def _said(operation: Json) -> Json:
    """What is said of an operation, but for its path."""
    return {key: _shared(key, value) for key, value in operation.items() if key not in OWN}


def _shared(key: str, value: Any) -> Any:
    """What operations that are alike have in common: of the parameters, those that are not part of the path."""
    return [each for each in value if each["in"] != "path"] if key == "parameters" else value


def _operation(names: list[str], operation: Json) -> Iterator[str]:
    yield f"## {names[0]}"
    if names[1:]:
        yield "And " + ", ".join(f"`{name}`" for name in names[1:]) + "."
    yield operation.get("description") or operation.get("summary", "")
    rows = [
        (f"`{each['name']}`", each["in"], _type(each["schema"]), _default(each["schema"]), _meaning(each))
        for each in _shared("parameters", operation.get("parameters", []))
    ]
    yield table(("parameter", "in", "type", "default", "meaning"), rows)
    if body := operation.get("requestBody"):
        yield f"Body: {_meaning(body)} Types: {', '.join(f'`{kind}`' for kind in body['content'])}."
    yield table(("status", "body", "meaning"), [_answer(*each) for each in operation["responses"].items()])


def _answer(status: str, response: Json) -> tuple[str, str, str]:
    types = [content["schema"] for content in response.get("content", {}).values() if "schema" in content]
    return status, _type(types[0]) if types else "", response["description"]


def _schema(name: str, schema: Json) -> Iterator[str]:
    yield f"### {name}"
    yield _meaning(schema)
    required = schema.get("required", [])
    rows = [
        (f"`{key}`", _type(each) + ("" if key in required else ", optional"), _meaning(each))
        for key, each in schema.get("properties", {}).items()
    ]
    yield table(("key", "type", "meaning"), rows)


def _meaning(schema: Json) -> str:
    return str(schema.get("description", ""))


def _default(schema: Json) -> str:
    value = schema.get("default")
    return "" if value is None else f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _type(schema: Json) -> str:
    """In words, with a link to what has a name; the bounds of numbers beside them."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{anchor(name)})"
    if "anyOf" in schema:
        return " or ".join(_type(each) for each in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(f"`{each}`" for each in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_type(schema['additionalProperties'])}"
    return str(schema.get("type", "any")) + _bounds(schema)


def _bounds(schema: Json) -> str:
    least, most = schema.get("minimum"), schema.get("maximum")
    return f", {least}–{most}" if least is not None and most is not None else ""
