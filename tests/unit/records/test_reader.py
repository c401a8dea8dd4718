from __future__ import annotations

import gzip
import io
from pathlib import Path

import pytest
from google.protobuf.internal.encoder import _VarintBytes  # type: ignore[attr-defined]
from google.protobuf.proto import parse_length_prefixed
from hypothesis import given, settings
from hypothesis import strategies as st
from support.usage_lines import expired, record, write_log

from spendgate.errors import ConfigurationError
from spendgate.money import LEDGER_MAX_NANOUSD
from spendgate.protos import usage_pb2 as pb
from spendgate.records.outcome import ChargedBy, Outcome
from spendgate.records.protobuf import framed, from_proto, to_proto
from spendgate.records.reader import UsageLogReader, parse, read
from spendgate.records.record import UsagePart
from spendgate.usage import KINDS


@settings(deadline=None)
@given(
    cost=st.integers(0, LEDGER_MAX_NANOUSD),
    tokens=st.dictionaries(st.sampled_from(KINDS), st.integers(0, 10**12)),
    team=st.text(st.characters(exclude_categories=["Cs"])),
    at_ms=st.integers(0, 4_102_444_800_000),
)
def test_what_the_gateway_writes_is_read_back_as_it_was(
    cost: int, tokens: dict[str, int], team: str, at_ms: int
) -> None:
    written = record(team=team, cost_nanousd=cost, tokens=tokens, at_ms=at_ms)
    assert parse(written.line()) == written


def test_what_a_cost_was_made_from_is_read_back(tmp_path: Path) -> None:
    full = record(
        1,
        model_answered="gpt-4o-2024-08-06",
        attempts=3,
        charged_by=ChargedBy.TOLD,
        flags=("usage_mismatch",),
        end_user="ann",
        tags=(("project", "beta"), ("centre", "4711")),
        off_list_nanousd=-500,
        markup_nanousd=700,
    )
    assert list(read([write_log(tmp_path / "u.jsonl", [full])])) == [full]


@pytest.mark.parametrize("saved", [-5_000_000_001, -1, 1, 7_500_000])
def test_what_routing_saved_is_read_back_also_below_zero(saved: int) -> None:
    written = record(saved_nanousd=saved)
    assert b'"saved_usd"' in written.line()
    assert parse(written.line()) == written


def test_an_exchange_billed_for_several_models_keeps_its_parts() -> None:
    parts = (UsagePart("gpt-4o", {"input": 1}, 5), UsagePart("o3", {"output": 2}, 7))
    written = record(parts=parts, cost_nanousd=12)
    assert parse(written.line()) == written


@pytest.mark.parametrize(
    ("spoilt", "field", "says"),
    [
        ('{"a": ', "", "not JSON"),
        ("[1]", "", "not a JSON object"),
        (("cost_usd", '"0.0035"', "0.0035"), "cost_usd", "not text"),
        (("cost_usd", '"0.0035"', '"1e-3"'), "cost_usd", "not an exact amount"),
        (("cost_usd", '"0.0035"', '"-1"'), "cost_usd", "not an exact amount"),
        (("cost_usd", '"0.0035"', '"9007200"'), "cost_usd", "more than"),
        (("input", "1000", "-1"), "tokens", "not a count"),
        (("input", "1000", "1.5"), "tokens", "not a count"),
        (("input", "1000", "true"), "tokens", "not a count"),
        (("outcome", '"complete"', '"done"'), "outcome", "none of"),
        (("team", '"red"', "null"), "team", "is missing"),
        (("time", '"2026-11-24T06:00:01.000Z"', '"2026-11-24T06:00:01"'), "time", "not a UTC time"),
    ],
)
def test_a_bad_line_is_named_by_file_line_and_field(
    spoilt: str | tuple[str, str, str], field: str, says: str, tmp_path: Path
) -> None:
    line = record(1).line().decode()
    if isinstance(spoilt, tuple):
        key, old, new = spoilt
        assert f'"{key}":{old}' in line
        spoilt = line.replace(f'"{key}":{old}', f'"{key}":{new}')
    path = tmp_path / "usage.jsonl"
    path.write_text(f"{record(0).line().decode()}\n{spoilt}\n{line}\n")
    with pytest.raises(ConfigurationError) as raised:
        list(read([path]))
    (fault,) = raised.value.faults
    assert (fault.path, fault.line, fault.field) == (str(path), 2, field)
    assert says in fault.problem
    lenient = UsageLogReader((path,), skip_bad=True)
    assert len(list(lenient.records())) == 2
    assert lenient.faults == [fault]


def test_a_last_line_that_was_cut_off_is_let_go_and_told(tmp_path: Path) -> None:
    path = write_log(tmp_path / "usage.jsonl", [record(0), record(1)])
    path.write_bytes(path.read_bytes() + record(2).line()[:-9])
    reader = UsageLogReader((path,))
    assert [r.exchange_id for r in reader.records()] == ["x0", "x1"]
    assert reader.torn == [path]


