from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from swin_gateway.errors import StartError
from swin_gateway.guards import Guards
from swin_gateway.settings import PREFIX, ServeSettings, default_model_store


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "swinserve.toml"
    path.write_text("http_port = 3\n")
    return path


def test_a_flag_beats_the_environment_beats_the_file_beats_the_default(
    monkeypatch: pytest.MonkeyPatch, config: Path
) -> None:
    assert ServeSettings.load({}).http_port == 8000
    assert ServeSettings.load({}, config).http_port == 3
    monkeypatch.setenv("SWINSERVE_HTTP_PORT", "2")
    assert ServeSettings.load({}, config).http_port == 2
    assert ServeSettings.load({"http_port": "1"}, config).http_port == 1


def test_what_the_file_sets_beside_an_environment_variable_still_counts(
    monkeypatch: pytest.MonkeyPatch, config: Path
) -> None:
    config.write_text("http_port = 3\ngrpc_port = 4\n")
    monkeypatch.setenv("SWINSERVE_HTTP_PORT", "2")
    settings = ServeSettings.load({}, config)
    assert (settings.http_port, settings.grpc_port) == (2, 4)


def test_an_unknown_key_in_the_file_is_refused_by_name(config: Path) -> None:
    config.write_text("http_prot = 1\n")
    with pytest.raises(ValueError, match="http_prot"):
        ServeSettings.load({}, config)


def test_an_unknown_environment_variable_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWINSERVE_MODLES", "x")
    with pytest.raises(ValueError, match="SWINSERVE_MODLES"):
        ServeSettings.load({})


def test_a_misspelt_port_variable_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWINSERVE_HTPP_PORT", "8080")
    with pytest.raises(ValueError, match="SWINSERVE_HTPP_PORT"):
        ServeSettings.load({})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SWINSERVE_SERVICE_HOST", "10.0.0.1"),
        ("SWINSERVE_SERVICE_PORT", "8000"),
        ("SWINSERVE_SERVICE_PORT_HTTP", "8000"),
        ("SWINSERVE_PORT", "tcp://10.0.0.1:8000"),
        ("SWINSERVE_PORT_8000_TCP", "tcp://10.0.0.1:8000"),
        ("SWINSERVE_PORT_8000_TCP_PROTO", "tcp"),
        ("SWINSERVE_PORT_8000_TCP_ADDR", "10.0.0.1"),
        ("SWINSERVE_GATEWAY_PORT", "tcp://10.0.0.1:8000"),
    ],
)
def test_what_kubernetes_injects_for_a_service_is_tolerated(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    ServeSettings.load({})


@pytest.mark.parametrize("name", ["SWINSERVE_SERVER", "SWINSERVE_CONFIG", "SWINSERVE_PARENT_PID", "SWINSERVE_HANDLER"])
def test_variables_of_the_other_parts_are_tolerated(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "1")
    ServeSettings.load({})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("http_port", -1),
        ("grpc_port", 65536),
        ("metrics_port", "eighty"),
        ("max_image_bytes", 0),
        ("max_request_bytes", -1),
        ("max_images", 0),
        ("max_pixels", 0),
        ("max_frames", 0),
        ("decode_seconds", 0),
        ("decode_memory_mb", 0),
        ("default_timeout", 0),
        ("max_timeout", "nan"),
        ("queue_size", 0),
        ("max_connections", 0),
        ("max_header_bytes", 1023),
        ("header_timeout", 0),
        ("idle_timeout", -1),
        ("stall_timeout", "long"),
        ("max_pending_bytes", 0),
        ("grpc_max_streams", 0),
        ("grpc_ping_interval", 0),
        ("grpc_max_age", 0),
        ("grpc_age_grace", 0),
        ("drain_grace", -0.1),
        ("drain_timeout", 0),
        ("start_timeout", -1),
        ("java_heap_mb", 0),
        ("log_level", "loud"),
        ("log_format", "xml"),
    ],
)
def test_a_value_out_of_range_is_refused_naming_its_key(key: str, value: object) -> None:
    with pytest.raises(ValidationError) as refusal:
        ServeSettings.load({key: value})
    assert refusal.value.errors()[0]["loc"] == (key,)


