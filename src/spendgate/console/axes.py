"""What the charts have in common: a frame, an axis of amounts, an axis of days. Inline SVG without scripts or styles of
its own; what belongs together is told apart by form, not by colour. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from html import escape

from markupsafe import Markup

from spendgate.console.text import money
from spendgate.money import NANO_PER_USD
from spendgate.values import dataclass

TICKS = 4
LABEL_WIDTH = 26, 54
"""The room that a short name needs below the axis, and a longer one."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A chart's size, in its own units (a pixel where it is not scaled)."""

    name: str
    width: int
    height: int
    left: int = 64
    right: int = 10
    top: int = 18
    bottom: int = 26

    @property
    def inner(self) -> int:
        """The width between the axes."""
        return self.width - self.left - self.right

    @property
    def floor(self) -> int:
        """Where the axis of days lies."""
        return self.height - self.bottom

    def y(self, nano: int, top: int) -> float:
        """The height of an amount, where the frame's end stands for `top`."""
        return self.top + (self.floor - self.top) * (1 - min(max(nano, 0), top) / top)


WIDE, NARROW = Frame("wide", 600, 250), Frame("narrow", 350, 230, left=54)
"""For a desk and for a phone: the page's style shows one of both."""


def both(draw: Callable[[Frame], str], label: str) -> Markup:
    """A chart in both sizes, one of which is shown."""
    return Markup("".join(_svg(frame, draw(frame), label) for frame in (WIDE, NARROW)))


def _svg(frame: Frame, body: str, label: str) -> str:
    return (
        f'<svg class="chart {frame.name}" viewBox="0 0 {frame.width} {frame.height}" role="img" '
        f'aria-label="{escape(label)}">{body}</svg>'
    )


def nice(nano: int) -> int:
    """The next amount that divides well into four ticks: 1, 2, 4 or 8 times a power of ten."""
    power = 1
    while True:
        for n in (1, 2, 4, 8):
            if nano <= n * power:
                return max(n * power, TICKS)
        power *= 10


def amounts(frame: Frame, top: int) -> str:
    """The axis of amounts."""
    lines = []
    for i in range(TICKS + 1):
        amount = top * i // TICKS
        y = frame.y(amount, top)
        lines.append(
            f'<line class="{"axis" if i else "floor"}" x1="{frame.left}" x2="{frame.width - frame.right}" '
            f'y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{frame.left - 6}" y="{y + 4:.1f}" text-anchor="end">{escape(short(amount))}</text>'
        )
    return "".join(lines)


def labels(frame: Frame, names: Sequence[str]) -> str:
    """As many of the names below the axis as there is room for."""
    if not names:
        return ""
    step = frame.inner / len(names)
    width = LABEL_WIDTH[any(len(name) > 3 for name in names)]
    every = max(1, -(-width * len(names) // frame.inner))
    y = frame.height - 8
    return "".join(
        f'<text x="{frame.left + (i + 0.5) * step:.1f}" y="{y}" text-anchor="middle">{escape(name)}</text>'
        for i, name in enumerate(names)
        if i % every == 0
    )


def day_labels(days: Sequence[date]) -> list[str]:
    """`18 Nov`, or the number alone within one month."""
    one = len({(d.year, d.month) for d in days}) == 1
    return [str(d.day) if one else f"{d.day} {d:%b}" for d in days]


def short(nano: int) -> str:
    """Whole dollars without cents."""
    return f"${nano // NANO_PER_USD:,}" if nano % NANO_PER_USD == 0 else money(nano)


def note(x: float, y: float, text: str, anchor: str = "end") -> str:
    """A label with a rim in the ground's colour, so that lines do not cross it."""
    return f'<text class="note" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
