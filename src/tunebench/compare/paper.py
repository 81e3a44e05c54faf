"""A4 pages with headings, texts, lists, tables and charts: what fpdf2 needs to be told for them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tunebench.compare import shown
from tunebench.compare.drawing import Chart, han_font
from tunebench.errors import MissingExtra

if TYPE_CHECKING:
    from fpdf import FPDF

SMALL, NORMAL, LARGE, TITLE = 7, 9, 13, 18
_SECTION = 12
_BOX = "□"
_HEAT, _SOFT, _INK, _RULE, _RAISED = (0, 114, 178), (85, 88, 92), (27, 27, 28), (201, 201, 202), (244, 245, 246)
_FILES = {"": "DejaVuSans.ttf", "B": "DejaVuSans-Bold.ttf"}
_MARGIN = 12
_FIRST_HAN = 0x2E7F
_MILLIMETRES = 25.4


class Paper:
    """A document that grows from the top; ``texts`` holds all letters that will come, to choose fonts by.

    Raises MissingExtra without fpdf2 or matplotlib.
    """

    def __init__(self, texts: str) -> None:
        self._pdf = _document()
        self._letters = _add_fonts(self._pdf, texts)
        self._pdf.add_page()

    def title(self, text: str, about: str) -> None:
        """The name of the document, and a line about it."""
        self.text(text, TITLE, bold=True)
        self.text(about, SMALL, soft=True)

    def heading(self, text: str, room: float = 40) -> None:
        """A section begins; on a new page where less than ``room`` millimetres are left."""
        if self._pdf.will_page_break(room):
            self._pdf.add_page()
        self._pdf.ln(4)
        self.text(text, _SECTION, bold=True)

    def text(self, text: str, points: float = NORMAL, *, bold: bool = False, soft: bool = False, indent: float = 0) -> None:
        """A paragraph."""
        self._pdf.set_font("text", "B" if bold else "", points)
        self._pdf.set_text_color(*(_SOFT if soft else _INK))
        self._pdf.set_x(_MARGIN + indent)
        self._pdf.multi_cell(0, points * 0.5, self.writable(text), align="L", new_x="LMARGIN", new_y="NEXT")
        self._pdf.ln(0.8)

    def subheading(self, text: str, room: float = 25) -> None:
        """A part of a section begins; on a new page where less than ``room`` millimetres are left."""
        if self._pdf.will_page_break(room):
            self._pdf.add_page()
        self.text(text, 8, bold=True)

    def points(self, texts: Sequence[str], points: float = 8) -> None:
        """A list."""
        for text in texts:
            self._pdf.set_font("text", "", points)
            self._pdf.set_text_color(*_INK)
            self._pdf.set_x(_MARGIN + 2)
            self._pdf.cell(3, points * 0.5, "•")
            self.text(text, points, indent=5)

    def table(
        self,
        head: Sequence[str],
        body: Sequence[Sequence[str]],
        widths: Sequence[float],
        align: str,
        *,
        heat: Sequence[Sequence[int]] | None = None,
        name: str = "",
    ) -> None:
        """A table with its head on every page; ``align`` has an L or R per column. ``heat`` from 0 to 9 colours cells."""
        from fpdf.fonts import FontFace  # noqa: PLC0415 - needed for reports only

        if not body:
            return
        room = 10 + 5 * min(len(body), 6)
        if name:
            self.subheading(name, room + 5)
        elif self._pdf.will_page_break(room):
            self._pdf.add_page()
        self._pdf.set_font("text", "", SMALL)
        self._pdf.set_text_color(*_INK)
        self._pdf.set_draw_color(*_RULE)
        whole = self._pdf.epw
        scale = min(1.0, whole / sum(widths))
        with self._pdf.table(
            width=scale * sum(widths),
            col_widths=tuple(scale * width for width in widths),
            text_align=tuple({"L": "LEFT", "R": "RIGHT"}[side] for side in align),
            align="LEFT",
            line_height=3.4,
            padding=(0.9, 1),
            borders_layout="HORIZONTAL_LINES",
            headings_style=FontFace(emphasis="BOLD", fill_color=_RAISED),
        ) as table:
            table.row([self.writable(cell, keep="\n") for cell in head])
            for i, cells in enumerate(body):
                line = table.row()
                for k, cell in enumerate(cells):
                    share = heat[i][k] if heat else 0
                    line.cell(self.writable(cell, keep="\n"), style=FontFace(fill_color=_tinted(share)) if share else None)
        self._pdf.ln(3)

    def charts(self, heading: str, drawn: Sequence[Chart]) -> None:
        """A section of charts; its heading stays with the first."""
        for number, chart in enumerate(drawn):
            wide, high = (float(side) * _MILLIMETRES for side in chart.figure.get_size_inches())
            scale = min(1.0, self._pdf.epw / wide, (self._pdf.eph - 25) / high) * 0.88
            if number == 0:
                self.heading(heading, room=high * scale + 24)
            elif self._pdf.will_page_break(high * scale + 10):
                self._pdf.add_page()
            self.text(chart.title, 8, bold=True)
            self._pdf.image(io.BytesIO(chart.png()), w=wide * scale, alt_text=self.writable(chart.alt))
            self._pdf.ln(3)

    def bytes(self, created: str) -> bytes:
        """The document, dated as told: the same content gives the same bytes."""
        self._pdf.set_creation_date(_moment(created))
        return bytes(self._pdf.output())

    def close(self) -> None:
        """Let go of the files of the fonts."""
        from fpdf.fonts import CoreFont  # noqa: PLC0415 - needed for reports only

        for font in self._pdf.fonts.values():
            if not isinstance(font, CoreFont):
                font.close()

    def writable(self, text: str, keep: str = "") -> str:
        """The text without control characters; letters that no font has become boxes."""
        return "".join(char if char in keep or ord(char) in self._letters else _BOX for char in shown.written(text, keep=keep))


def _document() -> FPDF:
    try:
        from fpdf import FPDF  # noqa: PLC0415 - needed for reports only
    except ImportError:
        raise MissingExtra("fpdf2", "report", "writing a report as PDF") from None

    class Numbered(FPDF):
        def footer(self) -> None:
            self.set_y(-9)
            self.set_font("text", "", SMALL)
            self.set_text_color(*_SOFT)
            self.cell(0, 4, str(self.page_no()), align="R")

    pdf = Numbered(format="A4")
    pdf.set_margins(_MARGIN, _MARGIN)
    pdf.set_auto_page_break(auto=True, margin=_MARGIN + 2)
    pdf.c_margin = 0
    return pdf


def _add_fonts(pdf: FPDF, texts: str) -> frozenset[int]:
    """Embed what the texts need; returns the code points that can be written."""
    try:
        import matplotlib  # noqa: PLC0415 - costs a second, needed for reports only
    except ImportError:
        raise MissingExtra("matplotlib", "report", "writing a report as PDF") from None
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    for style, file in _FILES.items():
        pdf.add_font("text", style, folder / file)
    letters = _letters(pdf, "text")
    lacking = {ord(char) for char in texts} - letters
    if any(code > _FIRST_HAN for code in lacking) and (found := han_font()) is not None:
        pdf.add_font("han", "", found[1])
        pdf.set_fallback_fonts(["han"], exact_match=False)
        letters |= _letters(pdf, "han")
    return letters


def _letters(pdf: FPDF, family: str) -> frozenset[int]:
    from fpdf.fonts import TTFFont  # noqa: PLC0415 - needed for reports only

    font = pdf.fonts[family]
    assert isinstance(font, TTFFont)
    return frozenset(font.cmap)


def _tinted(share: int) -> tuple[int, int, int]:
    """White towards the colour of the heat, never so dark that black could not be read on it."""
    red, green, blue = (round(255 - (255 - part) * 0.055 * share) for part in _HEAT)
    return red, green, blue


def _moment(created: str) -> datetime:
    try:
        return datetime.fromisoformat(created).astimezone(UTC)
    except ValueError:
        return datetime.fromtimestamp(0, UTC)
