"""Content codings: whole and in pieces, never more than the bound, cut data noticed."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from spendgate.dialects.wire.content_coding import Decoder, EncodingError, codings, decode, supported


def raw_deflate(body: bytes) -> bytes:
    engine = zlib.compressobj(wbits=-15)
    return engine.compress(body) + engine.flush()


ENCODERS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "gzip of two members": ("gzip", lambda b: gzip.compress(b[:5]) + gzip.compress(b[5:])),
    "deflate": ("deflate", zlib.compress),
    "deflate without header": ("deflate", raw_deflate),
    "br": ("br", brotli.compress),
    "zstd": ("zstd", zstandard.compress),
    "zstd of two frames": ("ZSTD", lambda b: zstandard.compress(b[:5]) + zstandard.compress(b[5:])),
    "a list": ("gzip, br", lambda b: brotli.compress(gzip.compress(b))),
    "identity": ("identity", bytes),
    "none": ("", bytes),
}


@pytest.mark.parametrize("name", ENCODERS)
@given(body=st.binary(max_size=3000), step=st.integers(1, 400))
def test_what_was_encoded_comes_back_whole_and_in_pieces(name: str, body: bytes, step: int) -> None:
    header, encode = ENCODERS[name]
    encoded = encode(body)
    assert decode(encoded, header) == body
    decoder = Decoder(header)
    pieces = [decoder.feed(encoded[i : i + step]) for i in range(0, len(encoded), step)]
    assert b"".join(pieces) + decoder.close() == body


@pytest.mark.parametrize("name", [n for n in ENCODERS if n not in ("identity", "none")])
def test_a_cut_body_is_an_error(name: str) -> None:
    header, encode = ENCODERS[name]
    encoded = encode(b"some text that was cut" * 50)
    with pytest.raises(EncodingError, match="cut before its end"):
        decode(encoded[:-2], header)


@pytest.mark.parametrize("name", [n for n in ENCODERS if "two" not in n and "header" not in n])
def test_output_is_bounded(name: str) -> None:
    header, encode = ENCODERS[name]
    encoded = encode(bytes(1_000_000))
    assert len(decode(encoded, header, 1_000_000)) == 1_000_000
    with pytest.raises(EncodingError, match="more than 999999 bytes"):
        decode(encoded, header, 999_999)


@pytest.mark.parametrize("name", ["gzip", "deflate", "br", "zstd"])
def test_output_is_bounded_over_all_pieces(name: str) -> None:
    header, encode = ENCODERS[name]
    encoded = encode(bytes(range(256)) * 400)
    decoder = Decoder(header, 50_000)
    with pytest.raises(EncodingError, match="more than 50000 bytes"):
        for i in range(len(encoded)):
            decoder.feed(encoded[i : i + 1])


@pytest.mark.parametrize("header", ["gzip", "br", "zstd", "gzip, br"])
def test_broken_data_is_an_error_that_names_the_coding(header: str) -> None:
    with pytest.raises(EncodingError, match=header.split(", ")[-1]):
        decode(b'{"usage": "this is plain text"}' * 9, header)


@given(st.binary(max_size=200), st.sampled_from(["gzip", "deflate", "br", "zstd", "br, zstd"]))
def test_no_bytes_raise_anything_but_an_encoding_error(body: bytes, header: str) -> None:
    try:
        assert isinstance(decode(body, header), bytes)
    except EncodingError as e:
        assert str(e)


def test_an_unknown_coding_is_an_error_that_lists_the_known() -> None:
    with pytest.raises(EncodingError, match="'compress' cannot be decoded; use at most 4 of gzip"):
        Decoder("compress")


def test_codings_are_read_in_order_and_identity_left_out() -> None:
    assert codings(" GZIP , identity,br") == ("gzip", "br")
    assert supported("gzip, br")
    assert supported("")
    assert not supported("gzip, aes128gcm")
    assert not supported("gzip," * 5)
