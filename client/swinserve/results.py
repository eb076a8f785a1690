"""What a service answers, as frozen values that do not depend on the protocol."""

from dataclasses import dataclass

from .errors import SwinserveError


@dataclass(frozen=True)
class Prediction:
    """One label of one image; `score` is the softmax probability, 0..1, and `index` the class in the model's output."""

    label: str
    index: int
    score: float


@dataclass(frozen=True)
class ImageResult:
    """One image's outcome: predictions, best first, or the error that a call with this image alone would raise."""

    predictions: tuple[Prediction, ...] = ()
    error: SwinserveError | None = None


@dataclass(frozen=True)
class Timing:
    """Where the time of the slowest image went, in seconds: see the words in docs/."""

    queue: float = 0.0
    batch_wait: float = 0.0
    decode: float = 0.0
    inference: float = 0.0

    @property
    def total(self) -> float:
        """The stages together, in seconds; the network is not among them."""
        return self.queue + self.batch_wait + self.decode + self.inference


@dataclass(frozen=True)
class Classification:
    """The answer to one call: who answered, one result for each image in the order of the call, and the times."""

    model: str
    version: str
    backend: str
    dtype: str
    results: tuple[ImageResult, ...]
    timing: Timing
    request_id: str


@dataclass(frozen=True)
class Model:
    """One served model version. `labels[i]` names output i; input sizes are in pixels; `weights` says "random" when
    they were never trained; `versions` lists every served version of this name, the default first."""

    name: str
    version: str
    versions: tuple[str, ...]
    ready: bool
    architecture: str
    input_height: int
    input_width: int
    labels: tuple[str, ...]
    parameters: int
    multiply_adds: int
    dtype: str
    backend: str
    backend_reason: str
    batch_buckets: tuple[int, ...]
    weights: str
