"""The typed settings of `swinserve serve` -> the page on them."""

from __future__ import annotations

from pathlib import Path

from markdown import page, table
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from swin_gateway.settings import PREFIX, SECRETS, ServeSettings

INTRO = """What `swinserve serve` runs with: flag > environment > file > default. The file is TOML, named by
`--config` or `SWINSERVE_CONFIG`; its keys are the flags' names with `_` for `-`. Unknown keys and unknown
`SWINSERVE_` variables are refused by name. Secrets have no flag, because everybody can read a command line. Sizes are
in bytes and times in seconds where nothing else is said.

What a worker runs with (batching, threads, device) is in its archive: [model-config.yaml](model-archive.md)."""

EXAMPLE = """```toml
# swinserve.toml
models = ["mine", "swin_digits"]
host = "0.0.0.0"
max_image_bytes = 4_000_000
```"""


def text() -> str:
    rows = [_row(name, field) for name, field in ServeSettings.model_fields.items()]
    return page(
        "Settings",
        "gateway/swin_gateway/settings.py",
        INTRO,
        table(("flag", "environment", "default", "meaning"), rows),
        "## As a file",
        EXAMPLE,
    )


def _row(name: str, field: FieldInfo) -> tuple[str, str, str, str]:
    return _flag(name, field), f"`{PREFIX}{name.upper()}`", _default(field), field.description or ""


def _flag(name: str, field: FieldInfo) -> str:
    if name == "models":
        return "MODEL…"
    if name in SECRETS:
        return "–"
    words = name.replace("_", "-")
    return f"`--{words}`, `--no-{words}`" if field.annotation is bool else f"`--{words}`"


def _default(field: FieldInfo) -> str:
    """As the environment would say it; – where there is none, or where it depends on the machine."""
    value = field.get_default(call_default_factory=False)
    if value is PydanticUndefined or value in (None, ()) or isinstance(value, Path):
        return "–"
    return f"`{','.join(value) if isinstance(value, tuple) else value}`"
