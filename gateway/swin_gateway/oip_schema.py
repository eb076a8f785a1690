"""The JSON of the Open Inference Protocol, as pydantic models: what is read, and what OpenAPI says of the answers."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

MAX_DIMENSIONS = 8
MAX_TENSORS = 16

Parameters = Annotated[dict[str, Any], Field(description="a parameter that is not known is refused")]


class StrictJson(BaseModel):
    """What is null is absent: KServe's clients write both."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def without_nulls(cls, value: Any) -> Any:
        return {key: each for key, each in value.items() if each is not None} if isinstance(value, dict) else value


class InferInputJson(StrictJson):
    name: str = Field(description="`image` or `pixels`")
    shape: list[Annotated[int, Field(ge=0)]] = Field(max_length=MAX_DIMENSIONS)
    datatype: str = Field(description="BYTES of `image`, UINT8 of `pixels`")
    parameters: Parameters = {}
    data: list[Any] | None = Field(
        None, description="of `image` the files' bytes in base64, of `pixels` numbers, nested or not; absent if binary"
    )


class InferOutputAskedJson(StrictJson):
    name: str
    parameters: Parameters = {}


class InferJson(StrictJson):
    model_name: str = Field("", description="of no effect: the path names the model. KServe's clients send it")
    id: str = Field("", description="comes back in the answer")
    parameters: Parameters = {}
    inputs: list[InferInputJson] = Field(max_length=MAX_TENSORS)
    outputs: list[InferOutputAskedJson] = Field([], max_length=MAX_TENSORS)


class InferOutputJson(BaseModel):
    name: str
    datatype: str
    shape: list[int]
    data: list[float | int | str] | None = Field(None, description="the last dimension fastest; absent if binary")
    parameters: dict[str, Any] | None = None


class InferredJson(BaseModel):
    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[InferOutputJson]


class TensorKindJson(BaseModel):
    name: str
    datatype: str
    shape: list[int] = Field(description="-1: of any size")


class ModelMetadataJson(BaseModel):
    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorKindJson] = Field(description="one of them is to be sent")
    outputs: list[TensorKindJson]


class ServerMetadataJson(BaseModel):
    name: str
    version: str
    extensions: list[str]


class LiveJson(BaseModel):
    live: bool


class ReadyJson(BaseModel):
    ready: bool


class ModelReadyJson(BaseModel):
    name: str
    ready: bool


class OipErrorJson(BaseModel):
    error: str = Field(description="what was wrong and what to do about it, and the request's id")
