"""What a service answers, as frozen values that do not depend on the protocol."""

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .errors import SwinserveError

if TYPE_CHECKING:
    # numpy takes longer to import than all of this package, and most answers hold no array.
    from .arrays import Array


@dataclass(frozen=True)
class Prediction:
    """One label of one image; `score` is the softmax probability, 0..1, and `index` the class in the model's output.

    `class_activation_map`, float32 (h, w), says how much each place of the image speaks for this class: its mean is the
    class's logit, exactly if the model runs in float32 and within rounding in bfloat16. None if it was not asked for.
    Arrays have no single truth value, so neither it nor the embedding takes part in `==`; and they are too long to be
    part of a repr.
    """

    label: str
    index: int
    score: float
    class_activation_map: "Array | None" = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Region:
    """A rectangle of the upright image (turned as its EXIF orientation says), in fractions of its width and height; it
    lies partly outside 0..1 where preprocessing pads the image. ValueError for one that has no place on the image."""

    left: float
    top: float
    right: float
    bottom: float

    def __post_init__(self) -> None:
        for low, high in ((self.left, self.right), (self.top, self.bottom)):
            if not (math.isfinite(high - low) and low < high and low < 1 and high > 0):
                raise ValueError(f"{self} is no region of an image")


@dataclass(frozen=True)
class ImageResult:
    """One image's outcome: predictions, best first, or the error that a call with this image alone would raise.

    `embedding`, float32 (D,), holds the pooled features before the head: if it was asked for, and always for a model
    without classes. `map_region` is the part of the image that the class activation maps cover, if they were asked for.
    """

    predictions: tuple[Prediction, ...] = ()
    error: SwinserveError | None = None
    embedding: "Array | None" = field(default=None, compare=False, repr=False)
    map_region: Region | None = None


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
class BackendTiming:
    """How fast one backend was in one batch bucket when the archive was built: seconds of one forward pass of a full
    batch. The backends of a bucket took turns on one machine. `relative_l2` is how far its answers are from timm's in
    float32, on noise; `chosen`, that it is the one for this batch bucket. None is while a safe default serves instead.
    """

    backend: str
    batch_bucket: int
    best_seconds: float
    median_seconds: float
    relative_l2: float
    chosen: bool

    @property
    def images_per_second(self) -> float:
        """At its best."""
        return self.batch_bucket / self.best_seconds


@dataclass(frozen=True)
class Model:
    """One served model version. `labels[i]` names output i; input sizes are in pixels; `weights` says "random" when
    they were never trained; `versions` lists every served version of this name, the default first.

    `embedding_size` is the length of its embeddings, 0 if it has none to give; `activation_map_height` and `_width` are
    the rows and columns of its class activation maps, 0 if its logits are not the mean of one. A model without a head
    has no labels and answers with embeddings alone.

    `backend_reason` says in words why this backend serves, "" until a worker has answered; `backend_timings` what was
    timed when the archive was built, if anything was.

    `preprocessing` says in words how an image becomes the input, `accuracy` what top-1 is published of these weights,
    `licence` what theirs is; "" where nothing is known.
    """

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
    embedding_size: int
    activation_map_height: int
    activation_map_width: int
    backend_timings: tuple[BackendTiming, ...]
    preprocessing: str
    accuracy: str
    licence: str
