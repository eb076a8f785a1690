"""Client.classify and classify_many, over both protocols."""

from pathlib import Path

import pytest

from swinserve import (
    Classification,
    Client,
    ImageResult,
    InvalidRequest,
    NotFound,
    Prediction,
    Timing,
    TooLarge,
    UndecodableImage,
)

from .conftest import Service
from .contract import PREDICTIONS

BEST = tuple(Prediction(*best) for best in PREDICTIONS)


def test_an_image_gets_its_labels_and_the_answer_says_who_gave_them(client: Client) -> None:
    answer = client.classify(b"three", request_id="mine")
    assert answer == Classification(
        model="swin_digits",
        version="1",
        backend="eager",
        dtype="float32",
        results=(ImageResult(BEST),),
        timing=Timing(queue=0.001, batch_wait=0.002, decode=0.003, inference=0.004),
        request_id="mine",
    )
    assert answer.timing.total == pytest.approx(0.010)


def test_every_option_arrives(client: Client, service: Service) -> None:
    client.classify(b"three", model="a/b:c d", version="2", top_k=0, min_score=0.25, timeout=25, request_id="mine")
    (asked,) = service.seen
    assert (asked.images, asked.model, asked.version) == ([b"three"], "a/b:c d", "2")
    assert (asked.top_k, asked.min_score, asked.request_id) == (0, 0.25, "mine")
    assert (asked.embedding, asked.class_activation_map) == (False, False)
    assert asked.timeout == pytest.approx(25, abs=5)


def test_what_is_not_given_is_left_to_the_service(client: Client, service: Service) -> None:
    client.classify(b"three")
    (asked,) = service.seen
    assert (asked.model, asked.version, asked.top_k, asked.min_score) == ("", "", None, 0.0)
    assert asked.timeout == pytest.approx(60, abs=10)


def test_every_call_has_a_request_id_of_its_own(client: Client, service: Service) -> None:
    answers = [client.classify(b"three") for _ in range(2)]
    assert [asked.request_id for asked in service.seen] == [answer.request_id for answer in answers]
    assert len({answer.request_id for answer in answers}) == 2


@pytest.mark.parametrize("kind", [str, Path])
def test_a_file_is_read_and_sent_as_it_is(client: Client, service: Service, tmp_path: Path, kind: type) -> None:
    file = tmp_path / "three.png"
    file.write_bytes(b"\x00\xff\r\n--\n")
    client.classify(kind(file))
    assert service.seen[0].images == [b"\x00\xff\r\n--\n"]


def test_an_empty_image_is_left_to_the_service_to_judge(client: Client, service: Service) -> None:
    client.classify(b"")
    assert service.seen[0].images == [b""]


def test_a_file_that_is_not_there_is_an_os_error(client: Client, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        client.classify(tmp_path / "nothing.png")


def test_many_images_go_in_one_call_and_keep_their_order(client: Client, service: Service, tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(b"b\r\n")
    answer = client.classify_many([b"a", tmp_path / "b", b"", b"\xff\x00d"])
    assert service.seen[0].images == [b"a", b"b\r\n", b"", b"\xff\x00d"]
    assert len(service.seen) == 1
    assert answer.results == (ImageResult(BEST),) * 4


def test_a_bad_image_among_many_carries_its_error_and_spares_the_others(client: Client) -> None:
    answer = client.classify_many([b"a", b"bad UNDECODABLE", b"bad TOO_LARGE", b"d"], request_id="mine")
    assert [type(result.error) for result in answer.results] == [type(None), UndecodableImage, TooLarge, type(None)]
    error = answer.results[1].error
    assert error is not None
    assert (error.message, error.code, error.http) == ("refused: UNDECODABLE", "INVALID_ARGUMENT", 422)
    assert (error.reason, error.request_id) == ("UNDECODABLE", "mine")
    assert answer.results[1].predictions == ()


def test_one_bad_image_is_raised(client: Client) -> None:
    with pytest.raises(UndecodableImage, match="refused: UNDECODABLE"):
        client.classify(b"bad UNDECODABLE")


def test_a_list_of_one_bad_image_is_still_a_list(client: Client) -> None:
    answer = client.classify_many([b"bad UNDECODABLE"], model="swin", version="2", request_id="mine")
    assert (answer.model, answer.version, answer.backend, answer.request_id) == ("swin", "2", "", "mine")
    assert [type(result.error) for result in answer.results] == [UndecodableImage]


def test_a_call_that_fails_as_a_whole_is_raised(client: Client) -> None:
    for images in ([b"a"], [b"a", b"b"]):
        with pytest.raises(NotFound):
            client.classify_many(images, model="fail MODEL_NOT_FOUND")
    with pytest.raises(TooLarge):
        client.classify_many([b"a", b"b"], model="fail TOO_LARGE")


def test_no_image_at_all_is_refused_here(client: Client, service: Service) -> None:
    with pytest.raises(InvalidRequest, match="at least one image"):
        client.classify_many([])
    assert not service.seen


def test_a_version_without_a_model_is_refused_here(client: Client, service: Service) -> None:
    with pytest.raises(InvalidRequest, match="name of its model"):
        client.classify(b"a", version="2")
    assert not service.seen


@pytest.mark.parametrize("timeout", [0, -1, float("inf"), float("nan")])
def test_a_timeout_that_is_none_is_refused_here(client: Client, timeout: float) -> None:
    with pytest.raises(InvalidRequest, match="in seconds"):
        client.classify(b"a", timeout=timeout)


@pytest.mark.parametrize("request_id", ["", "a\nb: c", "é", " a"])
def test_a_request_id_that_no_header_carries_is_refused_here(client: Client, request_id: str) -> None:
    with pytest.raises(InvalidRequest, match="printable ASCII"):
        client.classify(b"a", request_id=request_id)


def test_a_closed_client_says_so(client: Client) -> None:
    client.close()
    client.close()
    with pytest.raises(RuntimeError, match="closed"):
        client.classify(b"a")


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:8001", "ftp://host", "grpc://", "grpc://host/path", "http://host:port", "http://host?x=1"]
)
def test_a_url_that_is_none_of_ours_is_a_value_error(url: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Client(url)


@pytest.mark.parametrize("image", ["photo.jpg", b"an image", bytearray(b"an image")])
def test_one_image_where_several_belong_is_a_type_error(client: Client, service: Service, image: object) -> None:
    with pytest.raises(TypeError, match=f"not one {type(image).__name__}"):
        client.classify_many(image)
    assert not service.seen
