"""deploy/docker/Dockerfile as its stages and instructions, and what of the repository a build gets to see."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "deploy" / "docker" / "Dockerfile"


@dataclass(frozen=True)
class Instruction:
    name: str
    text: str

    @property
    def words(self) -> list[str]:
        return shlex.split(self.text)

    def options(self, name: str) -> list[str]:
        return [word.partition("=")[2] for word in self.words if word.startswith(f"--{name}=")]


@dataclass
class Stage:
    name: str
    parent: str
    instructions: list[Instruction] = field(default_factory=list)

    def all(self, name: str) -> list[Instruction]:
        return [each for each in self.instructions if each.name == name]


def stages() -> dict[str, Stage]:
    text = re.sub(r"^\s*#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    found: dict[str, Stage] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        name, _, rest = line.partition(" ")
        if name == "FROM":
            parent, _, stage = rest.partition(" AS ")
            found[stage] = Stage(stage, parent)
        elif found:
            found[next(reversed(found))].instructions.append(Instruction(name, rest.strip()))
    return found


def image(target: str) -> list[Instruction]:
    """What makes the image of a stage: its own instructions after those of the stages that it is made from."""
    known = stages()
    chain = [known[target]]
    while chain[0].parent in known:
        chain.insert(0, known[chain[0].parent])
    return [each for stage in chain for each in stage.instructions]


def environment(target: str) -> dict[str, str]:
    pairs = [word for each in image(target) if each.name == "ENV" for word in each.words]
    return {name: value for name, _, value in (pair.partition("=") for pair in pairs)}


def sources() -> list[str]:
    """Paths of the repository that a build reads."""
    found = []
    for stage in stages().values():
        for each in stage.all("COPY"):
            if not each.options("from"):
                found += [word for word in each.words if not word.startswith("--")][:-1]
        for mount in (mount for each in stage.all("RUN") for mount in each.options("mount")):
            settings = dict(pair.partition("=")[::2] for pair in mount.split(","))
            if settings["type"] == "bind":
                found.append(settings["source"])
    return found


def sent(path: str) -> bool:
    """Whether .dockerignore lets a build see it: of the patterns that meet it or a folder above, the last decides."""
    lines = [line.strip() for line in (ROOT / ".dockerignore").read_text().splitlines()]
    parts = path.split("/")
    prefixes = ["/".join(parts[: n + 1]) for n in range(len(parts))]
    seen = True
    for line in (line for line in lines if line and not line.startswith("#")):
        pattern = line.removeprefix("!")
        anywhere = pattern.removeprefix("**/")
        met = any(_meets(prefix, pattern) for prefix in prefixes)
        if met or (anywhere != pattern and any(fnmatchcase(part, anywhere) for part in parts)):
            seen = line.startswith("!")
    return seen


def _meets(path: str, pattern: str) -> bool:
    """Part by part: an asterisk does not match a slash."""
    left, right = path.split("/"), pattern.split("/")
    return len(left) == len(right) and all(map(fnmatchcase, left, right))
