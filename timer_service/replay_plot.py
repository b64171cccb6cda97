"""Draws a replayed chat as one self-contained SVG: sessions over time, and counts per idle gap.

`replay` calls it. It writes no file and knows nothing of messages.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from xml.sax.saxutils import escape

_WIDTH = 960
_MARGIN = 40
_INNER = _WIDTH - 2 * _MARGIN
_STRIP_TOP = 70
_STRIP_HEIGHT = 120
_BARS_TOP = 280
_BAR_STEP = 26
_LABEL_WIDTH = 70
_COUNT_WIDTH = 60
_ACCENT = "#0b7a75"
_QUIET = "#9aa5b1"
_INK = "#1f2933"


def draw_svg(
    spans: Sequence[tuple[datetime, datetime, int]],
    counts: Sequence[tuple[str, int, bool]],
    chosen_gap: str,
) -> str:
    """Return the drawing.

    ``spans`` are sessions as (start, end, messages) in order; ``counts`` are (idle gap as text,
    sessions, whether it is the chosen one).
    """
    height = _BARS_TOP + _BAR_STEP * len(counts) + _MARGIN
    title = f"{len(spans)} sessions with an idle gap of {chosen_gap}"
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        f'viewBox="0 0 {_WIDTH} {height}" font-family="system-ui, sans-serif" font-size="13" '
        f'fill="{_INK}" role="img">'
    )
    return "\n".join(
        [
            opening,
            f"<title>{escape(title)}</title>",
            f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
            _text(_MARGIN, 36, title, size=18),
            *_draw_spans(spans),
            _text(_MARGIN, _BARS_TOP - 20, "Sessions under other idle gaps", size=15),
            *_draw_bars(counts),
            "</svg>\n",
        ]
    )


def _draw_spans(spans: Sequence[tuple[datetime, datetime, int]]) -> Iterator[str]:
    """Draw each session from its first to its last message, as high as it has messages."""
    first = spans[0][0]
    last = max(end for _, end, _ in spans)
    whole_s = (last - first).total_seconds() or 1.0
    most = max(messages for _, _, messages in spans)
    floor = _STRIP_TOP + _STRIP_HEIGHT
    for start, end, messages in spans:
        left = _MARGIN + (start - first).total_seconds() / whole_s * _INNER
        width = max(2.0, (end - start).total_seconds() / whole_s * _INNER)
        left = min(left, _MARGIN + _INNER - width)
        height = max(3.0, messages / most * _STRIP_HEIGHT)
        tip = f"{start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M}: {messages} messages"
        yield (
            f'<rect x="{left:.1f}" y="{floor - height:.1f}" width="{width:.1f}" '
            f'height="{height:.1f}" fill="{_ACCENT}" fill-opacity="0.75">'
            f"<title>{tip}</title></rect>"
        )
    yield (
        f'<line x1="{_MARGIN}" y1="{floor}" x2="{_MARGIN + _INNER}" y2="{floor}" '
        f'stroke="{_QUIET}"/>'
    )
    yield _text(_MARGIN, floor + 18, f"{first:%Y-%m-%d %H:%M}")
    yield _text(_MARGIN + _INNER, floor + 18, f"{last:%Y-%m-%d %H:%M}", anchor="end")


def _draw_bars(counts: Sequence[tuple[str, int, bool]]) -> Iterator[str]:
    most = max(count for _, count, _ in counts)
    room = _INNER - _LABEL_WIDTH - _COUNT_WIDTH
    for row, (label, count, is_chosen) in enumerate(counts):
        top = _BARS_TOP + row * _BAR_STEP
        width = count / most * room
        left = _MARGIN + _LABEL_WIDTH
        yield _text(left - 10, top + 14, label, anchor="end")
        yield (
            f'<rect x="{left}" y="{top}" width="{width:.1f}" height="{_BAR_STEP - 8}" '
            f'fill="{_ACCENT if is_chosen else _QUIET}"/>'
        )
        note = f"{count} (this one)" if is_chosen else str(count)
        yield _text(left + width + 8, top + 14, note)


def _text(x: float, y: float, words: str, *, size: int = 13, anchor: str = "start") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}">'
        f"{escape(words)}</text>"
    )
