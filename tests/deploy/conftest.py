"""What a cluster would get, of every combination in turn unless a test asks for some of them."""

from __future__ import annotations

import pytest
from deploy.k8s.render import COMBINATIONS

from tests.deploy.manifests import Object, objects


@pytest.fixture(params=COMBINATIONS)
def found(request: pytest.FixtureRequest) -> list[Object]:
    return objects(request.param)
