"""How often torch.compile has compiled something in this process; under a request it never should."""

from __future__ import annotations

import sys


def total() -> int:
    # Asked of what is loaded: most backends never import the compiler, which takes a second.
    dynamo = sys.modules.get("torch._dynamo.utils")
    return 0 if dynamo is None else int(dynamo.counters["stats"]["unique_graphs"])
