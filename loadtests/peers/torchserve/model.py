"""The model file that torch-model-archiver packs: one class, built without arguments, that the state dict fits."""

from timm.models.swin_transformer import SwinTransformer


class SwinTiny(SwinTransformer):
    def __init__(self) -> None:
        super().__init__(embed_dim=96, depths=(2, 2, 6, 2), num_heads=(3, 6, 12, 24))
