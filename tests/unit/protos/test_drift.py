"""The committed modules are what protos/ says.

Descriptors are compared, not generated text: another release of the compiler writes another header.
"""

from __future__ import annotations

import re
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from support.scripts import load_script

SOURCES = Path(__file__).parents[3] / "protos" / "spendgate" / "v1"
NAMES = sorted(p.stem for p in SOURCES.glob("*.proto"))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, FileDescriptorProto]:
    out = tmp_path_factory.mktemp("protos")
    descriptors = load_script("build_protos").build(out)
    files = FileDescriptorSet.FromString(descriptors.read_bytes()).file
    assert sorted(p.name for p in (out / "spendgate" / "protos").glob("*_pb2.py")) == [
        f"{n}_pb2.py" for n in NAMES
    ]
    return {Path(f.name).stem: f for f in files}


@pytest.mark.parametrize("name", NAMES)
def test_the_committed_module_is_what_the_proto_file_says(
    name: str, built: dict[str, FileDescriptorProto]
) -> None:
    committed = FileDescriptorProto()
    import_module(f"spendgate.protos.{name}_pb2").DESCRIPTOR.CopyToProto(committed)
    assert _plain(committed) == _plain(built[name]), "run .venv/bin/python scripts/build_protos.py and commit"


@pytest.mark.parametrize("name", NAMES)
def test_the_committed_stub_knows_every_field(name: str, built: dict[str, FileDescriptorProto]) -> None:
    module = import_module(f"spendgate.protos.{name}_pb2")
    stub = Path(str(module.__file__)).with_suffix(".pyi").read_text()
    for message in built[name].message_type:
        slots = re.search(rf"class {message.name}\(.*?__slots__ = \((.*?)\)", stub, re.DOTALL)
        assert slots is not None, f"{message.name} is missing; run scripts/build_protos.py"
        assert re.findall(r'"(\w+)"', slots[1]) == [f.name for f in message.field]


@pytest.mark.parametrize("name", NAMES)
def test_every_message_field_and_value_says_what_it_means(name: str) -> None:
    lines = (SOURCES / f"{name}.proto").read_text().splitlines()
    bare = [
        line.strip()
        for before, line in pairwise(lines)
        if re.match(r"\s*(message|enum|[\w.<>, ]+ = \d+;|repeated )", line)
        and not before.strip().startswith("//")
    ]
    assert not bare


def _plain(file: FileDescriptorProto) -> FileDescriptorProto:
    """Without the JSON names, which a compiler adds and a loaded module leaves out."""

    def strip(messages: object) -> None:
        for message in messages:  # type: ignore[attr-defined]
            for field in message.field:
                field.ClearField("json_name")
            strip(message.nested_type)

    copy = FileDescriptorProto()
    copy.CopyFrom(file)
    strip(copy.message_type)
    return copy
