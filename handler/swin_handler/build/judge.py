"""int8 on the user's images: half of them calibrate, the other half decides which backends may serve."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from rich.console import Console

from swin_handler.build import agreement, calibration, quantise
from swin_handler.build.agreement import Agreement
from swin_handler.config import HandlerConfig
from swin_handler.engine import openvino
from swin_handler.engine.errors import BackendFailed
from swin_handler.engine.forward import Forward
from swin_handler.engine.normalised import NormalisedModel
from swin_handler.engine.plan import Plan
from swin_handler.model import LoadedModel


class Judge:
    def __init__(
        self, model: LoadedModel, config: HandlerConfig, images: Path, *, least: float, console: Console
    ) -> None:
        """least: share of the images whose best class must be float32's. Raises BuildRefused for too few images."""
        self._fit, self._held_out = calibration.read(images, model, config, console).halves()
        self._model, self._least, self._console = model, least, console
        self._batch = config.batch_buckets[-1]
        self._expected = self._answers(NormalisedModel(model), "answers in float32")
        self.found: dict[str, Agreement] = {}
        """backend -> its agreement with float32"""

    def calibrate(self, name: str, plan: Plan, folder: Path) -> None:
        """Leaves in the folder of a backend that must be calibrated what its `prepare` takes. Raises BackendFailed."""
        if name == "openvino" and not openvino.refusal(self._model, plan):
            quantise.quantise(self._model, self._fit.pixels, folder)

    def accept(self, name: str, forwards: Mapping[int, Forward]) -> None:
        """Raises BackendFailed for one that agrees with float32 on too few images."""
        actual = self._answers(forwards[self._batch], f"answers in int8 by {name}")
        self.found[name] = agreement.measure(actual, self._expected, self._held_out.truth)
        if reason := agreement.refusal(self.found[name], self._least):
            raise BackendFailed(reason)

    def show(self) -> None:
        if self.found:
            agreement.show(self.found, self._console)

    def _answers(self, run: Forward, what: str) -> torch.Tensor:
        return agreement.answers(run, self._held_out.pixels, batch=self._batch, what=what, console=self._console)
