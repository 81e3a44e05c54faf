"""A figure of matplotlib as a page can hold it: SVG without styles, foreign ids or fixed colours, and PNG for paper.

A page forbids inline styles by its Content-Security-Policy, shows many figures at once and may be dark. So styles become
attributes, ids are those of one figure only, and the colours of ``COLOURS`` become variables of the page.
"""

from __future__ import annotations

import contextlib
import functools
import io
import re
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from tunebench.compare.placement import Point, spread
from tunebench.compare.shown import short
from tunebench.errors import MissingExtra

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#aa3377", "#937300", "#6b6b6b")
"""Told apart also by readers who see red and green as one, each with a contrast of 3:1 or more on white."""
MARKERS, DASHES = ("o", "s", "^", "D"), ("-", "--", ":", "-.")
INK, LINE = "#1b1b1c", "#c9c9ca"
_VARIABLES = {colour: f"var(--c{i})" for i, colour in enumerate(COLOURS, 1)} | {INK: "currentColor", LINE: "var(--rule)"}
_SETTINGS: Any = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a `$` in a name is a `$`
    "axes.unicode_minus": True,
    "font.size": 9,
    "axes.edgecolor": LINE,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": LINE,
    "grid.linewidth": 0.5,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "text.color": INK,
    "legend.frameon": False,
}
_HAN = (
    "notosanscjk-regular", "notosanscjktc-regular", "notosanscjksc-regular", "notosanscjkjp-regular", "sourcehansans-regular",
    "wqy-zenhei", "wqy-microhei", "droidsansfallbackfull", "droidsansfallback",
)  # fmt: skip
"""What the files of such fonts are called, the ones that read best first."""
_NUMBER = re.compile(r"-?\d+\.\d+")
_FONT = re.compile(r"(?:(?P<weight>bold|\d{3}) )?(?P<size>[\d.]+)px")
_POINTS_PER_INCH = 72
_LETTER = 0.6
"""Width of a letter in its height, rather too much than too little."""


@dataclass(frozen=True)
class Chart:
    """One figure: ``name`` is unique on a page and made of plain letters; ``alt`` says in words what is shown."""

    name: str
    title: str
    alt: str
    figure: Figure

    def svg(self) -> str:
        """The figure as an element for a page of HTML; the same figure gives the same text."""
        drawn = io.StringIO()
        with settings(self.name):
            self.figure.savefig(drawn, format="svg", transparent=True)
        return _for_page(drawn.getvalue(), self)

    def png(self) -> bytes:
        """The figure on white, 200 dots per inch."""
        drawn = io.BytesIO()
        with settings(self.name):
            self.figure.savefig(drawn, format="png", dpi=200, facecolor="white", metadata={"Software": None})
        return drawn.getvalue()


@contextlib.contextmanager
def settings(salt: str = "") -> Iterator[None]:
    """Matplotlib as these charts want it, whatever the user has set; MissingExtra without it."""
    try:
        import matplotlib  # noqa: PLC0415 - costs a second, needed for reports only
    except ImportError:
        raise MissingExtra("matplotlib", "report", "drawing the charts of a report") from None
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        warnings.filterwarnings("ignore", message="Glyph .* missing", category=UserWarning)
        fonts = ["DejaVu Sans", *(han_font() or ())[:1]]
        matplotlib.rcParams.update(_SETTINGS | {"font.family": fonts, "svg.hashsalt": salt})
        yield


@functools.cache
def han_font() -> tuple[str, str] | None:
    """Name and file of a font of this machine with Chinese and Japanese letters, which DejaVu lacks; None where there is none."""
    from matplotlib import font_manager  # noqa: PLC0415 - costs a second, needed for reports only

    # Matplotlib's own list is kept from its first use on, so that a font installed later is not in it.
    files = {Path(file).stem.lower(): file for file in sorted(font_manager.findSystemFonts())}
    for stem in _HAN:
        if (file := files.get(stem)) is not None:
            font_manager.fontManager.addfont(file)
            return font_manager.FontProperties(fname=file).get_name(), file
    return None


