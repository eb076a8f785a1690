"""The model part on a GPU: ours against timm, interleaved, in less than nine minutes -> CSV, tables, a profile.

Needs torch, timm and triton alone: `python loadtests/bench_gpu.py`. What there is time for is measured, in the order of
its weight for the goals; the file is rewritten after every candidate, so that Ctrl-C leaves what there is.
Weights are random. timm's candidates get pixels that are normalised already; ours get uint8 and normalise them.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import gc
import platform
import random
import re
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import timm
import torch
import triton
from gpu_candidates import Bench, Built, Candidate, Subject
from gpu_figures import Measured, columns, goals, table

RESULTS = Path(__file__).resolve().parent / "results"
SECONDS = 520.0
"""Of the whole run; what is under way at its end is broken off."""
BUILD_SECONDS = {"": 10.0, "default": 45.0, "max-autotune": 100.0}
"""What building a candidate is reckoned to take, by how it is compiled, until one of the kind has taken longer."""
ROUND_SECONDS = 0.02
"""Of one candidate in one round: as many passes as fit, but at least two."""
ROUNDS = (3, 25)
"""After each new candidate, of all so far; and once all are there."""

STOCK, COMPILED = Candidate(captured=False), Candidate(compiled="default")
TRITON, OURS = Candidate("triton"), Candidate("triton", compiled="default")
TUNED, OURS_TUNED = Candidate(compiled="max-autotune"), Candidate("triton", compiled="max-autotune")
ATTENTIONS = [
    Candidate("sdpa"),
    *(Candidate("sdpa", sdpa=backend) for backend in ("efficient", "cudnn", "math")),
    Candidate("plain"),
]
COMPILED_ATTENTIONS = [Candidate(name, compiled="default") for name in ("sdpa", "flex", "plain")]
TRANSFERS = [Candidate("triton", transfers=kind) for kind in ("alone", "overlapped")]
SHORT = [COMPILED, OURS, STOCK, TRITON, ATTENTIONS[0]]

Group = tuple[int, dict[str, list[Candidate]]]
GROUPS: list[Group] = [
    (64, {"Swin-T": [STOCK, COMPILED, OURS, TRITON], "ResNet-50": [STOCK, COMPILED]}),
    (64, {"Swin-T": [TRITON, *ATTENTIONS, *TRANSFERS]}),
    (64, {"Swin-T": [TUNED, OURS_TUNED], "ResNet-50": [TUNED]}),
    (1, {"Swin-T": SHORT, "ResNet-50": [STOCK, COMPILED]}),
    (64, {"Swin-T": [OURS, *COMPILED_ATTENTIONS]}),
    (64, {"SwinV2-T": SHORT}),
    (8, {"Swin-T": SHORT, "ResNet-50": [STOCK, COMPILED]}),
    (64, {"Swin-B": SHORT}),
    (256, {"Swin-T": SHORT, "ResNet-50": [STOCK, COMPILED]}),
    *((batch, {name: SHORT}) for name in ("SwinV2-T", "Swin-B") for batch in (1, 8, 256)),
]
"""(batch, model -> candidates): what is in one group takes turns in every round."""
MODELS: dict[str, tuple[str, dict[str, object]]] = {
    "Swin-T": ("swin_tiny_patch4_window7_224", {}),
    "Swin-B": ("swin_base_patch4_window7_224", {}),
    "SwinV2-T": ("swinv2_tiny_window8_256", {}),
    "ResNet-50": ("resnet50", {}),
}
_TINY: dict[str, object] = {
    "img_size": 64, "embed_dim": 24, "depths": (1, 1), "num_heads": (2, 4), "window_size": 4,
}  # fmt: skip
SMOKE_MODELS: dict[str, tuple[str, dict[str, object]]] = {
    "Swin-T": ("swin_tiny_patch4_window7_224", _TINY),
    "ResNet-50": ("resnet18", {}),
}
SMOKE_GROUPS: list[Group] = [
    (1, {"Swin-T": [STOCK, COMPILED, TRITON], "ResNet-50": [STOCK]}),
    (2, {"Swin-T": [*ATTENTIONS, TRANSFERS[1], COMPILED_ATTENTIONS[1]]}),
]
"""With kinds of candidates that fail on a CPU among them."""

Key = tuple[str, int, str]
"""model, batch, candidate"""


class Run:
    def __init__(self, bench: Bench, path: Path) -> None:
        self.rows: dict[Key, Measured] = {}
        self._bench = bench
        self._path = path
        self._models = SMOKE_MODELS if bench.smoke else MODELS
        self._rounds = (1, 1) if bench.smoke else ROUNDS
        self._ends = time.monotonic() + SECONDS
        self._build_seconds = dict(BUILD_SECONDS)
        self._subjects: dict[str, Subject] = {}
        self._about = about(bench)

    def group(self, batch: int, wanted: dict[str, list[Candidate]]) -> None:
        """Builds one candidate after the other; after each, some rounds of all so far."""
        built: dict[Key, Built] = {}
        for name, candidates in wanted.items():
            subject = self._subject(name)
            expected = self._bench.expected(subject, batch)
            for candidate in candidates:
                row = self.rows.setdefault((name, batch, candidate.name), Measured(name, batch, candidate.name))
                if (made := self._build(row, subject, candidate, expected)) is not None:
                    built[name, batch, candidate.name] = made
                    self._take_turns(built, self._rounds[0])
                self.write()
        self._take_turns(built, self._rounds[1])
        self.write()
        if built:
            self._profile(built)

    @torch.inference_mode()
    def _build(self, row: Measured, subject: Subject, candidate: Candidate, expected: torch.Tensor) -> Built | None:
        reckoned = self._build_seconds[candidate.compiled]
        if time.monotonic() + reckoned > self._ends:
            row.note = "no time left"
            return None
        begin = time.monotonic()
        try:
            built = self._bench.build(subject, row.batch, candidate)
            answer = built.answer()[: len(expected)]
        except Exception as error:  # noqa: BLE001 - one candidate's failure is its row's note
            row.note = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"[:200]
            say(f"{row.model}, batch {row.batch}, {row.candidate}: {row.note}")
            self._wait()  # raises again where the device is lost, and with it all that would follow
            return None
        row.relative_l2 = float((answer - expected).norm() / expected.norm())
        row.build_seconds = time.monotonic() - begin
        row.note = ""
        self._build_seconds[candidate.compiled] = max(reckoned, row.build_seconds)
        return built

    @torch.inference_mode()
    def _take_turns(self, built: dict[Key, Built], rounds: int) -> None:
        keys, order = list(built), random.Random(0)
        passes = {key: max(2, int(ROUND_SECONDS / self._once(built[key], 2))) for key in keys}
        for _ in range(rounds):
            order.shuffle(keys)
            for key in keys:
                self._once(built[key], 1)
                self.rows[key].seconds.append(self._once(built[key], passes[key]))

    def _once(self, built: Built, passes: int) -> float:
        """Seconds of one pass of several, waiting for the device before the first and after the last"""
        self._wait()
        begin = time.perf_counter()
        for _ in range(passes):
            built.run()
        self._wait()
        return (time.perf_counter() - begin) / passes

    def _wait(self) -> None:
        if self._bench.device.type == "cuda":
            torch.cuda.synchronize()

    @torch.inference_mode()
    def _profile(self, built: dict[Key, Built]) -> None:
        """Appends which kernels the fastest candidate spends its time in."""
        fastest = min(built, key=lambda key: min(self.rows[key].seconds))
        with torch.profiler.profile() as profiler:
            self._once(built[fastest], 5)
        kernels = profiler.key_averages().table("self_device_time_total", row_limit=25, max_name_column_width=80)
        with self._path.with_suffix(".profile.txt").open("a") as file:
            file.write(f"{', '.join(map(str, fastest))}, 5 passes\n{kernels}\n")

    def _subject(self, name: str) -> Subject:
        if name not in self._subjects:
            self._subjects[name] = Subject(*self._models[name])
        return self._subjects[name]

    def write(self) -> None:
        rows = [columns(row) | self._about for row in self.rows.values()]
        with self._path.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0].keys())
            writer.writeheader()
            writer.writerows(rows)


def about(bench: Bench) -> dict[str, object]:
    return {
        "dtype": str(bench.dtype).removeprefix("torch."),
        "machine": machine(bench.device),
        "torch": torch.__version__,
        "triton": triton.__version__,
        "timm": timm.__version__,
    }


def machine(device: torch.device) -> str:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def chosen(asked: argparse.Namespace) -> Iterator[Group]:
    """The groups, without the models, batches and candidates that are not asked for."""
    for batch, wanted in SMOKE_GROUPS if asked.smoke else GROUPS:
        kept = {
            name: [candidate for candidate in candidates if re.search(asked.candidates, candidate.name)]
            for name, candidates in wanted.items()
            if name in (asked.models or wanted)
        }
        if any(kept.values()) and batch in (asked.batches or [batch]):
            yield batch, {name: candidates for name, candidates in kept.items() if candidates}


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", type=torch.device, default="cuda")
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float32"])
    parser.add_argument("--models", nargs="*", choices=[*MODELS], help="only these")
    parser.add_argument("--batches", nargs="*", type=int, help="only these")
    parser.add_argument("--candidates", default="", metavar="REGEX", help="only those whose name it is found in")
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--smoke", action="store_true", help="tiny models, one round: for a test")
    return parser.parse_args()


def main() -> None:
    asked = options()
    torch.backends.cudnn.allow_tf32 = False  # of float32 convolutions: the reference is to be float32
    bench = Bench(asked.device, getattr(torch, asked.dtype), smoke=asked.smoke)
    asked.output.mkdir(parents=True, exist_ok=True)
    today = datetime.datetime.now(datetime.UTC).date()
    path = asked.output / f"{today}-{machine(asked.device)}-torch{torch.__version__}-{asked.dtype}.csv"
    run = Run(bench, path)
    # The end of the time is as Ctrl-C: a compilation under way is broken off.
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        for batch, wanted in chosen(asked):
            say(f"batch {batch}: {', '.join(wanted)}")
            run.group(batch, wanted)
            # A group's graphs and weights may fill the device.
            torch._dynamo.reset()
            gc.collect()
    except KeyboardInterrupt:
        say("broken off")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        if run.rows:
            run.write()
            rows = [*run.rows.values()]
            print(table(rows), goals(rows, 1 if asked.smoke else 64), path, sep="\n\n")


if __name__ == "__main__":
    main()
