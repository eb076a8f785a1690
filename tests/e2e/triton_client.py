"""An unmodified `tritonclient` against a running service: what applications call of it, over both protocols.

Runs in the environment of requirements/triton.txt: triton_client.py HTTP_HOST:PORT GRPC_HOST:PORT MODEL IMAGE LABEL
Prints what each call got; ends with an exception where that is not right.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import tritonclient.grpc as over_grpc
import tritonclient.http as over_http
from tritonclient.utils import InferenceServerException

HTTP, GRPC, MODEL, IMAGE, LABEL = sys.argv[1:]
CONTENT = Path(IMAGE).read_bytes()
CLASSES = 10
OUTPUTS = [["scores", "FP32"], ["indices", "INT64"], ["labels", "BYTES"], ["embedding", "FP32"]]


def encoded(protocol: ModuleType, images: list[bytes], *, column: bool = False) -> Any:
    array = np.array(images, np.object_)
    array = array[:, None] if column else array
    tensor = protocol.InferInput("image", list(array.shape), "BYTES")
    tensor.set_data_from_numpy(array)
    return tensor


def raw(protocol: ModuleType, count: int, **form: bool) -> Any:
    """Grey gradients; which digit that is nobody knows."""
    array = np.tile(np.arange(40 * 30 * 3, dtype=np.uint8).reshape(1, 40, 30, 3), (count, 1, 1, 1))
    tensor = protocol.InferInput("pixels", list(array.shape), "UINT8")
    tensor.set_data_from_numpy(array, **form)
    return tensor


def refused(ask: Callable[[], Any], pattern: str) -> None:
    try:
        ask()
    except InferenceServerException as error:
        print("  refused:", error)
        assert re.search(pattern, str(error)), pattern
        return
    raise AssertionError(f"not refused: {pattern}")


def probes_and_metadata(client: Any, fields: Callable[[Any], dict[str, Any]]) -> None:
    assert client.is_server_live() is True
    assert client.is_server_ready() is True
    assert client.is_model_ready(MODEL) is True
    assert client.is_model_ready(MODEL, "1.0") is True
    assert client.is_model_ready("nothing") is False
    server = fields(client.get_server_metadata())
    model = fields(client.get_model_metadata(MODEL, "1.0"))
    print("  server", server)
    print("  model", model)
    assert server["name"] == "swinserve"
    assert (model["name"], list(model["versions"])) == (MODEL, ["1.0"])
    assert [[each["name"], each["datatype"]] for each in model["inputs"]] == [["image", "BYTES"], ["pixels", "UINT8"]]
    assert [[each["name"], each["datatype"]] for each in model["outputs"]] == OUTPUTS
    refused(lambda: client.get_model_metadata("nothing"), f"404|NOT_FOUND.*{MODEL}")


def classify(client: Any, protocol: ModuleType) -> None:
    for count in (1, 8):
        result = client.infer(MODEL, [encoded(protocol, [CONTENT] * count)], request_id="mine")
        labels, scores, indices = (result.as_numpy(name) for name in ("labels", "scores", "indices"))
        print(f"  BYTES [{count}]", labels[0], scores[0], indices[0])
        assert labels.shape == scores.shape == indices.shape == (count, 5)
        assert (scores.dtype, indices.dtype) == (np.float32, np.int64)
        assert (labels[:, 0] == LABEL.encode()).all()
        pixels = client.infer(MODEL, [raw(protocol, count)], model_version="1.0", parameters={"top_k": 2})
        print(f"  UINT8 [{count}, 40, 30, 3]", pixels.as_numpy("labels")[0], pixels.as_numpy("scores")[0])
        assert pixels.as_numpy("labels").shape == (count, 2)
        assert len(np.unique(pixels.as_numpy("scores"))) == 2  # the same for all images


def outputs(client: Any, protocol: ModuleType) -> None:
    wanted = [protocol.InferRequestedOutput("scores", class_count=3), protocol.InferRequestedOutput("embedding")]
    image = encoded(protocol, [CONTENT], column=True)
    result = client.infer(MODEL, [image], outputs=wanted, parameters={"top_k": CLASSES}, timeout=30_000_000)
    print("  classification", result.as_numpy("scores")[0], "embedding", result.as_numpy("embedding").shape)
    assert result.as_numpy("scores").shape == (1, 3)
    assert result.as_numpy("scores")[0][0].decode().split(":")[2] == LABEL
    assert result.as_numpy("embedding").shape == (1, 64)
    assert result.as_numpy("embedding").dtype == np.float32


def errors(client: Any, protocol: ModuleType) -> None:
    good, none = encoded(protocol, [CONTENT]), encoded(protocol, [CONTENT, b"this is no image"])
    refused(lambda: client.infer("nothing", [good]), "no model 'nothing'")
    refused(lambda: client.infer(MODEL, [none]), "image 1: this is no image of a type")
    refused(lambda: client.infer(MODEL, [good], parameters={"topk": 3}), "unknown parameter 'topk'")
    refused(lambda: client.infer(MODEL, [good], timeout=1), "would take|deadline")
    refused(lambda: client.infer(MODEL, [good], sequence_id=7), "sequence_id")
    unknown = [protocol.InferRequestedOutput("logits")]
    refused(lambda: client.infer(MODEL, [good], outputs=unknown), "no output 'logits'")
    refused(lambda: client.infer(MODEL, [encoded(protocol, [CONTENT] * 65)]), "more than the 64 images")


def http_alone(client: Any) -> None:
    """JSON instead of bytes, asynchronous calls, a query and headers, a coding that is not taken."""
    form = [over_http.InferRequestedOutput(name, binary_data=False) for name in ("labels", "scores")]
    result = client.infer(MODEL, [raw(over_http, 1, binary_data=False)], outputs=form, query_params={"trace": "1"})
    print("  JSON", result.get_response())
    assert "data" in result.get_output("labels")
    calls = [client.async_infer(MODEL, [encoded(over_http, [CONTENT])]) for _ in range(4)]
    assert all(call.get_result().as_numpy("labels")[0][0] == LABEL.encode() for call in calls)
    compressed = {"request_compression_algorithm": "gzip", "response_compression_algorithm": "gzip"}
    refused(lambda: client.infer(MODEL, [encoded(over_http, [CONTENT])], **compressed), "gzip")


def main() -> None:
    with over_http.InferenceServerClient(HTTP, concurrency=4) as client:
        print("HTTP")
        probes_and_metadata(client, dict)
        classify(client, over_http)
        outputs(client, over_http)
        errors(client, over_http)
        http_alone(client)
    with over_grpc.InferenceServerClient(GRPC) as client:
        print("gRPC")
        probes_and_metadata(client, as_dict)
        classify(client, over_grpc)
        outputs(client, over_grpc)
        errors(client, over_grpc)
        refused(lambda: client.infer(MODEL, [encoded(over_grpc, [CONTENT])], client_timeout=1e-6), "(?i)deadline")


def as_dict(message: Any) -> dict[str, Any]:
    def value(each: Any) -> Any:
        return as_dict(each) if hasattr(each, "ListFields") else each

    fields = message.DESCRIPTOR.fields
    return {
        field.name: [value(each) for each in getattr(message, field.name)]
        if field.is_repeated
        else value(getattr(message, field.name))
        for field in fields
    }


if __name__ == "__main__":
    main()
