"""The seam: pixels uint8 (B, H, W, 3) on the CPU -> Outputs: logits on the CPU, what else there is on the device.

Behind it: split or pad to a batch bucket -> one forward pass of the bucket's backend. `build` makes an engine of a
model, `load` one of what an archive holds, `tune` finds out which backends an archive should hold. Every bucket has
answered rightly before the engine is handed out; nothing compiles under a request.
"""

from swin_handler.engine.batches import BatchEngine, Engine
from swin_handler.engine.candidates import tune
from swin_handler.engine.errors import BackendFailed
from swin_handler.engine.normalised import NormalisedModel
from swin_handler.engine.start import FOLDER, build, load

__all__ = ["FOLDER", "BackendFailed", "BatchEngine", "Engine", "NormalisedModel", "build", "load", "tune"]