def new_figure(width: float, height: float, *, laid_out: bool = True) -> Figure:
    """An empty figure of a size in inches, without the global state of pyplot; its margins fit, or are the caller's."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - costs a second, needed for reports only

    return Figure(figsize=(width, height), layout="constrained" if laid_out else None)


def look(place: int) -> dict[str, Any]:
    """Colour, marker and dash of the row at a place: 24 that differ."""
    turn = place // len(COLOURS) % len(MARKERS)
    return {"color": COLOURS[place % len(COLOURS)], "marker": MARKERS[turn], "linestyle": DASHES[turn]}


def name_points(axes: Axes, points: Sequence[Point], names: Sequence[str], lines: Sequence[tuple[Point, Point]]) -> None:
    """Write the name of every point beside it, with a thin line to the point where the name had to move away.

    ``lines``, upright or level, are not written over where that can be helped. The place of the axes in the figure and all
    that decides their limits must be final.
    """
    axes.autoscale_view()
    per_point = _POINTS_PER_INCH / axes.figure.dpi

    def place(point: Point) -> Point:
        x, y = axes.transData.transform(point)
        return float(x) * per_point, float(y) * per_point

    frame = axes.get_window_extent()
    within = (frame.x0 * per_point, frame.y0 * per_point, frame.x1 * per_point, frame.y1 * per_point)
    ends = [(*place(one), *place(other)) for one, other in lines]
    thin = [(min(a, c) - 1.5, min(b, d) - 1.5, max(a, c) + 1.5, max(b, d) + 1.5) for a, b, c, d in ends]
    places = [place(point) for point in points]
    boxes = spread(places, [(_width(name), 10.0) for name in names], within, thin)
    for (x, y), (left, bottom, right, top), point, name in zip(places, boxes, points, names, strict=True):
        near_x, near_y = min(max(x, left), right), min(max(y, bottom), top)
        far = abs(near_x - x) + abs(near_y - y) > 14
        axes.annotate(
            name,
            point,
            xytext=(left - x, (bottom + top) / 2 - y),
            textcoords="offset points",
            va="center",
            fontsize=8,
            arrowprops={"arrowstyle": "-", "color": LINE, "linewidth": 0.7, "shrinkA": 0, "shrinkB": 4} if far else None,
        )


def _width(text: str, height: float = 8) -> float:
    return sum(1.1 if unicodedata.east_asian_width(char) in "WF" else _LETTER for char in text) * height


def _for_page(drawn: str, chart: Chart) -> str:
    root = ElementTree.fromstring(drawn)
    parents = {child: parent for parent in root.iter() for child in parent}
    for element in list(root.iter()):
        element.tag = element.tag.rpartition("}")[2]
        if element.tag in ("metadata", "style"):
            parents[element].remove(element)
        _plain_attributes(element, chart.name)
    _drop_unused_ids(root)
    view = root.get("viewBox", "")
    root.attrib.clear()
    label = f"{chart.name}-title"
    root.attrib.update({"viewBox": view, "role": "img", "aria-labelledby": label, "class": "chart"})
    title = ElementTree.Element("title", {"id": label})
    title.text = f"{chart.title}. {chart.alt}"
    root.insert(0, title)
    return ElementTree.tostring(root, encoding="unicode")


def _plain_attributes(element: ElementTree.Element, name: str) -> None:
    """Styles as attributes, short numbers, colours of the page, ids that no other figure has."""
    found: dict[str, str] = {}
    for key, value in element.attrib.items():
        found |= _from_style(value) if key == "style" else {key.rpartition("}")[2]: value}
    for key, value in found.items():
        if key == "id":
            found[key] = f"{name}-{value}"
        elif value.startswith("#") and key == "href":
            found[key] = f"#{name}-{value[1:]}"
        elif value.startswith("url(#"):
            found[key] = f"url(#{name}-{value[5:]}"
        elif key in ("d", "x", "y", "width", "height", "points"):
            found[key] = " ".join(_NUMBER.sub(lambda match: f"{float(match[0]):.2f}".rstrip("0").rstrip("."), value).split())
        else:
            found[key] = _VARIABLES.get(value, value)
    element.attrib.clear()
    element.attrib.update(found)


def _from_style(style: str) -> dict[str, str]:
    """``font: 9px 'A'; fill: #fff`` as attributes; the family is that of the page."""
    given = {key.strip(): value.strip() for key, _, value in (part.partition(":") for part in style.split(";")) if value}
    given.pop("font-family", None)
    if (match := _FONT.search(given.pop("font", ""))) is not None:
        given["font-size"] = match["size"]
        if match["weight"]:
            given["font-weight"] = match["weight"]
    return {key: value.removesuffix("px") for key, value in given.items()}


def _drop_unused_ids(root: ElementTree.Element) -> None:
    values = [value for element in root.iter() for key, value in element.attrib.items() if key != "id"]
    used = {match for value in values for match in re.findall(r"#([^)\s]+)", value)}
    for element in root.iter():
        if element.get("id") not in used:
            element.attrib.pop("id", None)


def chart_name(text: str) -> str:
    """A row's name as it stands in a chart."""
    return short(text, 28)
