"""`make image`: what it asks docker or buildah to do, and by what names others find what it built."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import yaml
from deploy.k8s.render import COMBINATIONS

import swinserve
from tests.deploy.dockerfile import DOCKERFILE, ROOT
from tests.deploy.manifests import objects, serving

FOLDER = DOCKERFILE.parent
TARGETS = ("cpu", "cuda")


def make_image(folder: Path, *, engine: bool, buildah: bool, **settings: str) -> subprocess.CompletedProcess[str]:
    """`make image` where docker, with or without an engine, and buildah only print what they are asked to do."""
    for tool in ("bash", "sed", "dirname"):
        (folder / tool).symlink_to(str(shutil.which(tool)))
    answers = {"docker": f'[ "$1" != info ] && echo docker "$@" || exit {0 if engine else 1}'}
    if buildah:
        answers["buildah"] = 'echo buildah "$@"'
    for name, line in answers.items():
        (folder / name).write_text(f"#!/bin/sh\n{line}\n")
        (folder / name).chmod(0o755)
    environment = {"PATH": str(folder), **settings}
    return subprocess.run([folder / "bash", FOLDER / "build.sh"], env=environment, capture_output=True, text=True)


def test_make_image_builds_with_docker_where_an_engine_answers(tmp_path: Path) -> None:
    done = make_image(tmp_path, engine=True, buildah=True, TARGET="cuda", MODELS="swin_digits resnet50")
    assert done.stdout.startswith("docker build --file deploy/docker/Dockerfile --target cuda ")
    assert "--build-arg MODELS=swin_digits resnet50" in done.stdout


def test_make_image_builds_with_buildah_where_none_does(tmp_path: Path) -> None:
    done = make_image(tmp_path, engine=False, buildah=True, CERTIFICATES="/a.pem", TORCH_INDEX="https://torch.example")
    assert done.stdout.startswith("buildah build --format docker --layers ")  # else the health check is lost
    assert "--target cpu " in done.stdout
    assert "--secret id=certificates,src=/a.pem" in done.stdout
    assert "--build-arg TORCH_INDEX=https://torch.example" in done.stdout


def tags(done: subprocess.CompletedProcess[str]) -> set[str]:
    return set(re.findall(r"--tag (\S+)", done.stdout))


def test_make_image_names_what_it_builds_as_compose_and_the_overlays_do(tmp_path: Path) -> None:
    built: set[str] = set()
    for target in TARGETS:
        (tmp_path / target).mkdir()
        built |= tags(make_image(tmp_path / target, engine=True, buildah=False, TARGET=target))
    wanted = {serving(objects(combination)).container["image"] for combination in COMBINATIONS}
    compose = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())
    assert built == wanted | {compose["services"]["swinserve"]["image"], "swinserve:cuda"}


def test_make_image_gives_the_name_that_is_asked_for_and_no_other(tmp_path: Path) -> None:
    name = "registry.example.com/swinserve:0.1.0-cpu"
    assert tags(make_image(tmp_path, engine=True, buildah=False, IMAGE=name)) == {name}


def test_make_image_tells_the_image_its_version(tmp_path: Path) -> None:
    done = make_image(tmp_path, engine=True, buildah=False)
    assert f"--build-arg VERSION={swinserve.__version__} " in done.stdout


def test_make_image_says_what_to_install_where_there_is_neither(tmp_path: Path) -> None:
    done = make_image(tmp_path, engine=False, buildah=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "apt install buildah" in done.stderr


def test_what_make_image_can_be_told_is_what_the_dockerfile_takes() -> None:
    script = (FOLDER / "build.sh").read_text()
    told = re.search(r"^for name in (.*); do$", script, re.MULTILINE)
    assert told
    told_names = {*told[1].split(), *re.findall(r'--build-arg "(\w+)=', script)} - {"name"}
    arguments = {word.partition("=")[0] for word in re.findall(r"^ARG (\S+)", DOCKERFILE.read_text(), re.MULTILINE)}
    assert told_names == arguments
    secrets = re.findall(r"type=secret,id=(\w+)", DOCKERFILE.read_text())
    assert secrets == re.findall(r'--secret "id=(\w+),', script)
