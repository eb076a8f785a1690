from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ClassifyRequest(_message.Message):
    __slots__ = ("model", "version", "images", "options")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    images: _containers.RepeatedCompositeFieldContainer[Image]
    options: ClassifyOptions
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ..., images: _Optional[_Iterable[_Union[Image, _Mapping]]] = ..., options: _Optional[_Union[ClassifyOptions, _Mapping]] = ...) -> None: ...

class Image(_message.Message):
    __slots__ = ("content",)
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    content: bytes
    def __init__(self, content: _Optional[bytes] = ...) -> None: ...

class ClassifyOptions(_message.Message):
    __slots__ = ("top_k", "min_score", "embedding", "class_activation_map")
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    MIN_SCORE_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    CLASS_ACTIVATION_MAP_FIELD_NUMBER: _ClassVar[int]
    top_k: int
    min_score: float
    embedding: bool
    class_activation_map: bool
    def __init__(self, top_k: _Optional[int] = ..., min_score: _Optional[float] = ..., embedding: bool = ..., class_activation_map: bool = ...) -> None: ...

class ClassifyResponse(_message.Message):
    __slots__ = ("model", "version", "backend", "dtype", "results", "timing")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    TIMING_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    backend: str
    dtype: str
    results: _containers.RepeatedCompositeFieldContainer[ImageResult]
    timing: Timing
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ..., backend: _Optional[str] = ..., dtype: _Optional[str] = ..., results: _Optional[_Iterable[_Union[ImageResult, _Mapping]]] = ..., timing: _Optional[_Union[Timing, _Mapping]] = ...) -> None: ...

class ImageResult(_message.Message):
    __slots__ = ("predictions", "error")
    PREDICTIONS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    predictions: Predictions
    error: ImageError
    def __init__(self, predictions: _Optional[_Union[Predictions, _Mapping]] = ..., error: _Optional[_Union[ImageError, _Mapping]] = ...) -> None: ...

class Predictions(_message.Message):
    __slots__ = ("predictions", "embedding", "map_region")
    PREDICTIONS_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    MAP_REGION_FIELD_NUMBER: _ClassVar[int]
    predictions: _containers.RepeatedCompositeFieldContainer[Prediction]
    embedding: Tensor
    map_region: Region
    def __init__(self, predictions: _Optional[_Iterable[_Union[Prediction, _Mapping]]] = ..., embedding: _Optional[_Union[Tensor, _Mapping]] = ..., map_region: _Optional[_Union[Region, _Mapping]] = ...) -> None: ...

class Prediction(_message.Message):
    __slots__ = ("label", "index", "score", "class_activation_map")
    LABEL_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    CLASS_ACTIVATION_MAP_FIELD_NUMBER: _ClassVar[int]
    label: str
    index: int
    score: float
    class_activation_map: Tensor
    def __init__(self, label: _Optional[str] = ..., index: _Optional[int] = ..., score: _Optional[float] = ..., class_activation_map: _Optional[_Union[Tensor, _Mapping]] = ...) -> None: ...

class Tensor(_message.Message):
    __slots__ = ("shape", "data")
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    shape: _containers.RepeatedScalarFieldContainer[int]
    data: bytes
    def __init__(self, shape: _Optional[_Iterable[int]] = ..., data: _Optional[bytes] = ...) -> None: ...

class Region(_message.Message):
    __slots__ = ("left", "top", "right", "bottom")
    LEFT_FIELD_NUMBER: _ClassVar[int]
    TOP_FIELD_NUMBER: _ClassVar[int]
    RIGHT_FIELD_NUMBER: _ClassVar[int]
    BOTTOM_FIELD_NUMBER: _ClassVar[int]
    left: float
    top: float
    right: float
    bottom: float
    def __init__(self, left: _Optional[float] = ..., top: _Optional[float] = ..., right: _Optional[float] = ..., bottom: _Optional[float] = ...) -> None: ...

