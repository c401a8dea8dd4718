"""Values are compared and hashed by their fields; that nothing assigns to them is the type checker's word."""

from __future__ import annotations

import copy
import pickle
from dataclasses import fields, replace

import pytest

from spendgate.values import dataclass


@dataclass(frozen=True, slots=True)
class Value:
    """A value with a default."""

    name: str
    size: int = 1


@dataclass(slots=True)
class State:
    """No value: it changes."""

    size: int = 1


def test_values_of_equal_fields_are_equal_and_hash_alike() -> None:
    assert Value("a") == Value("a", 1) != Value("a", 2)
    assert len({Value("a"), Value("a", 1), Value("b")}) == 2


def test_what_is_not_frozen_has_no_hash() -> None:
    with pytest.raises(TypeError):
        hash(State())


def test_values_are_dataclasses_to_all_that_takes_them() -> None:
    assert [f.name for f in fields(Value)] == ["name", "size"]
    assert replace(Value("a"), size=3) == Value("a", 3)
    assert copy.deepcopy(Value("a")) == Value("a")
    assert pickle.loads(pickle.dumps(Value("a", 2))) == Value("a", 2)
    assert not hasattr(Value("a"), "__dict__")


def test_making_a_value_costs_no_more_than_making_what_changes() -> None:
    """Its fields are set as those of any other class: by no call of `object.__setattr__` each."""
    assert "__setattr__" not in vars(Value)
