from __future__ import annotations

from swin_gateway.secrets_in_environment import without_secrets


def test_secrets_stay_with_the_gateway_and_what_workers_need_goes_on() -> None:
    secret = {
        *("SWINSERVE_TOKENS", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "GITHUB_TOKEN", "AWS_SECRET_ACCESS_KEY"),
        *("AWS_ACCESS_KEY_ID", "AWS_SESSION_TOKEN", "OPENAI_API_KEY", "PGPASSWORD", "DB_PASSWORD"),
        *("OTEL_EXPORTER_OTLP_HEADERS", "GOOGLE_APPLICATION_CREDENTIALS"),
    }
    needed = {
        *("PATH", "HOME", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "TOKENIZERS_PARALLELISM"),
        *("SWINSERVE_FAULTS", "SWINSERVE_LOG_LEVEL", "TORCHINDUCTOR_CACHE_DIR", "COVERAGE_PROCESS_START", "TMPDIR"),
    }
    assert set(without_secrets(dict.fromkeys(secret | needed, "x"))) == needed
