import pytest

from spendgate.tokens.encoder import PIECE_CHARS, sliced, without_surrogates


class PanicException(BaseException):
    """What a panic in a Rust extension looks like."""


def test_a_panic_counts_the_piece_by_its_bytes() -> None:
    def panics_on_spaces(piece: str) -> int:
        if piece.isspace():
            raise PanicException("stack overflow")
        return 1

    enc = sliced("test", True, panics_on_spaces)
    assert enc.count(" " * 10) == 10
    assert enc.count("x" * (2 * PIECE_CHARS) + " " * 7) == 2 + 7


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit, ZeroDivisionError])
def test_any_other_exception_goes_through(stop: type[BaseException]) -> None:
    def raises(piece: str) -> int:
        raise stop

    with pytest.raises(stop):
        sliced("test", True, raises).count("x")


def test_pieces_are_bounded() -> None:
    sizes: list[int] = []

    def note(piece: str) -> int:
        sizes.append(len(piece))
        return 1

    enc = sliced("test", True, note)
    enc.count("x" * (3 * PIECE_CHARS + 5))
    assert sizes == [PIECE_CHARS] * 3 + [5]
    sizes.clear()
    assert enc.count_till("x" * (3 * PIECE_CHARS), 1) is None
    assert sizes == [PIECE_CHARS] * 2


def test_surrogates_become_question_marks_and_pairs_of_them_survive() -> None:
    assert without_surrogates("a\ud800b😀") == "a?b😀"
