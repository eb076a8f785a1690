"""What a user writes, for mypy --strict: every public name with its type, nothing ignored."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Unpack

from swinserve import (
    AsyncClient,
    ClassifyOptions,
    Client,
    ImageResult,
    Overloaded,
    Prediction,
    StreamedImage,
    SwinserveError,
)
from swinserve.testing import MODEL, AsyncInMemoryTransport, InMemoryTransport

CAT = Prediction("cat", 281, 0.9)


def best(client: Client, image: bytes | Path, **options: Unpack[ClassifyOptions]) -> str:
    """A wrapper of one's own passes the options on, typed."""
    return client.classify(image, **options).results[0].predictions[0].label


def labels(client: Client, folder: Path) -> Iterator[tuple[str, str]]:
    each: StreamedImage
    for each in client.classify_stream(folder.glob("*.jpg"), ordered=False, in_flight=16, top_k=1):
        error: SwinserveError | None = each.result.error
        yield str(each.image), str(error) if error else each.result.predictions[0].label


def embedding(client: Client, image: bytes) -> float:
    values = client.classify(image, embedding=True).results[0].embedding
    return 0.0 if values is None else float(values @ values)


def patience(error: Overloaded) -> float:
    return error.retry_after or 1.0


async def awaited() -> list[str]:
    answers = AsyncInMemoryTransport(lambda image: ImageResult((CAT,)), [replace(MODEL, name="cats", labels=("cat",))])
    async with AsyncClient(transport=answers) as client:
        names = [model.name for model in await client.models()]
        async for each in client.classify_stream([b"a", b"b"], timeout=2.0):
            names.append(each.result.predictions[0].label)
    return names


def blocking() -> str:
    transport = InMemoryTransport(lambda image: ImageResult((CAT,)))
    with Client(transport=transport, timeout=2.0, retries=0) as client:
        return best(client, b"an image", top_k=1)


if __name__ == "__main__":
    print(blocking(), asyncio.run(awaited()))
