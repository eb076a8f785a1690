from __future__ import annotations

import pytest

from swin_gateway import scope_of


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "/livez", None),
        ("HEAD", "/readyz", None),
        ("GET", "/livez/", "metadata"),
        ("GET", "/", None),
        ("HEAD", "/page/page.js", None),
        ("POST", "/", "classify"),
        ("POST", "/page/page.js", "classify"),
        ("GET", "/page", "metadata"),
        ("GET", "/docs", "metadata"),
        ("GET", "/openapi.json", "metadata"),
        ("GET", "/v1/models/digits", "metadata"),
        ("GET", "/nothing", "metadata"),
        ("POST", "/v1/classify", "classify"),
        ("POST", "/v1/models", "classify"),
        ("PUT", "/v1/models", "classify"),
        ("OPTIONS", "/v1/classify", "classify"),
        ("GET", "/v2/health/live", None),
        ("GET", "/v2/health/ready", None),
        ("GET", "/ping", None),
        ("GET", "/v2", "metadata"),
        ("GET", "/v2/models/digits/ready", "metadata"),
        ("POST", "/v2/models/digits/infer", "classify"),
        ("PUT", "/predictions/digits", "classify"),
    ],
)
def test_over_rest_reading_is_metadata_and_the_rest_asks_for_work(method: str, path: str, scope: str | None) -> None:
    assert scope_of.rest(method, path) == scope


@pytest.mark.parametrize(
    ("method", "scope"),
    [
        ("/grpc.health.v1.Health/Check", None),
        ("/grpc.health.v1.Health/Watch", None),
        ("/swinserve.v1.Classifier/Classify", "classify"),
        ("/swinserve.v1.Classifier/ClassifyStream", "classify"),
        ("/swinserve.v1.Classifier/ListModels", "metadata"),
        ("/swinserve.v1.Classifier/GetModel", "metadata"),
        ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", "metadata"),
        ("/swinserve.v1.Classifier/WhatComesLater", "classify"),
        ("/inference.GRPCInferenceService/ServerLive", None),
        ("/inference.GRPCInferenceService/ServerReady", None),
        ("/inference.GRPCInferenceService/ModelReady", "metadata"),
        ("/inference.GRPCInferenceService/ServerMetadata", "metadata"),
        ("/inference.GRPCInferenceService/ModelMetadata", "metadata"),
        ("/inference.GRPCInferenceService/ModelInfer", "classify"),
        ("/nothing", "classify"),
    ],
)
def test_over_grpc_what_is_not_named_needs_the_most(method: str, scope: str | None) -> None:
    assert scope_of.grpc(method) == scope
