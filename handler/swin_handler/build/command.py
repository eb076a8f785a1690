"""`swinserve build NAME`: a timm classifier's name -> a model archive in the model store."""

from __future__ import annotations

import re
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from swin_handler.build import options
from swin_handler.config import BACKENDS, DTYPES, Manifest

_SIZE = re.compile(r"([1-9]\d{0,3})(?:[x×]([1-9]\d{0,3}))?")
_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def _path_safe(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and not _SAFE.fullmatch(value):
        raise click.BadParameter(f"{value!r} goes into file names and URLs: use letters, digits, '.', '_' and '-'")
    return value


def _size(_context: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[int, int] | None:
    if value is None:
        return None
    if not (found := _SIZE.fullmatch(value)):
        raise click.BadParameter(f"{value!r} is no size; write 384, or 192x256 for height x width")
    height = int(found[1])
    return height, int(found[2] or height)


@click.command()
@click.argument("name")
@options.model_store
@click.option(
    "--checkpoint",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Take the weights from this file: .safetensors, or .pth/.pt of plain tensors.",
)
@click.option("--random-weights", is_flag=True, help="For benchmarks: right speed, meaningless answers.")
@click.option(
    "--image-size",
    metavar="SIZE",
    callback=_size,
    help="Pixels of the model's input, 384 or 192x256 (height x width), if not those the weights were trained with; "
    "position tables are resized to it.",
)
@click.option(
    "--window-size",
    type=click.IntRange(1, 256),
    metavar="TOKENS",
    help="Side of Swin's windows, if not the one the weights were trained with; position tables are resized to it.",
)
@click.option(
    "--no-head", "headless", is_flag=True, help="Leave out the classifying layer: embeddings alone are served."
)
@click.option(
    "--labels",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="One label per line or a JSON list, in the order of the classes. Default: the names that come with "
    "the weights, else ImageNet's if the number of classes fits, else class_0, class_1, …",
)
@click.option(
    "--name",
    "served_name",
    metavar="TEXT",
    callback=_path_safe,
    help="Name to serve the model under. Default: NAME without its tag.",
)
@click.option(
    "--model-version",
    default="1.0",
    show_default=True,
    metavar="TEXT",
    callback=_path_safe,
    help="Version of the served model.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(1, 1024),
    default=8,
    show_default=True,
    help="Largest batch; the batch buckets are the powers of two below it, and it.",
)
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Worker processes.")
@click.option(
    "--backend",
    type=click.Choice(BACKENDS),
    default="auto",
    show_default=True,
    help="auto: the fastest for each batch bucket, of those that answer as timm does. native and openvino are for "
    "CPUs; inductor-sdpa, inductor-flex, triton and graphs for GPUs; inductor and eager for both.",
)
@click.option(
    "--dtype",
    type=click.Choice(DTYPES),
    default="auto",
    show_default=True,
    help="auto: bfloat16 where the hardware multiplies in it, else float32.",
)
@click.option(
    "--device",
    type=click.Choice(("auto", "cpu", "cuda")),
    default="auto",
    show_default=True,
    help="auto: CUDA where there is one.",
)
@click.option(
    "--tune/--no-tune",
    default=True,
    show_default=True,
    envvar="SWINSERVE_TUNE",
    show_envvar=True,
    help="Compile and time the backends, in minutes, or take the safe default, in seconds. `swinserve tune` does it "
    "later, on another machine if need be.",
)
@click.option(
    "--full-decode",
    is_flag=True,
    help="Decode JPEGs whole and resize by timm's own transform, to its exact pixels. Default: large JPEGs at a "
    "fraction of their size, and torch's resize, which are faster.",
)
@options.calibration
@options.min_agreement
def build(
    name: str,
    model_store: Path | None,
    checkpoint: Path | None,
    random_weights: bool,
    image_size: tuple[int, int] | None,
    window_size: int | None,
    headless: bool,
    labels: Path | None,
    served_name: str | None,
    model_version: str,
    batch_size: int,
    workers: int,
    backend: str,
    dtype: str,
    device: str,
    tune: bool,
    full_decode: bool,
    calibration: Path | None,
    min_agreement: float,
) -> None:
    """Build the model archive of NAME, ready for `swinserve serve`.

    NAME is swin_digits, the small built-in model, shunted_tiny, _small or _base, or any timm classifier, with or
    without the tag of its weights: swin_tiny_patch4_window7_224.ms_in1k. `swinserve models` lists them. Weights come
    from the Hugging Face hub unless --checkpoint or --random-weights says otherwise. Checkpoints of the authors of
    Swin and of the Shunted Transformer are known by their keys. An archive of the same name and version is replaced.

    Exit codes: 0 built, 1 the disk failed, 2 bad input, 3 the weights cannot be fetched.
    """  # fmt: skip
    if checkpoint is not None and random_weights:
        raise click.UsageError("--checkpoint and --random-weights exclude each other")
    if headless and labels is not None:
        raise click.UsageError("--no-head leaves no classes for --labels to name")
    if (dtype == "int8") != (calibration is not None):
        raise click.UsageError("--dtype int8 and --calibration DIR need each other")
    options.check_int8_alone(dtype)
    console = Console()
    console.print("Starting torch and timm …")
    # Imported here, seconds long, so that --help and usage errors answer at once.
    from swin_handler.build import archive, store, timings, weights
    from swin_handler.build import labels as label_names
    from swin_handler.build.classifier import Changes
    from swin_handler.build.tuner import Images

    weights.check_name(name)
    console.print(f"Loading the weights of {name} …")
    changes = Changes(image_size, window_size, headless)
    classifier = weights.load(name, checkpoint=checkpoint, random_weights=random_weights, changes=changes)
    for note in classifier.notes:
        console.print(f"  {note}")
    chosen = label_names.choose(classifier.num_classes, file=labels, own=classifier.label_names)
    how = archive.Options(
        served_name or name.partition(".")[0], model_version, batch_size, workers, backend, dtype, device, tune,
        Images(calibration, min_agreement), not full_decode,
    )  # fmt: skip
    console.print("Compiling, and proving that it answers …")
    path, manifest = archive.write(classifier, chosen, how, store.resolve(model_store))
    timings.show(manifest.engine, console)
    console.print(_summary(path, manifest, chosen))


def _summary(path: Path, manifest: Manifest, labels: list[str]) -> Table:
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    rows = {
        "archive": f"{path} ({path.stat().st_size / 1e6:.1f} MB)",
        "model": f"{manifest.name} {manifest.version}, {manifest.architecture} at {manifest.input_size[1:]}",
        "size": f"{_count(manifest.parameters)} parameters, {_count(manifest.multiply_adds)} multiply-adds an image",
        "labels": f"{len(labels)}: {'; '.join(labels[:3])}{'; …' if len(labels) > 3 else ''}" if labels else "none",
        "gives": _gifts(manifest),
        "serves with": f"{', '.join(dict.fromkeys(manifest.engine.choice.values()))} in {manifest.engine.dtype}",
        "weights": f"{manifest.weights}, SHA-256 {manifest.weights_sha256[:12]}…",
    }
    for what, value in rows.items():
        table.add_row(what, value)
    return table


def _gifts(manifest: Manifest) -> str:
    size = manifest.activation_map
    gifts = {
        "classes": manifest.num_classes > 0,
        f"embeddings of {manifest.embedding_size} numbers": manifest.embedding_size > 0,
        f"class activation maps of {size[0]}×{size[1]}" if size else "": size is not None,
    }
    return ", ".join(what for what, given in gifts.items() if given)


def _count(number: int) -> str:
    return f"{number / 1e9:.2f} G" if number >= 1e9 else f"{number / 1e6:.2f} M"
