"""A classifier -> card.json: what people want to know beyond the manifest, in words; empty where nothing is known."""

from __future__ import annotations

from swin_handler import model
from swin_handler.build import released
from swin_handler.build.classifier import Classifier
from swin_handler.build.evaluation import Evaluation, normalisation


def card(classifier: Classifier) -> dict[str, str]:
    data_config = model.preprocessing(classifier.pretrained_cfg)
    published = released.of_weights(
        classifier.source,
        input_size=data_config["input_size"],
        classes=classifier.num_classes,
        model_args=classifier.model_args,
    )
    # timm's licence is that of its own weights, and says nothing of a file that somebody trained.
    timms = classifier.source.startswith(("hub ", "built-in "))
    return {
        "preprocessing": f"{Evaluation.of(data_config)}; {normalisation(data_config)}",
        "accuracy": published.accuracy if published else "",
        "licence": str(classifier.pretrained_cfg.get("license") or "") if timms else "",
    }
