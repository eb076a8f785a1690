from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Job(_message.Message):
    __slots__ = ("contract_version", "request_id", "expires_at", "images", "top_k", "min_score", "embedding", "class_activation_map", "shared_images")
    CONTRACT_VERSION_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    MIN_SCORE_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    CLASS_ACTIVATION_MAP_FIELD_NUMBER: _ClassVar[int]
    SHARED_IMAGES_FIELD_NUMBER: _ClassVar[int]
    contract_version: int
    request_id: str
    expires_at: float
    images: _containers.RepeatedScalarFieldContainer[bytes]
    top_k: int
    min_score: float
    embedding: bool
    class_activation_map: bool
    shared_images: _containers.RepeatedCompositeFieldContainer[SharedImage]
    def __init__(self, contract_version: _Optional[int] = ..., request_id: _Optional[str] = ..., expires_at: _Optional[float] = ..., images: _Optional[_Iterable[bytes]] = ..., top_k: _Optional[int] = ..., min_score: _Optional[float] = ..., embedding: bool = ..., class_activation_map: bool = ..., shared_images: _Optional[_Iterable[_Union[SharedImage, _Mapping]]] = ...) -> None: ...

class SharedImage(_message.Message):
    __slots__ = ("descriptor", "size")
    DESCRIPTOR_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    descriptor: int
    size: int
    def __init__(self, descriptor: _Optional[int] = ..., size: _Optional[int] = ...) -> None: ...

class Answer(_message.Message):
    __slots__ = ("contract_version", "results", "entered_at", "decode_seconds", "inference_seconds", "batch_size", "padded_size", "worker_pid", "backend", "dtype", "engine_note", "compiles")
    CONTRACT_VERSION_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    ENTERED_AT_FIELD_NUMBER: _ClassVar[int]
    DECODE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    INFERENCE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    PADDED_SIZE_FIELD_NUMBER: _ClassVar[int]
    WORKER_PID_FIELD_NUMBER: _ClassVar[int]
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    ENGINE_NOTE_FIELD_NUMBER: _ClassVar[int]
    COMPILES_FIELD_NUMBER: _ClassVar[int]
    contract_version: int
    results: _containers.RepeatedCompositeFieldContainer[Result]
    entered_at: float
    decode_seconds: float
    inference_seconds: float
    batch_size: int
    padded_size: int
    worker_pid: int
    backend: str
    dtype: str
    engine_note: str
    compiles: int
    def __init__(self, contract_version: _Optional[int] = ..., results: _Optional[_Iterable[_Union[Result, _Mapping]]] = ..., entered_at: _Optional[float] = ..., decode_seconds: _Optional[float] = ..., inference_seconds: _Optional[float] = ..., batch_size: _Optional[int] = ..., padded_size: _Optional[int] = ..., worker_pid: _Optional[int] = ..., backend: _Optional[str] = ..., dtype: _Optional[str] = ..., engine_note: _Optional[str] = ..., compiles: _Optional[int] = ...) -> None: ...

class Result(_message.Message):
    __slots__ = ("top_k", "error", "embedding", "activation_maps")
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    ACTIVATION_MAPS_FIELD_NUMBER: _ClassVar[int]
    top_k: TopK
    error: Error
    embedding: bytes
    activation_maps: ActivationMaps
    def __init__(self, top_k: _Optional[_Union[TopK, _Mapping]] = ..., error: _Optional[_Union[Error, _Mapping]] = ..., embedding: _Optional[bytes] = ..., activation_maps: _Optional[_Union[ActivationMaps, _Mapping]] = ...) -> None: ...

class ActivationMaps(_message.Message):
    __slots__ = ("height", "width", "data", "left", "top", "right", "bottom")
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    LEFT_FIELD_NUMBER: _ClassVar[int]
    TOP_FIELD_NUMBER: _ClassVar[int]
    RIGHT_FIELD_NUMBER: _ClassVar[int]
    BOTTOM_FIELD_NUMBER: _ClassVar[int]
    height: int
    width: int
    data: bytes
    left: float
    top: float
    right: float
    bottom: float
    def __init__(self, height: _Optional[int] = ..., width: _Optional[int] = ..., data: _Optional[bytes] = ..., left: _Optional[float] = ..., top: _Optional[float] = ..., right: _Optional[float] = ..., bottom: _Optional[float] = ...) -> None: ...

class TopK(_message.Message):
    __slots__ = ("indices", "scores")
    INDICES_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    indices: _containers.RepeatedScalarFieldContainer[int]
    scores: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, indices: _Optional[_Iterable[int]] = ..., scores: _Optional[_Iterable[float]] = ...) -> None: ...

class Error(_message.Message):
    __slots__ = ("kind", "message")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[Error.Kind]
        INTERNAL: _ClassVar[Error.Kind]
        EXPIRED: _ClassVar[Error.Kind]
        UNSUPPORTED_TYPE: _ClassVar[Error.Kind]
        UNDECODABLE: _ClassVar[Error.Kind]
        TOO_LARGE: _ClassVar[Error.Kind]
        OUT_OF_MEMORY: _ClassVar[Error.Kind]
        BAD_JOB: _ClassVar[Error.Kind]
        UNREADABLE: _ClassVar[Error.Kind]
    KIND_UNSPECIFIED: Error.Kind
    INTERNAL: Error.Kind
    EXPIRED: Error.Kind
    UNSUPPORTED_TYPE: Error.Kind
    UNDECODABLE: Error.Kind
    TOO_LARGE: Error.Kind
    OUT_OF_MEMORY: Error.Kind
    BAD_JOB: Error.Kind
    UNREADABLE: Error.Kind
    KIND_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    kind: Error.Kind
    message: str
    def __init__(self, kind: _Optional[_Union[Error.Kind, str]] = ..., message: _Optional[str] = ...) -> None: ...
