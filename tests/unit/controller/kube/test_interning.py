from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from spendgate.controller.kube.interning import Interner

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from([0.0, 1.0, 1.5])
    | st.text("ab", max_size=2)
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=3),
)


def test_equal_parts_of_two_documents_are_one_object() -> None:
    sharer = Interner()
    first = sharer.fields({"a": [{"percent": 50, "action": "alert"}], "b": {"c": {"d": 1}}})
    second = sharer.fields({"a": [{"percent": 50, "action": "alert"}], "b": {"c": {"d": 2}}})
    assert first["a"] is second["a"]
    assert first["b"] is not second["b"]
    assert first is not second


@given(st.lists(st.dictionaries(st.text("ab", max_size=2), JSON, max_size=4), max_size=6), st.integers(1, 50))
def test_law_what_comes_out_is_what_went_in_with_types_and_order(documents: list[Any], kept: int) -> None:
    sharer = Interner(kept)
    before = [json.dumps(d) for d in documents]
    shared = [sharer.fields(d) for d in documents]
    assert [json.dumps(d) for d in shared] == before
