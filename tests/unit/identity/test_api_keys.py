"""Keys of our own: found by their id, known by a salted hash, ended by time or by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spendgate.errors import ConfigurationError
from spendgate.identity import api_keys, key_file
from spendgate.identity.api_keys import KeyRing, PlainHash

ENTROPY = bytes(range(56))
TEXT, KEY = api_keys.issue(ENTROPY, "ml", "chat", "", now_ms=1000, expires_ms=5000)


@settings(deadline=None)
@given(st.binary(min_size=56, max_size=56))
def test_a_key_is_found_by_its_own_text_only(entropy: bytes) -> None:
    text, key = api_keys.issue(entropy, "ml", "", "", 0)
    ring = KeyRing.of((key,))
    assert ring.find(text, 1) == key
    assert text.isascii() and " " not in text
    for wrong in (text[:-1], text + "x", text.swapcase(), text.replace("sgk_", ""), api_keys.PREFIX + key.id):
        assert ring.find(wrong, 1) is None


def test_what_is_kept_of_two_equal_keys_differs_by_its_salt() -> None:
    other = api_keys.digest_of(b"another salt, 16", TEXT)
    assert KEY.digest != other
    assert TEXT not in key_file.text_of(KeyRing.of((KEY,)))


def test_a_key_ends_by_its_time_and_by_being_revoked() -> None:
    ring = KeyRing.of((KEY,))
    assert ring.find(TEXT, 4999) == KEY
    assert ring.find(TEXT, 5000) is None
    gone = ring.revoked(KEY.id, 3000)
    assert gone.find(TEXT, 3000) is None
    assert gone.revoked(KEY.id, 4000).keys[KEY.id].revoked_ms == 3000
    assert ring.expiring(KEY.id, 9000).keys[KEY.id].expires_ms == 5000
    assert ring.expiring(KEY.id, 2000).find(TEXT, 2000) is None


@settings(deadline=None)
@given(
    st.builds(
        api_keys.ApiKey,
        id=st.just("abcdefgh"), team=st.text("ab -", min_size=1), app=st.text("ab -"), user=st.text("ab"),
        salt=st.binary(min_size=16, max_size=16), digest=st.binary(min_size=32, max_size=32),
        created_ms=st.integers(0, 4_000_000_000).map(lambda s: s * 1000),
        expires_ms=st.integers(0, 4_000_000_000).map(lambda s: s * 1000),
        note=st.text("äb:#-'", max_size=20),
    )
)  # fmt: skip
def test_a_file_reads_as_it_was_written(key: api_keys.ApiKey) -> None:
    import tempfile

    ring = KeyRing.of((key,), (PlainHash("0" * 64, "t", "a"),))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "keys.yaml"
        path.write_text(key_file.text_of(ring))
        assert key_file.read(path) == ring


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("keys: [{team: ml}]", "give id, salt and hash"),
        ("keys: [{id: abcdefgh, team: ml, salt: x}]", "salt"),
        ("keys: [{sha256: abc, team: ml}]", "sha256"),
        (f"keys: [{{sha256: {'ab' * 32}, team: a}}, {{sha256: {'ab' * 32}, team: b}}]", "twice"),
        ("keys: [", "cannot be read"),
        ("other: 1", "other"),
    ],
)
def test_a_wrong_file_is_refused_by_name(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "keys.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=says) as e:
        key_file.read(path)
    assert str(path) in str(e.value)


def test_editors_wait_for_each_other_and_the_file_is_private(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    path = tmp_path / "keys.yaml"

    def add(i: int) -> None:
        with key_file.editing(path) as rings:
            rings.append(rings[0].added(api_keys.issue(bytes([i]) * 56, f"t{i}", "", "", 0)[1]))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(16)))
    assert len(key_file.read(path).keys) == 16
    assert path.stat().st_mode & 0o077 == 0
