"""Tensors of the Open Inference Protocol: what is in them, and that nothing else is taken for one."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from swin_gateway import raw_pixels
from swin_gateway.errors import InvalidRequest, ServingError, TooLarge
from swin_gateway.oip_tensors import InputTensor, OutputTensor, images

MOST, MOST_BYTES = 8, 2000


def elements(*contents: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(content)) + content for content in contents)


def image(content: bytes | list[bytes], *shape: int) -> InputTensor:
    return InputTensor("image", "BYTES", shape, content)


def pixels(content: bytes, *shape: int) -> InputTensor:
    return InputTensor("pixels", "UINT8", shape, content)


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=MOST), st.booleans())
def test_elements_of_bytes_come_out_as_they_went_in(contents: list[bytes], column: bool) -> None:
    shape = (len(contents), 1) if column else (len(contents),)
    assert images(image(elements(*contents), *shape), MOST, MOST_BYTES) == contents
    assert images(image(contents, *shape), MOST, MOST_BYTES) == contents
    written = OutputTensor("labels", "BYTES", shape, contents).raw()
    assert written == elements(*contents)


@given(st.integers(1, 3), st.integers(1, 20), st.integers(1, 20), st.randoms(use_true_random=False))
def test_raw_pixels_become_images_of_the_same_pixels(count: int, height: int, width: int, random: object) -> None:
    each = 3 * height * width
    content = random.randbytes(count * each)  # type: ignore[attr-defined]
    found = images(pixels(content, count, height, width, 3), MOST, MOST_BYTES)
    opened = [Image.open(io.BytesIO(each)) for each in found]
    assert [each.size for each in opened] == [(width, height)] * count
    assert {each.mode for each in opened} == {"RGB"}
    assert b"".join(each.tobytes() for each in opened) == content


@pytest.mark.parametrize(
    ("tensor", "error", "words"),
    [
        (InputTensor("photo", "BYTES", [1], b""), InvalidRequest, "no input 'photo'"),
        (InputTensor("image", "UINT8", [1], b""), InvalidRequest, "image is BYTES"),
        (InputTensor("pixels", "FP32", [1, 1, 1, 3], bytes(12)), InvalidRequest, "pixels is UINT8"),
        (image(b""), InvalidRequest, "[N] or [N, 1]"),
        (image(elements(b"a", b"b"), 1, 2), InvalidRequest, "[N] or [N, 1]"),
        (image(b"", 0), InvalidRequest, "at least one"),
        (image(b"", -1), InvalidRequest, "at least one"),
        (image(elements(*[b"a"] * 9), 9), TooLarge, "more than the 8 images"),
        (image(b"", 2**62), TooLarge, "more than the 8 images"),
        (image([b"a"], 2), InvalidRequest, "has 1 elements"),
        (image(elements(b"a"), 2), InvalidRequest, "ends after 1"),
        (image(elements(b"a") + b"\1", 1), InvalidRequest, "1 bytes behind"),
        (image(b"\xff\xff\xff\xffa", 1), InvalidRequest, "longer than what is left"),
        (image(b"\0\0\0", 1), InvalidRequest, "ends after 0"),
        (pixels(bytes(12), 1, 2, 2), InvalidRequest, "[N, height, width, 3]"),
        (pixels(bytes(16), 1, 2, 2, 4), InvalidRequest, "[N, height, width, 3]"),
        (pixels(b"", 1, 0, 2, 3), InvalidRequest, "[N, height, width, 3]"),
        (pixels(bytes(12), 1, -2, -2, 3), InvalidRequest, "[N, height, width, 3]"),
        (pixels(bytes(12), 0, 2, 2, 3), InvalidRequest, "at least one"),
        (pixels(bytes(12), 9, 2, 2, 3), TooLarge, "more than the 8 images"),
        (pixels(bytes(11), 1, 2, 2, 3), InvalidRequest, "11 bytes"),
        (pixels(bytes(2100), 1, 7, 100, 3), TooLarge, "2107 bytes, more than the 2000"),
        (pixels(bytes(12), 1, 2**40, 2**40, 3), InvalidRequest, "12 bytes"),
    ],
)
def test_what_does_not_fit_its_shape_is_refused(tensor: InputTensor, error: type[ServingError], words: str) -> None:
    with pytest.raises(error) as refused:
        images(tensor, MOST, MOST_BYTES)
    assert type(refused.value) is error
    assert words in refused.value.message


def test_pixels_too_large_for_the_service_are_not_encoded_first(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[int] = []
    monkeypatch.setattr(raw_pixels, "png", lambda pixels, height, width: encoded.append(height) or b"")
    images(pixels(bytes(1998), 1, 1, 666, 3), MOST, MOST_BYTES)
    with pytest.raises(TooLarge):
        images(pixels(bytes(8 * 2001), 8, 1, 667, 3), MOST, MOST_BYTES)
    assert encoded == [1]


@given(
    st.sampled_from(["image", "pixels", "x"]),
    st.sampled_from(["BYTES", "UINT8", "x"]),
    st.lists(st.integers(-3, 9) | st.just(3) | st.integers(), max_size=5),
    st.binary(max_size=80) | st.lists(st.binary(max_size=9), max_size=9),
)
def test_anything_is_images_or_refused(
    name: str, datatype: str, shape: Sequence[int], content: bytes | list[bytes]
) -> None:
    try:
        found = images(InputTensor(name, datatype, shape, content), MOST, MOST_BYTES)
    except InvalidRequest as refused:
        assert len(refused.message) < 1000
    else:
        assert len(found) == shape[0] <= MOST
