"""scikit-learn's 8x8 digits -> model_store/swin_digits: config.json, model.safetensors, metrics.json, samples/.

Digits are drawn as RGB images in many looks, one small timm Swin is trained per seed, and the one that does best on
validation is kept. Figures come from PIL images through timm's own evaluation transform, as the service does it.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import time
from pathlib import Path
from typing import Any, NamedTuple

import sklearn
import timm
import torch
from digit_pictures import PAINTS, random_look, render, to_pil, weather
from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table
from safetensors.torch import save
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from timm.data.config import resolve_data_config
from timm.data.transforms_factory import create_transform
from torch import Generator, Tensor, nn
from torch.nn import functional

LABELS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
SPLIT_SEED = 0
BATCH = 64
EPOCHS = 160
LEARNING_RATE = 3e-3
CURRICULUM = 0.4  # share of the training over which the drawings get harder
MODEL_ARGS: dict[str, Any] = {
    "img_size": 32,
    "patch_size": 4,
    "window_size": 4,
    "embed_dim": 32,
    "depths": [2, 4],
    "num_heads": [1, 2],
}
CONFIG: dict[str, Any] = {
    "architecture": "swin_tiny_patch4_window7_224",
    "num_classes": len(LABELS),
    "num_features": 64,
    "global_pool": "avg",
    "model_args": MODEL_ARGS,
    "label_names": LABELS,
    "pretrained_cfg": {
        "tag": "swinserve",
        "input_size": [3, 32, 32],
        "fixed_input_size": True,
        "interpolation": "bicubic",
        "crop_pct": 1.0,
        "crop_mode": "center",  # on validation better than "squash", which distorts wide pictures
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "num_classes": len(LABELS),
        "pool_size": [4, 4],
        "first_conv": "patch_embed.proj",
        "classifier": "head.fc",
        "license": "apache-2.0",
    },
}


class Part(NamedTuple):
    """One part of the split."""

    digits: Tensor  # (N, 8, 8) ink coverage in 0..1
    labels: Tensor  # (N,) int64


class Variant(NamedTuple):
    """How a part is drawn when it is measured."""

    paint: str
    height: int
    width: int
    looseness: float = 0.0  # 0 = upright and centred, 1 = as loose as in training
    jpeg_quality: int | None = None


class Figures(NamedTuple):
    """What one model scored on one part, by variant."""

    accuracy: dict[str, float]
    loss: float


VARIANTS = {
    "dark-on-light": Variant("dark-on-light", 128, 128),
    "light-on-dark": Variant("light-on-dark", 64, 64),
    "coloured": Variant("random", 256, 256),
    "jpeg-q75": Variant("dark-on-light", 128, 128, jpeg_quality=75),
    "loose": Variant("random", 160, 160, looseness=0.7, jpeg_quality=60),
    "wide-3:2": Variant("random", 128, 192, looseness=0.4),
}
SAMPLES = [  # label, paint, side in pixels, suffix
    ("zero", "light-on-dark", 64, "png"),
    ("one", "blue-on-cream", 128, "jpg"),
    ("three", "yellow-on-green", 128, "png"),
    ("four", "red-on-white", 256, "jpg"),
    ("five", "dark-on-light", 64, "png"),
    ("seven", "dark-on-light", 128, "jpg"),
    ("eight", "cyan-on-purple", 160, "jpg"),
    ("nine", "light-on-dark", 256, "jpg"),
]


def split_digits() -> dict[str, Part]:
    """The fixed, stratified split: a quarter is test, 15 % of the rest validation."""
    data = load_digits()
    digits = torch.tensor(data.images, dtype=torch.float32) / 16
    labels = torch.tensor(data.target, dtype=torch.int64)
    rest, test = train_test_split(range(len(labels)), test_size=0.25, stratify=labels, random_state=SPLIT_SEED)
    train, val = train_test_split(rest, test_size=0.15, stratify=labels[rest], random_state=SPLIT_SEED)
    rows = {"train": train, "validation": val, "test": test}
    return {name: Part(digits[index], labels[index]) for name, index in rows.items()}


def training_pixels(digits: Tensor, progress: float, generator: Generator) -> Tensor:
    """(B, 8, 8) -> (B, 3, 32, 32) normalised: drawn at 64 pixels, weathered, shrunk as the served transform shrinks.

    Early on most digits are upright and white on black. Shown both polarities at once from the start, the mean picture
    says nothing and a small Swin stays at chance for a hundred epochs.
    """
    difficulty = min(1.0, progress / CURRICULUM)
    look = random_look(len(digits), "random", 0.2 + 0.8 * difficulty, generator)
    quarter = len(digits) // 4
    dark, light = torch.arange(len(digits)) < quarter, torch.rand(len(digits), generator=generator) >= difficulty
    light[quarter : 2 * quarter] = True
    for paint, rows in (("dark-on-light", dark), ("light-on-dark", light)):
        look.ink[rows], look.paper[rows] = (torch.tensor(colour) for colour in PAINTS[paint])
    images = weather(render(digits, look, 64, 64), generator)
    data = CONFIG["pretrained_cfg"]
    small = (
        functional.interpolate(images.float(), data["input_size"][1:], mode="bicubic", antialias=True).clamp(0, 255)
        / 255
    )
    mean, std = (torch.tensor(data[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    return (small - mean) / std


def new_model() -> nn.Module:
    """The network with random weights, built from CONFIG alone."""
    name, classes = CONFIG["architecture"], CONFIG["num_classes"]
    model: nn.Module = timm.create_model(name, pretrained=False, num_classes=classes, **CONFIG["model_args"])
    for module in model.modules():
        if isinstance(module, nn.Linear):  # timm's 0.02 suits rows of hundreds of channels, not of 32
            nn.init.xavier_uniform_(module.weight)
    return model


def train(part: Part, seed: int, epochs: int) -> nn.Module:
    """One model from one seed: AdamW, one warm-up and one cosine; the last epoch is the one that counts."""
    torch.manual_seed(seed)
    generator = Generator().manual_seed(seed)
    model = new_model().train()
    steps = len(part.labels) // BATCH
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=epochs * steps, pct_start=0.1)
    for epoch in track(range(epochs), description=f"seed {seed}"):
        order = torch.randperm(len(part.labels), generator=generator)
        for rows in order[: steps * BATCH].view(steps, BATCH):
            logits = model(training_pixels(part.digits[rows], epoch / epochs, generator))  # (B, 10)
            loss = functional.cross_entropy(logits, part.labels[rows], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
    return model.eval()


@torch.inference_mode()
def classify(model: nn.Module, pictures: list[Image.Image]) -> Tensor:
    """PIL images -> logits (B, 10), by the preprocessing that timm reads out of config.json."""
    data = resolve_data_config(pretrained_cfg=CONFIG["pretrained_cfg"])  # type: ignore[no-untyped-call]
    transform = create_transform(**data)
    logits: Tensor = model(torch.stack([transform(picture) for picture in pictures]))
    return logits


def measure(model: nn.Module, part: Part) -> Figures:
    """Accuracy in per cent for every variant, and the mean loss over all; the same drawings for every model."""
    accuracy, losses = {}, []
    for name, variant in VARIANTS.items():
        generator = Generator().manual_seed(SPLIT_SEED)
        logits = []
        for start in range(0, len(part.digits), BATCH):
            digits = part.digits[start : start + BATCH]
            look = random_look(len(digits), variant.paint, variant.looseness, generator)
            images = render(digits, look, variant.height, variant.width)
            logits.append(classify(model, [to_pil(image, variant.jpeg_quality) for image in images]))
        scores = torch.cat(logits)
        accuracy[name] = round(100 * (scores.argmax(1) == part.labels).double().mean().item(), 2)
        losses.append(functional.cross_entropy(scores, part.labels).item())
    return Figures(accuracy, round(math.fsum(losses) / len(losses), 4))


def choose(results: dict[int, Figures]) -> int:
    """The seed that does best on validation: mean accuracy over the variants, then the smaller loss."""
    return max(results, key=lambda seed: (math.fsum(results[seed].accuracy.values()), -results[seed].loss))


def print_figures(validation: dict[int, Figures], test: dict[int, Figures], chosen: int) -> None:
    """A table with one row a seed and part."""
    table = Table("seed", "part", *VARIANTS, "loss", title="accuracy, %")
    for seed in validation:
        for part, figures in (("validation", validation[seed]), ("test", test[seed])):
            name = f"{seed} (kept)" if seed == chosen else str(seed)
            table.add_row(name, part, *(f"{figures.accuracy[v]:.2f}" for v in VARIANTS), f"{figures.loss:.4f}")
    Console(width=120).print(table)


def write_samples(model: nn.Module, part: Part, folder: Path) -> None:
    """For each line of SAMPLES the first digit of that label that the model reads right from the written file."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = Generator().manual_seed(SPLIT_SEED)
    for label, paint, side, suffix in SAMPLES:
        path, index = folder / f"{label}-{paint}-{side}.{suffix}", LABELS.index(label)
        for row in (part.labels == index).nonzero()[:, 0].tolist():
            look = random_look(1, paint, 0.3, generator)
            to_pil(render(part.digits[row : row + 1], look, side, side)[0]).save(path, quality=90, optimize=True)
            if classify(model, [Image.open(path).convert("RGB")]).argmax().item() == index:
                break


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Indented JSON with a newline at its end."""
    path.write_text(json.dumps(content, indent=2) + "\n")


def parse_arguments() -> argparse.Namespace:
    """The command line; its defaults reproduce the committed model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=1, help="more are hardly faster and change the last digits")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "swin_digits")
    return parser.parse_args()


