from __future__ import annotations

import io

import pytest
import torch
from rich.console import Console

from swin_handler.build import agreement
from swin_handler.build.agreement import Agreement
from swin_handler.build.calibration import UNKNOWN
from swin_handler.outputs import Outputs

# Softmax of (ln 3, 0) is (3/4, 1/4).
LN3 = torch.tensor(3.0).log()


def test_it_counts_what_is_the_same_and_what_is_right() -> None:
    expected = torch.tensor([[LN3, 0.0], [0.0, LN3], [LN3, 0.0], [LN3, 0.0]])
    actual = torch.tensor([[LN3, 0.0], [LN3, 0.0], [LN3, 0.0], [0.0, 0.0]])
    found = agreement.measure(actual, expected, torch.tensor([0, 0, 1, UNKNOWN]))
    assert (found.images, found.same, found.share) == (4, 3, 0.75)
    assert found.largest_score_change == pytest.approx(0.5)  # the second image's: from 1/4 to 3/4
    assert found.relative_l2 == pytest.approx((3 / 4) ** 0.5)  # three entries of ln 3 are off, of four
    assert (found.known, found.right_float32, found.right) == (3, 1, 2)


def test_the_same_answers_agree_in_everything() -> None:
    logits = torch.randn(40, 5, generator=torch.Generator().manual_seed(0))
    found = agreement.measure(logits, logits, torch.full((40,), UNKNOWN))
    assert found == Agreement(40, 40, 0.0, 0.0, known=0, right_float32=0, right=0)
    assert agreement.refusal(found, 1.0) is None


def test_the_last_batch_is_padded_and_cut() -> None:
    sizes = []

    def run(pixels: torch.Tensor) -> Outputs:
        sizes.append(len(pixels))
        return Outputs(pixels.float().flatten(1), None, None)

    pixels = torch.arange(10, dtype=torch.uint8).view(10, 1, 1, 1)
    logits = agreement.answers(run, pixels, batch=4, what="", console=Console(file=io.StringIO()))
    assert sizes == [4, 4, 4]
    assert logits.flatten().tolist() == list(range(10))


def test_it_is_refused_under_the_threshold_with_both_numbers() -> None:
    found = Agreement(200, 197, 0.1, 0.05, known=0, right_float32=0, right=0)
    assert agreement.refusal(found, 0.985) is None
    assert "197 of 200 (98.5%) images, --min-agreement asks for 99.0%" in (agreement.refusal(found, 0.99) or "")


@pytest.mark.parametrize(
    ("same", "images", "low", "high"), [(32, 32, 0.893, 1.0), (0, 10, 0.0, 0.278), (81, 263, 0.255, 0.366)]
)
def test_the_interval_is_wilsons(same: int, images: int, low: float, high: float) -> None:
    """81 of 263 is the first example of Newcombe, Statistics in Medicine 17 (1998), 857."""
    assert agreement.interval(same, images) == pytest.approx((low, high), abs=6e-4)


def test_the_report_says_how_sure_it_is_and_what_is_known() -> None:
    console = Console(file=io.StringIO(), width=160)
    agreement.show(
        {
            "openvino": Agreement(450, 449, 0.0312, 0.021, known=450, right_float32=447, right=446),
            "native": Agreement(450, 450, 0.001, 0.001, known=0, right_float32=0, right=0),
        },
        console,
    )
    said = console.file.getvalue()
    for text in ("449 of 450 (99.8%)", "98.8% – 100.0%", "0.031", "2e-02", "446 of 450 (99.1%)", "447 of 450 (99.3%)"):
        assert text in said
    assert said.count("not known") == 2