def test_a_last_line_that_only_lacks_its_newline_counts(tmp_path: Path) -> None:
    path = write_log(tmp_path / "usage.jsonl", [record(0), record(1)])
    path.write_bytes(path.read_bytes()[:-1])
    assert [r.exchange_id for r in read([path])] == ["x0", "x1"]


@pytest.mark.parametrize("true_cost_first", [False, True])
def test_an_exchange_that_expired_and_was_settled_later_counts_once_at_its_true_cost(
    true_cost_first: bool, tmp_path: Path
) -> None:
    lines = [expired(1, 90), record(1, cost_nanousd=40)]
    if true_cost_first:
        lines.reverse()
    path = write_log(tmp_path / "usage.jsonl", [record(0, cost_nanousd=1), *lines, expired(2, 7)])
    assert sorted(r.cost_nanousd for r in read([path])) == [1, 7, 40]


def test_rotated_logs_are_read_packed_too(tmp_path: Path) -> None:
    packed = tmp_path / "usage.jsonl.1.gz"
    packed.write_bytes(gzip.compress(record(0).line() + b"\n"))
    plain = write_log(tmp_path / "usage.jsonl", [record(1)])
    assert [r.exchange_id for r in read([packed, plain])] == ["x0", "x1"]


def test_a_packed_log_that_is_damaged_is_an_error_that_names_it_wherever_it_is(tmp_path: Path) -> None:
    packed, broken, found = gzip.compress(record(0).line() + b"\n", mtime=0), tmp_path / "broken.gz", 0
    for place in range(10, len(packed)):  # its header tells a time and a name
        broken.write_bytes(packed[:place] + bytes([packed[place] ^ 0xFF]) + packed[place + 1 :])
        with pytest.raises(ConfigurationError, match=r"broken\.gz: the usage log cannot be read"):
            list(read([broken]))
        found += 1
    assert found > 200


def test_a_file_that_is_missing_broken_or_given_twice_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = write_log(tmp_path / "usage.jsonl", [record(0)])
    broken = tmp_path / "broken.gz"
    broken.write_bytes(gzip.compress(b"x" * 999)[:-9])
    for paths, says in (
        ([tmp_path / "gone"], "gone: the usage log cannot be read: No such file"),
        ([broken], "broken.gz: the usage log cannot be read"),
        ([path, path], "given twice"),
    ):
        with pytest.raises(ConfigurationError, match=says):
            list(read(paths))


MESSAGES = [record(n, tags=(("project", "b" * n),)) for n in (0, 1, 127, 128, 16_400)]


def test_an_archive_of_messages_reads_like_the_log(tmp_path: Path) -> None:
    plain, packed = tmp_path / "u.binpb", tmp_path / "v.binpb.gz"
    plain.write_bytes(b"".join(map(framed, MESSAGES)))
    packed.write_bytes(gzip.compress(b"".join(map(framed, [expired(1, 90), expired(7, 8)]))))
    assert sorted(read([plain, packed]), key=lambda r: r.at_ms) == sorted(
        [*MESSAGES, expired(7, 8)], key=lambda r: r.at_ms
    )


def test_an_archive_that_was_cut_off_is_an_error_that_names_it(tmp_path: Path) -> None:
    path, whole = tmp_path / "u.binpb", b"".join(map(framed, MESSAGES[:4]))
    last = framed(MESSAGES[4])
    for cut in (1, 2, 3, len(last) // 2, len(last) - 1):
        path.write_bytes(whole + last[:cut])
        with pytest.raises(
            ConfigurationError, match=r"u\.binpb: the usage log cannot be read: it was cut off"
        ):
            list(UsageLogReader((path,), skip_bad=True).records())


@pytest.mark.parametrize(
    ("message", "says"),
    [
        (b"\xff\xff\xff", "parsing"),
        (
            to_proto(record(outcome=Outcome.COMPLETE)).SerializeToString() + b"\x90\x01\x4d",
            "unknown outcome 77",
        ),
        (to_proto(record(cost_nanousd=-1)).SerializeToString(), "not an exact amount"),
        (
            to_proto(record()).SerializeToString()
            + to_proto(record(tokens={"input": -1})).SerializeToString(),
            "count",
        ),
    ],
)
def test_a_message_that_says_nothing_sound_is_named_by_file_and_place(
    message: bytes, says: str, tmp_path: Path
) -> None:
    path = tmp_path / "u.binpb"
    path.write_bytes(framed(record(0)) + _VarintBytes(len(message)) + message + framed(record(2)))
    with pytest.raises(ConfigurationError) as raised:
        list(read([path]))
    (fault,) = raised.value.faults
    assert (fault.path, fault.line) == (str(path), 2)
    assert says in fault.problem


def test_an_archive_is_what_protobufs_own_readers_take() -> None:
    file = io.BytesIO(b"".join(map(framed, MESSAGES)))
    found = [parse_length_prefixed(pb.UsageRecord, file) for _ in MESSAGES]
    assert [from_proto(m) for m in found if m is not None] == MESSAGES
    assert parse_length_prefixed(pb.UsageRecord, file) is None
