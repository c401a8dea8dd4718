"""What answers taught: which models a name that no price table has stands for (an unlisted Azure deployment, a profile,
a free name), and who refuses to be asked for a stream's usage. Bounded and aged; without I/O.

What was learnt lowers an estimate, never a charge: a name is estimated as the dearest of the models that it answered
with within the last hour. One that answers with many is a router, and teaches nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import field
from typing import NamedTuple

from spendgate.values import dataclass

SERVED_MS = 60 * 60 * 1000
"""A model counts for so long after it answered last."""
REFUSED_MS = 24 * 60 * 60 * 1000
"""A provider that refused is not asked again for so long."""
AGAIN_MS = 10 * 60 * 1000
"""What is known is told to the other workers again after so long."""
PLACES_MAX = 1024
"""Names that are remembered; the one that was used longest ago goes first."""
MODELS_MAX = 8
"""A name that answers with more models is a router."""
NAME_CHARACTERS_MAX = 256


class Place(NamedTuple):
    """Who is asked under a name: the upstream, whose provider that is, its host, and the name."""

    upstream: str
    provider: str
    host: str
    name: str


class Lesson(NamedTuple):
    """`model` answered at a place; "" where the place refuses to be asked for usage."""

    place: Place
    model: str
    at_ms: int


@dataclass(slots=True)
class Learned:
    """One a worker; `fresh` holds what the others have not heard yet."""

    fresh: list[Lesson] = field(default_factory=list)
    _served: OrderedDict[Place, dict[str, int]] = field(default_factory=OrderedDict)
    _refused: OrderedDict[Place, int] = field(default_factory=OrderedDict)

    def serves(self, place: Place, now_ms: int) -> tuple[str, ...]:
        """The models that answered at a place lately; none where it is not known, or they are too many."""
        models = self._served.get(place)
        if models is None:
            return ()
        self._served.move_to_end(place)
        late = tuple(model for model, at_ms in models.items() if now_ms - at_ms <= SERVED_MS)
        return late if len(late) <= MODELS_MAX else ()

    def refuses(self, place: Place, now_ms: int) -> bool:
        """Did this place refuse lately to be asked for usage?"""
        at_ms = self._refused.get(place)
        return at_ms is not None and now_ms - at_ms <= REFUSED_MS

    def answered(self, place: Place, model: str, now_ms: int) -> None:
        """A model answered at a place."""
        self._hear(Lesson(place, model, now_ms))

    def refused(self, place: Place, now_ms: int) -> None:
        """A place refused a request since it was asked for usage."""
        self._hear(Lesson(place, "", now_ms))

    def _hear(self, lesson: Lesson) -> None:
        if max(map(len, (*lesson.place, lesson.model))) > NAME_CHARACTERS_MAX:
            return
        if self.take(lesson):
            self.fresh.append(lesson)

    def take(self, lesson: Lesson) -> bool:
        """Remember a lesson. Returns whether it was new, or is to be told again."""
        place, model, at_ms = lesson
        if not model:
            before = self._refused.get(place)
            self._refused[place] = max(before or 0, at_ms)
            self._refused.move_to_end(place)
            if len(self._refused) > PLACES_MAX:
                self._refused.popitem(last=False)
        else:
            models = self._served.setdefault(place, {})
            self._served.move_to_end(place)
            before = models.get(model)
            models[model] = max(before or 0, at_ms)
            if len(models) > MODELS_MAX + 1:
                models.pop(min(models, key=models.__getitem__))
            if len(self._served) > PLACES_MAX:
                self._served.popitem(last=False)
        return before is None or at_ms - before > AGAIN_MS

    def all(self) -> list[Lesson]:
        """All that is known, the oldest first."""
        served = [Lesson(p, m, at) for p, models in self._served.items() for m, at in models.items()]
        return sorted(
            [*served, *(Lesson(p, "", at) for p, at in self._refused.items())], key=lambda x: x.at_ms
        )
