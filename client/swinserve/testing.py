"""For users' own tests: a service in memory that answers as they say, behind the real Client or AsyncClient.

from swinserve import Client, ImageResult, Prediction
from swinserve.testing import InMemoryTransport

transport = InMemoryTransport(lambda image: ImageResult((Prediction("cat", 281, 0.9),)))
with Client(transport=transport) as client:
    assert client.classify(b"an image").results[0].predictions[0].label == "cat"
assert transport.asked[0].images == (b"an image",)
"""

from collections.abc import Callable, Sequence

from .asking import IMAGE_ERRORS
from .errors import NotFound, SwinserveError
from .results import Classification, ImageResult, Model, Timing
from .transport import Call, Question

MODEL = Model(
    name="in_memory",
    version="1.0",
    versions=("1.0",),
    ready=True,
    architecture="none",
    input_height=224,
    input_width=224,
    labels=(),
    parameters=0,
    multiply_adds=0,
    dtype="float32",
    backend="memory",
    backend_reason="a test answers",
    batch_buckets=(1,),
    weights="none",
    embedding_size=0,
    activation_map_height=0,
    activation_map_width=0,
    backend_timings=(),
    preprocessing="",
    accuracy="",
    licence="",
)
"""What is served unless a test says otherwise; `dataclasses.replace` makes others of it."""


class InMemoryTransport:
    """`answer` gives an image's result, or raises the SwinserveError that a service would give.

    Errors of one image (TooLarge, UnsupportedType, UndecodableImage) spare the other images of a call, all others fail
    the call, and the client tries again what it always does. `asked` keeps every question, tries that failed included.
    """

    def __init__(self, answer: Callable[[bytes], ImageResult], models: Sequence[Model] = (MODEL,)) -> None:
        self.asked: list[Question] = []
        self._answer = answer
        self._models = list(models)

    def classify(self, question: Question, call: Call) -> Classification:
        self.asked.append(question)
        model = self.model(question.model or self._models[0].name, question.version, call)
        results = tuple(self._result(image) for image in question.images)
        if len(results) == 1 and results[0].error is not None:
            raise results[0].error
        return Classification(model.name, model.version, model.backend, model.dtype, results, Timing(), call.request_id)

    def models(self, call: Call) -> list[Model]:
        return self._models

    def model(self, name: str, version: str, call: Call) -> Model:
        for model in self._models:
            if model.name == name and version in ("", model.version):
                return model
        raise NotFound(f"there is no model {name!r} {version}", reason="MODEL_NOT_FOUND", request_id=call.request_id)

    def close(self) -> None:
        pass

    def _result(self, image: bytes) -> ImageResult:
        try:
            return self._answer(image)
        except SwinserveError as error:
            if not isinstance(error, IMAGE_ERRORS):
                raise
            return ImageResult(error=error)


class AsyncInMemoryTransport:
    """The same for AsyncClient; `asked` is that of the transport within."""

    def __init__(self, answer: Callable[[bytes], ImageResult], models: Sequence[Model] = (MODEL,)) -> None:
        self._memory = InMemoryTransport(answer, models)
        self.asked = self._memory.asked

    async def classify(self, question: Question, call: Call) -> Classification:
        return self._memory.classify(question, call)

    async def models(self, call: Call) -> list[Model]:
        return self._memory.models(call)

    async def model(self, name: str, version: str, call: Call) -> Model:
        return self._memory.model(name, version, call)

    async def close(self) -> None:
        self._memory.close()
