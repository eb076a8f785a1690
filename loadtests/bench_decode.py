"""Ways to decode and resize JPEGs, in turns -> CSVs and tables: their time, and how far they are from timm's."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import click
import numpy as np
import photos
import torch
from decode_ways import BASE, Way, read, ways
from rich.console import Console
from rich.progress import track
from rich.table import Table
from running import RESULTS, write
from torch import Tensor

from swin_handler import model
from swin_handler.build import weights
from swin_handler.resize import Resize

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "model_store"))
import train_swin_digits as training

MODEL = "swin_tiny_patch4_window7_224"
THREADS = 2
LEAST_SECONDS = 0.1
"""Of one measurement: it repeats the files until then."""
DIGIT_SIZES = ((128, 128), photos.SMALL, photos.LARGE)
ONE, POOL = "ms, one thread", f"images/s, {THREADS} threads"

Row = dict[str, object]
Classify = Callable[[Tensor], Tensor]


def classifier(name: str, *, random_weights: bool) -> tuple[Classify, Mapping[str, object]]:
    """uint8 (B, H, W, 3) -> logits (B, classes), by timm in float32; and timm's data_config."""
    torch.manual_seed(0)
    made = weights.load(name, random_weights=random_weights)
    config = model.preprocessing(made.pretrained_cfg)
    mean, std = (torch.tensor(config[key]) for key in ("mean", "std"))
    module = made.module.eval()
    return lambda pixels: module(((pixels / 255 - mean) / std).permute(0, 3, 1, 2)), config


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def one_thread(way: Callable[[bytes], object], files: Sequence[bytes]) -> float:
    """Milliseconds of an image."""
    taken, count = 0.0, 0
    while taken < LEAST_SECONDS:
        taken += seconds(lambda: [way(data) for data in files])
        count += len(files)
    return 1000 * taken / count


def pooled(way: Callable[[bytes], object], files: Sequence[bytes], pool: ThreadPoolExecutor) -> float:
    """Images a second."""
    many = [*files] * 8
    taken, count = 0.0, 0
    while taken < LEAST_SECONDS:
        taken += seconds(lambda: list(pool.map(way, many)))
        count += len(many)
    return count / taken


def timings(
    found: Mapping[str, Way], files: Mapping[str, list[bytes]], config: Mapping[str, object], rounds: int
) -> Iterator[Row]:
    """Every way, and every step of ours, once a round."""
    with ThreadPoolExecutor(THREADS) as pool:
        for number in track(range(rounds), "timing"):
            for kind, same in files.items():
                for name, way in found.items():
                    yield row(kind, name, ONE, number, one_thread(way, same))
                    yield row(kind, name, POOL, number, pooled(way, same, pool))
                for name, step in steps(same[0], config).items():
                    yield row(kind, f"step: {name}", ONE, number, one_thread(step, same[:1]))


def row(kind: str, way: str, unit: str, number: int, value: float) -> Row:
    return {"files": kind, "way": way, "unit": unit, "round": number, "value": round(value, 4)}


def steps(data: bytes, config: Mapping[str, object]) -> dict[str, Callable[[bytes], object]]:
    """Of ours and of what it replaced, each alone, on one file."""
    ours, timms = Resize(config), Resize(config, exact=True)
    whole, half = read(data), read(data, 2)
    return {
        **{f"decode at 1/{factor}": partial(read, factor=factor) for factor in (1, 2, 4, 8)},
        "timm's resize and crop": lambda _data: timms(whole),
        "ours": lambda _data: ours(whole),
        "ours, from 1/2": lambda _data: ours(half),
        "of it, to a tensor": lambda _data: torch.from_numpy(np.array(whole.image)),
    }


def differences(found: Mapping[str, Way], files: Mapping[str, list[bytes]], classify: Classify) -> Iterator[Row]:
    """Of each way from what there was, over the files of a kind."""
    for kind, same in files.items():
        base = torch.stack([found[BASE](data) for data in same])
        expected = classify(base)
        for name, way in found.items():
            pixels = torch.stack([way(data) for data in same])
            off = (pixels.double() - base.double()).abs()
            squared = float(off.square().mean())
            yield {
                "files": kind,
                "way": name,
                "largest": int(off.max()),
                "mean": round(float(off.mean()), 4),
                "differing": round(float((off > 0).double().mean()), 6),
                "psnr": round(float(10 * np.log10(255**2 / squared)), 2) if squared else "none differs",
                "relative_l2_of_logits": float((classify(pixels) - expected).norm() / expected.norm()),
            }


def digits() -> Iterator[Row]:
    """How often swin_digits names another digit than it did, over its test digits as JPEGs of three sizes."""
    classify, config = classifier("swin_digits", random_weights=False)
    found = ways(config)
    part, drawn = training.split_digits()["test"], training.VARIANTS["dark-on-light"]
    shown, labels = part.digits, part.labels
    for width, height in DIGIT_SIZES:
        generator = torch.Generator().manual_seed(training.SPLIT_SEED)
        pixels: dict[str, list[Tensor]] = {name: [] for name in found}
        for digit in track(shown, f"digits at {width}×{height}"):
            look = training.random_look(1, drawn.paint, drawn.looseness, generator)
            data = photos.jpeg(training.to_pil(training.render(digit[None], look, height, width)[0]))
            for name, way in found.items():
                pixels[name].append(way(data))
        answers = {name: classify(torch.stack(seen)).argmax(dim=1) for name, seen in pixels.items()}
        for name, given in answers.items():
            changed, right = int((given != answers[BASE]).sum()), int((given == labels).sum())
            yield {
                "files": f"{width}×{height}",
                "way": name,
                "digits": len(given),
                "changed": changed,
                "right": right,
            }


def timing_table(rows: Sequence[Row]) -> Table:
    """Best (median), and how many times as fast as what there was, by both."""
    table = Table("files", "way", ONE, "times", POOL, "times")
    for kind, way in dict.fromkeys((str(r["files"]), str(r["way"])) for r in rows):
        cells = []
        for unit, best in ((ONE, min), (POOL, max)):
            ours, base = (
                [float(str(r["value"])) for r in rows if (r["files"], r["way"], r["unit"]) == (kind, name, unit)]
                for name in (way, BASE)
            )
            if ours:
                pairs = [(best(base), best(ours)), (statistics.median(base), statistics.median(ours))]
                gain = [then / now if best is min else now / then for then, now in pairs]
                cells += [f"{pairs[0][1]:.2f} ({pairs[1][1]:.2f})", f"{gain[0]:.2f} ({gain[1]:.2f})"]
        table.add_row(kind, way, *cells)
    return table


def table(rows: Sequence[Row]) -> Table:
    made = Table(*rows[0])
    for each in rows:
        made.add_row(
            *(f"{value:.2g}" if isinstance(value, float) and value < 1 else str(value) for value in each.values())
        )
    return made


@click.command()
@click.option("--rounds", default=15, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
@torch.inference_mode()
def main(rounds: int, output: Path) -> None:
    """Measure decoding and resizing."""
    torch.set_num_threads(1)  # of each thread: the pool's take the CPUs
    console, files = Console(), photos.files()
    classify, config = classifier(MODEL, random_weights=True)
    found = ways(config)
    far, changed = list(differences(found, files, classify)), list(digits())
    timed = list(timings(found, files, config, rounds))
    console.print(timing_table(timed), table(far), table(changed))
    for rows, what in ((timed, "decode"), (far, "decode-differences"), (changed, "decode-digits")):
        print(write(rows, what, output))


if __name__ == "__main__":
    main()
