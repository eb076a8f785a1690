"""Conv2d → BatchNorm2d in inference is one Conv2d."""

from __future__ import annotations

from itertools import pairwise

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold_batch_norm(module: nn.Module) -> None:
    """Turns each Conv2d with its BatchNorm2d next to it in an nn.Sequential into one Conv2d, in place.

    Only there does the order of the modules say for certain what follows what, and only these very classes do no more
    than they say: timm's BatchNormAct2d is a BatchNorm2d that activates too. The module must be in eval mode.
    """
    for sequence in module.modules():
        if type(sequence) is not nn.Sequential:
            continue
        for (name, conv), (next_name, norm) in pairwise(list(sequence.named_children())):
            if type(conv) is nn.Conv2d and type(norm) is nn.BatchNorm2d:
                setattr(sequence, name, fuse_conv_bn_eval(conv, norm))
                setattr(sequence, next_name, nn.Identity())
