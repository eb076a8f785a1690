"""What the CPU can compute with, as far as PyTorch's own switch (ATEN_CPU_CAPABILITY) allows it to be used."""

from __future__ import annotations

from typing import Any

import torch

_AVX512 = ("avx512_f", "avx512_bw", "avx512_dq", "avx512_vl")
"""What every CPU with AVX-512 has but the accelerator cards of 2016."""
_BEYOND = ("avx512_bf16", "avx512_vnni", "amx_tile", "amx_bf16", "amx_int8")


def has_avx512() -> bool:
    facts = _facts()
    return all(facts.get(name) for name in _AVX512)


def has_bfloat16() -> bool:
    """Whether it multiplies bfloat16 faster than float32."""
    return has_avx512_bfloat16() or bool(_facts().get("amx_bf16"))


def has_avx512_bfloat16() -> bool:
    return has_avx512() and bool(_facts().get("avx512_bf16"))


def has_avx512_int8() -> bool:
    return has_avx512() and bool(_facts().get("avx512_vnni"))


def features() -> str:
    """The kind of CPU, as far as compiled files and timings depend on it: "AMD EPYC, 1024 KB L2: avx2 avx512_f …"."""
    facts = _facts()
    names = [name for name in ("avx2", *_AVX512, *_BEYOND) if facts.get(name)]
    return f"{facts.get('cpu_name', 'CPU')}, {int(facts.get('l2_cache_size', 0)) // 1024} KB L2: {' '.join(names)}"


def _facts() -> dict[str, Any]:
    """What the CPU says of itself, without what the switch has turned off."""
    facts = dict(torch.cpu.get_capabilities())
    allowed = torch.backends.cpu.get_cpu_capability()
    if not allowed.startswith("AVX512"):
        facts = {name: value for name, value in facts.items() if not name.startswith(("avx512", "amx", "avx10"))}
    if allowed == "DEFAULT":
        facts["avx2"] = False
    return facts