class ImageError(_message.Message):
    __slots__ = ("code", "reason", "message")
    CODE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    code: int
    reason: str
    message: str
    def __init__(self, code: _Optional[int] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class Timing(_message.Message):
    __slots__ = ("queue", "batch_wait", "decode", "inference")
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    BATCH_WAIT_FIELD_NUMBER: _ClassVar[int]
    DECODE_FIELD_NUMBER: _ClassVar[int]
    INFERENCE_FIELD_NUMBER: _ClassVar[int]
    queue: float
    batch_wait: float
    decode: float
    inference: float
    def __init__(self, queue: _Optional[float] = ..., batch_wait: _Optional[float] = ..., decode: _Optional[float] = ..., inference: _Optional[float] = ...) -> None: ...

class ClassifyStreamRequest(_message.Message):
    __slots__ = ("id", "model", "version", "image", "options")
    ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    id: str
    model: str
    version: str
    image: Image
    options: ClassifyOptions
    def __init__(self, id: _Optional[str] = ..., model: _Optional[str] = ..., version: _Optional[str] = ..., image: _Optional[_Union[Image, _Mapping]] = ..., options: _Optional[_Union[ClassifyOptions, _Mapping]] = ...) -> None: ...

class ClassifyStreamResponse(_message.Message):
    __slots__ = ("id", "model", "version", "result", "timing")
    ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    TIMING_FIELD_NUMBER: _ClassVar[int]
    id: str
    model: str
    version: str
    result: ImageResult
    timing: Timing
    def __init__(self, id: _Optional[str] = ..., model: _Optional[str] = ..., version: _Optional[str] = ..., result: _Optional[_Union[ImageResult, _Mapping]] = ..., timing: _Optional[_Union[Timing, _Mapping]] = ...) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("models",)
    MODELS_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[Model]
    def __init__(self, models: _Optional[_Iterable[_Union[Model, _Mapping]]] = ...) -> None: ...

class GetModelRequest(_message.Message):
    __slots__ = ("model", "version")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ...) -> None: ...

class Model(_message.Message):
    __slots__ = ("name", "version", "versions", "ready", "architecture", "input_height", "input_width", "labels", "parameters", "multiply_adds", "dtype", "backend", "backend_reason", "batch_buckets", "weights", "embedding_size", "activation_map_height", "activation_map_width", "backend_timings", "preprocessing", "accuracy", "licence")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    ARCHITECTURE_FIELD_NUMBER: _ClassVar[int]
    INPUT_HEIGHT_FIELD_NUMBER: _ClassVar[int]
    INPUT_WIDTH_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    MULTIPLY_ADDS_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    BACKEND_REASON_FIELD_NUMBER: _ClassVar[int]
    BATCH_BUCKETS_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_SIZE_FIELD_NUMBER: _ClassVar[int]
    ACTIVATION_MAP_HEIGHT_FIELD_NUMBER: _ClassVar[int]
    ACTIVATION_MAP_WIDTH_FIELD_NUMBER: _ClassVar[int]
    BACKEND_TIMINGS_FIELD_NUMBER: _ClassVar[int]
    PREPROCESSING_FIELD_NUMBER: _ClassVar[int]
    ACCURACY_FIELD_NUMBER: _ClassVar[int]
    LICENCE_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    versions: _containers.RepeatedScalarFieldContainer[str]
    ready: bool
    architecture: str
    input_height: int
    input_width: int
    labels: _containers.RepeatedScalarFieldContainer[str]
    parameters: int
    multiply_adds: int
    dtype: str
    backend: str
    backend_reason: str
    batch_buckets: _containers.RepeatedScalarFieldContainer[int]
    weights: str
    embedding_size: int
    activation_map_height: int
    activation_map_width: int
    backend_timings: _containers.RepeatedCompositeFieldContainer[BackendTiming]
    preprocessing: str
    accuracy: str
    licence: str
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., versions: _Optional[_Iterable[str]] = ..., ready: bool = ..., architecture: _Optional[str] = ..., input_height: _Optional[int] = ..., input_width: _Optional[int] = ..., labels: _Optional[_Iterable[str]] = ..., parameters: _Optional[int] = ..., multiply_adds: _Optional[int] = ..., dtype: _Optional[str] = ..., backend: _Optional[str] = ..., backend_reason: _Optional[str] = ..., batch_buckets: _Optional[_Iterable[int]] = ..., weights: _Optional[str] = ..., embedding_size: _Optional[int] = ..., activation_map_height: _Optional[int] = ..., activation_map_width: _Optional[int] = ..., backend_timings: _Optional[_Iterable[_Union[BackendTiming, _Mapping]]] = ..., preprocessing: _Optional[str] = ..., accuracy: _Optional[str] = ..., licence: _Optional[str] = ...) -> None: ...

class BackendTiming(_message.Message):
    __slots__ = ("backend", "batch_bucket", "best_seconds", "median_seconds", "relative_l2", "chosen")
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    BATCH_BUCKET_FIELD_NUMBER: _ClassVar[int]
    BEST_SECONDS_FIELD_NUMBER: _ClassVar[int]
    MEDIAN_SECONDS_FIELD_NUMBER: _ClassVar[int]
    RELATIVE_L2_FIELD_NUMBER: _ClassVar[int]
    CHOSEN_FIELD_NUMBER: _ClassVar[int]
    backend: str
    batch_bucket: int
    best_seconds: float
    median_seconds: float
    relative_l2: float
    chosen: bool
    def __init__(self, backend: _Optional[str] = ..., batch_bucket: _Optional[int] = ..., best_seconds: _Optional[float] = ..., median_seconds: _Optional[float] = ..., relative_l2: _Optional[float] = ..., chosen: bool = ...) -> None: ...
