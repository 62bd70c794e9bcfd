"""The transparency report as a picture: for each region, who asked and what became of it.

SVG without scripts, fonts or anything from elsewhere, so that it can be opened anywhere: on white paper.
Its classes are for a page that has it inline, and another paper: `paper`, `ink`, `faint` and `seam`.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Sequence
from html import escape
from typing import Final

from gateway.transparency import RegionFigures
from storage.audit.statistics import ANY_CATEGORY, Answer, Figures

WIDTH: Final = 880
_LEFT: Final = 96  # where bars begin
_RIGHT: Final = 64  # room for the total behind a bar
_BAR: Final = 22
_STEP: Final = 32
_STATES: Final = 12  # bars in a region; what is less is summed up
# Okabe and Ito's palette: told apart by people who see few colours, and in grey.
_COLOURS: Final = {
    Answer.FULL: "#009E73",
    Answer.PART: "#56B4E9",
    Answer.NO_DATA: "#B9D9EB",
    Answer.PRESERVED: "#0072B2",
    Answer.PENDING: "#DDDDDD",
    Answer.EXPIRED: "#999999",
    Answer.CANCELLED: "#F0E442",
    Answer.REJECTED: "#E69F00",
    Answer.REFUSED: "#D55E00",
}
_INK: Final = "#111111"
_FAINT: Final = "#595959"  # on white, as readable as WCAG 2.2 1.4.3 asks
_DARK: Final = frozenset({Answer.PRESERVED, Answer.REFUSED})


def as_svg(regions: Sequence[RegionFigures]) -> str:
    """The picture. Each bar is a requesting state, each colour an outcome."""
    parts: list[str] = []
    y = 40
    parts.append(_text(24, y, "Requests for data, and what became of them", size=20, weight="bold"))
    y = _legend(parts, y + 28)
    for each in regions:
        y = _region(parts, y + 24, each)
    height = y + 16
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" font-family="Helvetica, Arial, sans-serif" role="img">\n'
        "<title>Requests for data, and what became of them</title>\n"
        f'<rect class="paper" width="{WIDTH}" height="{height}" fill="#ffffff"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _legend(parts: list[str], y: int) -> int:
    x = 24
    for answer, colour in _COLOURS.items():
        width = 26 + 7 * len(answer.value)
        if x + width > WIDTH - 24:
            x, y = 24, y + 22
        parts.append(f'<rect x="{x}" y="{y - 11}" width="14" height="14" fill="{colour}"/>')
        parts.append(_text(x + 20, y, answer.value, size=12))
        x += width + 14
    return y + 12


def _region(parts: list[str], y: int, each: RegionFigures) -> int:
    figures = each.figures
    period = " to ".join(f"{moment:%Y-%m-%d}" for moment in (each.since, each.until) if moment)
    heading = f"Stored in {each.region.country} ({each.region.code})" + (f", {period}" if period else "")
    parts.append(_text(24, y, heading, size=15, weight="bold"))
    parts.append(_text(24, y + 20, _summary(figures), size=12, colour=_FAINT))
    y += 36
    rows = _rows(figures)
    longest = max((sum(counts.values()) for _, counts in rows), default=0)
    for state, counts in rows:
        parts.append(_text(_LEFT - 10, y + _BAR - 6, state, size=13, anchor="end"))
        _bar(parts, y, counts, longest)
        y += _STEP
    if not rows:
        parts.append(_text(_LEFT, y + 12, "no requests", size=13, colour=_FAINT))
        y += _STEP
    root = base64.b64encode(each.report.root).decode()
    parts.append(
        _text(24, y + 10, f"Computed from {each.report.origin}: {each.report.size} entries, root {root}",
              size=10, colour=_FAINT)
    )  # fmt: skip
    return y + 22


def _bar(parts: list[str], y: int, counts: Counter[Answer], longest: int) -> None:
    room = WIDTH - _LEFT - _RIGHT
    x = float(_LEFT)
    for answer, colour in _COLOURS.items():
        if not (count := counts[answer]):
            continue
        width = room * count / longest
        title = escape(f"{answer.value}: {count}")
        parts.append(
            f'<rect class="seam" x="{x:.1f}" y="{y}" width="{width:.1f}" height="{_BAR}" fill="{colour}" '
            f'stroke="#ffffff" stroke-width="1"><title>{title}</title></rect>'
        )
        if width >= 22:
            ink = "#ffffff" if answer in _DARK else "#000000"
            parts.append(_text(x + width / 2, y + _BAR - 7, str(count), size=11, anchor="middle", colour=ink))
        x += width
    parts.append(_text(x + 8, y + _BAR - 6, str(sum(counts.values())), size=13, weight="bold"))


def _rows(figures: Figures) -> list[tuple[str, Counter[Answer]]]:
    """Requesting states, the busiest first; beyond twelve, all others together."""
    by_state: dict[str, Counter[Answer]] = {}
    for cell, count in figures.cells.items():
        if cell.category == ANY_CATEGORY:
            by_state.setdefault(cell.state, Counter())[cell.answer] += count
    rows = sorted(by_state.items(), key=lambda row: (-sum(row[1].values()), row[0]))
    if len(rows) <= _STATES:
        return rows
    others: Counter[Answer] = Counter()
    for _, counts in rows[_STATES - 1 :]:
        others += counts
    return [*rows[: _STATES - 1], ("others", others)]


def _summary(figures: Figures) -> str:
    words = [
        f"{figures.requests} requests about {figures.accounts} accounts",
        f"{figures.foreign} from other states, of which {figures.foreign_granted} granted",
        f"{figures.emergencies} emergencies",
    ]
    if figures.median_seconds is not None:
        words.append(f"answered in {_duration(figures.median_seconds)} (median)")
    return " · ".join(words)


def _duration(seconds: float) -> str:
    for unit, length in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"


def _text(
    x: float, y: float, text: str, *, size: int, weight: str = "normal", anchor: str = "start",
    colour: str = _INK
) -> str:  # fmt: skip
    # A number inside a bar has a colour of its own, which goes with the bar's and not with the paper's.
    of = {_INK: ' class="ink"', _FAINT: ' class="faint"'}.get(colour, "")
    return (
        f'<text{of} x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" '
        f'text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'
    )
