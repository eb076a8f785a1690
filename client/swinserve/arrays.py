"""A shape and little-endian float32 bytes, or (nested) lists of numbers -> a numpy array of one's own."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


def array(shape: Sequence[int], data: bytes, dimensions: int) -> Array:
    """float32 of that shape, in the machine's byte order and writable. ValueError where the three do not agree."""
    if len(shape) != dimensions or min(shape) < 1:
        raise ValueError(f"an array of shape {list(shape)} where one of {dimensions} dimensions belongs")
    return np.frombuffer(data, "<f4").astype(np.float32).reshape(shape)


def listed(values: list[Any], dimensions: int) -> Array:
    """float32 from lists. ValueError or TypeError where they are not numbers in `dimensions` dimensions."""
    numbers = np.array(values, "<f4")
    return array(numbers.shape, numbers.tobytes(), dimensions)
