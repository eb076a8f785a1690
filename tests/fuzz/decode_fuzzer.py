"""libFuzzer, by atheris, on everything that an encoded image goes through before it is a tensor.

`python -m tests.fuzz.decode_fuzzer CORPUS -max_total_time=SECONDS`. Guided by the coverage of Pillow's plugins and of
our own modules, that is of what is Python; libjpeg, libwebp and others are run, but not looked into.
"""

from __future__ import annotations

import sys

import atheris
import torch  # before the instrumentation, which it does not survive
from timm.data.transforms_factory import create_transform

with atheris.instrument_imports(
    include=["PIL", "swin_handler", "swin_gateway.image_header", "swin_gateway.images", "tests.fuzz.decoding"],
    enable_loader_override=False,
):
    from tests.fuzz import decoding

assert create_transform  # its imports, like torch's, are not to be instrumented


def main() -> None:
    torch.set_num_threads(1)
    atheris.Setup(sys.argv, decoding.outcome)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
