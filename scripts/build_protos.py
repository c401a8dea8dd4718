"""Compile protos/ into src/spendgate/protos with grpcio-tools.

    .venv/bin/python scripts/build_protos.py            write the committed modules anew
    .venv/bin/python scripts/build_protos.py --out DIR  write them below DIR (a test compares the two)

`protos/spendgate/v1/NAME.proto` becomes `spendgate.protos.NAME_pb2`, with its stub beside it.
"""

from __future__ import annotations

import argparse
import sys
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "protos" / "spendgate" / "v1"
PACKAGE = "spendgate/protos"


def build(out: Path, sources: Path = SOURCES) -> Path:
    """Compile every file of `sources` below `out`; the path of the descriptor set that was compiled.

    Raises RuntimeError where the compiler refuses a file; its message stands on stderr.
    """
    names = sorted(p.name for p in sources.glob("*.proto"))
    if not names:
        raise RuntimeError(f"no .proto file in {sources}")
    out.mkdir(parents=True, exist_ok=True)
    descriptors = out / "descriptors.binpb"
    status = protoc.main(
        [
            "protoc",
            f"-I{PACKAGE}={sources}",
            f"-I{files('grpc_tools') / '_proto'}",
            f"--python_out={out}",
            f"--pyi_out={out}",
            f"--descriptor_set_out={descriptors}",
            *(f"{PACKAGE}/{name}" for name in names),
        ]
    )
    if status != 0:
        raise RuntimeError(f"protoc failed with status {status}")
    return descriptors


def main() -> int:
    """Run as a command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=ROOT / "src", help="where to write (default: src)")
    out = parser.parse_args().out
    try:
        descriptors = build(out)
    except RuntimeError as e:
        print(f"build_protos: {e}", file=sys.stderr)
        return 1
    descriptors.unlink()
    for path in sorted((out / PACKAGE).glob("*_pb2.py*")):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
