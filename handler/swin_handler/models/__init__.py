"""Swin V1 and V2 as timm has them, what timm lacks, and checkpoints in the reference implementations' layout.

Importing this package registers the Shunted Transformer with timm: `timm.create_model("shunted_tiny")`.
"""

from swin_handler.models import shunted
from swin_handler.models.batch_norm import fold_batch_norm
from swin_handler.models.checkpoint import CheckpointMismatch
from swin_handler.models.reference import from_reference

__all__ = ["CheckpointMismatch", "fold_batch_norm", "from_reference", "shunted"]
