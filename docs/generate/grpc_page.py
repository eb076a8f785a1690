"""The public .proto files, with their comments -> the page on gRPC."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)
from markdown import anchor, page, table

ROOT = Path(__file__).resolve().parents[2]
PROTO = ROOT / "proto"
PROTOC = ROOT / ".venv-proto" / "bin" / "python"
PUBLIC = "swin_proto/v1"

# Where a descriptor's parts are in the paths of its comments: the field numbers of descriptor.proto.
MESSAGES, SERVICES, SYNTAX, FIELDS, METHODS = 4, 6, 12, 2, 2

Comments = dict[tuple[int, ...], str]


def text() -> str:
    (file,) = _described()
    comments = _comments(file)
    services = [part for i, each in enumerate(file.service) for part in _service(each, (SERVICES, i), comments)]
    messages = [part for i, each in enumerate(file.message_type) for part in _message(each, (MESSAGES, i), comments)]
    intro = f"Package `{file.package}`, in [{Path(file.name).name}](../../proto/{file.name})."
    health = "`grpc.health.v1.Health` (Check and Watch) and server reflection are served beside it."
    return page(
        "gRPC", f"proto/{PUBLIC}", intro, comments.get((SYNTAX,), ""), health, *services, "## Messages", *messages
    )


def _described() -> list[FileDescriptorProto]:
    """The public files as protoc reads them, comments included."""
    names = sorted(str(path.relative_to(PROTO)) for path in (PROTO / PUBLIC).glob("*.proto"))
    with tempfile.NamedTemporaryFile() as output:
        command = [str(PROTOC), "-m", "grpc_tools.protoc", f"-I{PROTO}", "--include_source_info"]
        subprocess.run([*command, f"--descriptor_set_out={output.name}", *names], check=True)
        return list(FileDescriptorSet.FromString(Path(output.name).read_bytes()).file)


def _comments(file: FileDescriptorProto) -> Comments:
    places = file.source_code_info.location
    return {tuple(place.path): _unwrapped(place.leading_comments) for place in places if place.leading_comments}


def _unwrapped(comment: str) -> str:
    """Paragraphs, each on one line."""
    paragraphs = "\n".join(line.strip() for line in comment.splitlines()).split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs).strip()


def _service(service: ServiceDescriptorProto, path: tuple[int, ...], comments: Comments) -> Iterator[str]:
    yield f"## Service {service.name}"
    yield comments.get(path, "")
    for i, method in enumerate(service.method):
        asked = ("stream of " if method.client_streaming else "") + _link(method.input_type)
        given = ("stream of " if method.server_streaming else "") + _link(method.output_type)
        yield f"### {method.name}"
        yield f"{asked} → {given}"
        yield comments.get((*path, METHODS, i), "")


def _message(message: DescriptorProto, path: tuple[int, ...], comments: Comments) -> Iterator[str]:
    yield f"### {message.name}"
    yield comments.get(path, "")
    rows = [
        (f"`{field.name}`", str(field.number), _type(field, message), comments.get((*path, FIELDS, i), ""))
        for i, field in enumerate(message.field)
    ]
    yield table(("field", "number", "type", "meaning"), rows) or "No fields."


def _type(field: FieldDescriptorProto, message: DescriptorProto) -> str:
    name = FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
    text = _link(field.type_name) if field.type_name else name
    if field.label == FieldDescriptorProto.LABEL_REPEATED:
        return f"list of {text}"
    if field.proto3_optional:
        return f"{text}, optional"
    if field.HasField("oneof_index"):
        return f"{text}, one of `{message.oneof_decl[field.oneof_index].name}`"
    return text


def _link(type_name: str) -> str:
    name = type_name.rpartition(".")[2]
    return f"[{name}](#{anchor(name)})"