def write_model(output: Path, model: nn.Module, figures: dict[str, Any]) -> None:
    """config.json, model.safetensors and metrics.json, which adds to the figures the model's size and the versions."""
    weights = output / "model.safetensors"
    weights.write_bytes(
        save(model.state_dict(), {"format": "pt"})
    )  # save_file would make it readable by its owner alone
    facts = {
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "bytes": weights.stat().st_size,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "timm": timm.__version__,
            "scikit-learn": sklearn.__version__,
        },
    }
    write_json(output / "config.json", CONFIG)
    write_json(output / "metrics.json", {**figures, **facts})


def main() -> None:
    """Train every seed, keep the one that validation prefers, write the folder."""
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    torch.use_deterministic_algorithms(True)
    parts, started = split_digits(), time.perf_counter()
    models = {seed: train(parts["train"], seed, arguments.epochs) for seed in arguments.seeds}
    seconds = round(time.perf_counter() - started)
    validation = {seed: measure(model, parts["validation"]) for seed, model in models.items()}
    chosen = choose(validation)
    test = {seed: measure(model, parts["test"]) for seed, model in models.items()}
    print_figures(validation, test, chosen)
    write_samples(models[chosen], parts["test"], arguments.output / "samples")
    figures = {
        "split": {"seed": SPLIT_SEED, **{name: len(part.labels) for name, part in parts.items()}},
        "variants": {name: variant._asdict() for name, variant in VARIANTS.items()},
        "seeds": {s: {"validation": validation[s]._asdict(), "test": test[s]._asdict()} for s in models},
        "committed": {"seed": chosen, "test": test[chosen]._asdict()},
        "training": {"epochs": arguments.epochs, "threads": arguments.threads, "seconds_all_seeds": seconds},
    }
    write_model(arguments.output, models[chosen], figures)


if __name__ == "__main__":
    main()
