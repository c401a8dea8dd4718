"""Dataclasses whose `frozen` is the type checker's matter.

At run time such a class is made, compared and hashed as a frozen one, and nothing stops an assignment: dataclasses set
each field of a frozen instance through `object.__setattr__`, which was a sixth of what an exchange itself costs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:
    from dataclasses import dataclass as _dataclass

    def dataclass(cls=None, /, *, frozen=False, **options):
        """`dataclasses.dataclass`; see the module."""
        return _dataclass(cls, unsafe_hash=frozen, **options)