def test_lists_are_written_with_commas_and_spaces_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWINSERVE_MODELS", "swin_digits, swin_tiny@2 ,")
    assert ServeSettings.load({"formats": "jpeg,gif"}).models == ("swin_digits", "swin_tiny@2")
    assert ServeSettings.load({"formats": "jpeg, gif"}).formats == ("JPEG", "GIF")


def test_lists_can_be_toml_arrays_as_well(config: Path) -> None:
    config.write_text('models = ["a", "b@2"]\nformats = ["png"]\n')
    settings = ServeSettings.load({}, config)
    assert (settings.models, settings.formats) == (("a", "b@2"), ("PNG",))


def test_an_unknown_image_type_is_refused_by_name_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"unknown image type HEIC, SVG; known: BMP, GIF, JPEG, PNG, TIFF, WEBP"):
        ServeSettings.load({"formats": "png,svg,heic"})


def test_a_file_that_is_no_toml_is_refused(config: Path) -> None:
    config.write_text("http_port: 3")
    with pytest.raises(ValueError, match="line 1"):
        ServeSettings.load({}, config)


def test_a_file_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        ServeSettings.load({}, tmp_path / "no.toml")


def test_settings_cannot_be_changed_afterwards() -> None:
    with pytest.raises(ValidationError):
        ServeSettings.load({}).http_port = 1  # type: ignore[misc]


def test_the_model_store_is_the_one_here_else_in_the_users_data(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert default_model_store().parts[-2:] == ("swinserve", "model_store")
    (tmp_path / "model_store").mkdir()
    assert default_model_store() == Path("model_store")


def test_tokens_come_from_the_environment_or_a_file_and_are_never_shown(
    monkeypatch: pytest.MonkeyPatch, config: Path
) -> None:
    monkeypatch.setenv("SWINSERVE_TOKENS", "token = []")
    settings = ServeSettings.load({})
    assert settings.tokens is not None
    assert settings.tokens.get_secret_value() == "token = []"
    assert "token = []" not in repr(settings)


def test_an_empty_variable_of_tokens_is_not_the_same_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWINSERVE_TOKENS", "")
    with pytest.raises(StartError, match="SWINSERVE_TOKENS"):
        Guards(ServeSettings.load({}))


def test_what_may_wait_must_have_room_for_the_largest_request() -> None:
    with pytest.raises(ValueError, match="max_pending_bytes must be at least twice max_request_bytes"):
        ServeSettings.load({"max_request_bytes": 200 * 2**20})
    assert ServeSettings.load({"max_request_bytes": 200 * 2**20, "max_pending_bytes": 400 * 2**20})


def test_connections_outlive_the_idle_time_of_usual_load_balancers() -> None:
    """AWS, nginx and HAProxy keep theirs for 60 s: who closes second never closes under a request."""
    assert ServeSettings.load({}).idle_timeout > 60


def test_workers_are_told_the_limits_that_were_set_and_no_others(monkeypatch: pytest.MonkeyPatch, config: Path) -> None:
    assert json.loads(ServeSettings.load({}).handler) == {}
    monkeypatch.setenv("SWINSERVE_DECODE_SECONDS", "2.5")
    config.write_text("decode_memory_mb = 300\nmax_images = 5\n")
    handler = ServeSettings.load({"formats": "gif,png", "max_pixels": 1000, "max_frames": 3}, config).handler
    assert json.loads(handler) == {
        "formats": ["GIF", "PNG"],
        "max_pixels": 1000,
        "max_frames": 3,
        "decode_seconds": 2.5,
        "decode_memory_mb": 300,
    }
