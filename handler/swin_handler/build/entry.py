"""swinserve_entry.py of a model archive: the module that TorchServe loads; it only finds the handler beside it."""

import gc
import sys
from pathlib import Path

# The archive's own handler, tested with these weights, wins over one that happens to be installed.
sys.path.insert(0, str(Path(__file__).resolve().parent))

# The imports make a million objects that stay; to look for garbage among them takes a tenth of a start.
gc.disable()
try:
    from swin_handler.service import handle
except Exception as error:
    sys.stdout.write(f"SWINSERVE_FATAL the handler cannot be imported: {' '.join(str(error).split())}\n")
    sys.stdout.flush()
    # Not an ImportError: TorchServe would go on to look for a stock handler of this name.
    raise RuntimeError("the handler cannot be imported") from error
finally:
    gc.freeze()
    gc.enable()

__all__ = ["handle"]
