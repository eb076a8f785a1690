"""Regenerates the committed stubs: every .proto under proto/swin_proto -> *_pb2.py, *_pb2.pyi, *_pb2_grpc.py(i).

Run by `make proto` with the grpcio-tools of requirements/proto.txt, whose protobuf 6 code also runs on protobuf 7.
`--check` writes nothing and exits 1 naming the stubs that no longer match their .proto.
"""

from __future__ import annotations

import argparse
import filecmp
import shutil
import sys
import tempfile
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent


def generate(output: Path) -> list[Path]:
    """Writes all stubs below `output` and returns them; raises SystemExit with protoc's code if one fails."""
    protos = sorted(str(path.relative_to(ROOT)) for path in ROOT.rglob("*.proto"))
    well_known = Path(protoc.__file__).parent / "_proto"
    arguments = ["protoc", f"-I{ROOT}", f"-I{well_known}", f"--python_out={output}", f"--pyi_out={output}"]
    code = protoc.main([*arguments, *protos])
    services = [name for name in protos if "\nservice " in (ROOT / name).read_text()]
    code = code or protoc.main([*arguments[:3], f"--grpc_python_out={output}", f"--mypy_grpc_out={output}", *services])
    if code:
        raise SystemExit(code)
    return sorted(path for path in output.rglob("*") if path.is_file())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare only; exit 1 if a stub is out of date")
    check = parser.parse_args().check
    stale = []
    with tempfile.TemporaryDirectory() as folder:
        for made in generate(Path(folder)):
            committed = ROOT / made.relative_to(folder)
            if committed.exists() and filecmp.cmp(made, committed, shallow=False):
                continue
            stale.append(str(committed.relative_to(ROOT.parent)))
            if not check:
                shutil.copyfile(made, committed)
    for name in stale:
        print(("out of date: " if check else "wrote ") + name)
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
