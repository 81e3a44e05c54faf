"""The page and the PDF over a comparison: self-contained, harmless whatever users wrote, readable with one row or twenty."""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
import shutil
import sys
from collections.abc import Callable
from contextlib import closing
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from sidebyside import a_comparison, failed_row

from tunebench import jobs
from tunebench.compare import contents, drawing, paper, report, shown
from tunebench.compare.charts import MOST_POINTS, charts, thinned
from tunebench.compare.pareto import frontier
from tunebench.compare.pdf import write_pdf
from tunebench.compare.placement import MARK, overlap, spread
from tunebench.compare.report import html, require, write_html
from tunebench.errors import InputError, MissingExtra
from tunebench.runs.looks import looks_at_test
from tunebench.runs.run import Run

pytest.importorskip("matplotlib", reason="the extra `report` is not installed")
pytest.importorskip("jinja2", reason="the extra `report` is not installed")
pytest.importorskip("fpdf", reason="the extra `report` is not installed")

HOSTILE = (
    "<script>alert(1)</script><img src=x onerror=alert(2)> \"quoted\" 'single' </style></svg></td></table> javascript:alert(3) "
    "{{7*7}} {% raw %} $x$ $\\frac{1}{2}$ &amp; \u2028 \u202egnp.exe \x00\x07\x1b[31m \ud800 \ufffe ]]> --> =1+1 https://example.invalid/"
)
DRAWN = {"svg", "g", "path", "defs", "clippath", "use", "text", "rect"}
TAGS = DRAWN | set(
    re.findall(
        r"\w+",
        "html head meta title style body a header h1 h2 h3 p nav ul ol li main section div b bdi dl dt dd table caption span "
        "thead tbody tr th td small details summary code pre figure figcaption article blockquote label input select option "
        "footer script",
    )
)
ATTRIBUTES = set(
    re.findall(
        r"[\w-]+",
        "lang charset http-equiv content name class href id aria-label aria-labelledby aria-hidden tabindex role scope colspan "
        "data-v hidden type dir viewbox d fill fill-opacity fill-rule stroke stroke-width stroke-linejoin stroke-linecap "
        "stroke-dasharray stroke-dashoffset stroke-opacity stroke-miterlimit opacity clip-path transform x y width height "
        "font-size text-anchor",
    )
)


class Page(HTMLParser):
    """What a reader of HTML finds: start tags with their attributes, and the text of each kind of element."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in ("meta", "input"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append((self._open[-1] if self._open else "", data))

    def text(self) -> str:
        return "".join(data for tag, data in self.texts if tag not in ("script", "style"))

    def outside_charts(self) -> list[tuple[str, tuple[str, ...]]]:
        return [(tag, tuple(attributes)) for tag, attributes in self.found if tag not in DRAWN]


def hostile() -> dict[str, Any]:
    found = a_comparison([HOSTILE, f"{HOSTILE} 2", "plain"], [HOSTILE, f"other {HOSTILE}"], text=HOSTILE)
    for row in found["rows"]:
        row["provenance"] |= {"recipe": HOSTILE, "command": HOSTILE, "digests": {HOSTILE: HOSTILE}}
        row["base"] = row["method"] = row["architecture"] = HOSTILE
        row["forms"] = dict(zip(["torch", HOSTILE], row["forms"].values(), strict=False))
    found["rows"].append(failed_row("broken", HOSTILE))
    found["choice"] |= {"why": HOSTILE, "rules": [HOSTILE, f"`{HOSTILE}`"], "backend": HOSTILE}
    return found


@pytest.fixture(scope="module")
def hostile_page() -> str:
    return html(hostile())


@pytest.fixture(scope="module")
def page() -> str:
    found = a_comparison(["lora", "ia3", "full", "head", "tfidf", "majority"], seeds=2)
    found["rows"].append(failed_row("broken", "CUDA out of memory"))
    return html(found)


def test_nothing_that_users_wrote_becomes_an_element_or_an_attribute(hostile_page: str) -> None:
    seen = Page(hostile_page)
    assert {tag for tag, _ in seen.found} <= TAGS
    assert {name for _, attributes in seen.found for name in attributes} <= ATTRIBUTES
    tags = [tag for tag, _ in seen.found]
    assert tags.count("script") == tags.count("style") == 1
    assert "alert(1)" in seen.text()
    assert "{{7*7}}" in seen.text()
    assert "49" not in {data.strip() for _, data in seen.texts}


def test_hostile_names_leave_the_structure_of_the_page_as_it_is(hostile_page: str) -> None:
    tame = hostile()
    for row, name in zip(tame["rows"], ("one", "two", "plain", "broken"), strict=True):
        row["run"] = name
        row |= {key: "plain" for key in ("base", "method", "architecture") if row[key]}
        row["forms"] = dict(zip(["torch", "onnx"], row["forms"].values(), strict=False))
        row["provenance"] |= {key: "plain" for key in ("recipe", "command") if row["provenance"].get(key)}
        row["error"] = row["error"] and "plain"
    tame["test"]["labels"] = ["a", "b"]
    tame["browser"] = a_comparison(["one", "two", "plain"])["browser"]
    tame["choice"] |= {"why": "plain", "rules": ["plain", "`plain`"]}
    assert Page(hostile_page).outside_charts() == Page(html(tame)).outside_charts()


def test_no_address_and_no_character_that_steers_is_in_the_page(hostile_page: str) -> None:
    for tag, attributes in Page(hostile_page).found:
        for name, value in attributes.items():
            if name == "href":
                assert value is not None
                assert value.startswith("#"), (tag, value)
            assert name == "data-v" or "//" not in (value or "") or name in ("aria-label", "aria-labelledby"), (tag, name, value)
            assert "url(" not in (value or "") or (value or "").startswith("url(#"), (tag, name)
    assert not set("\x00\x07\x1b\u2028\u202e\ufffe") & set(hostile_page)
    assert hostile_page.encode("utf-8")
    css, js = (_own(kind) for kind in ("css", "js"))
    assert not re.search(r"https?:|@import|url\(|fetch|XMLHttp|innerHTML|eval\(", css + js)


def test_the_policy_allows_this_style_and_this_script_and_nothing_else(page: str) -> None:
    seen = Page(page)
    (policy,) = [found["content"] for tag, found in seen.found if found.get("http-equiv") == "Content-Security-Policy"]
    digests = {
        kind: base64.b64encode(hashlib.sha256("".join(data for tag, data in seen.texts if tag == kind).encode()).digest())
        for kind in ("style", "script")
    }
    assert policy == (
        f"default-src 'none'; style-src 'sha256-{digests['style'].decode()}'; "
        f"script-src 'sha256-{digests['script'].decode()}'; "
        "base-uri 'none'; form-action 'none'"
    )
    metas = [found for tag, found in seen.found if tag == "meta"]
    assert "http-equiv" in metas[1], "the policy stands before all that it rules"
    assert not any("style" in found or any(name.startswith("on") for name in found) for _, found in seen.found)


def test_ids_are_unique_and_every_reference_finds_its_own(page: str) -> None:
    seen = Page(page)
    ids = [found["id"] for _, found in seen.found if "id" in found]
    assert len(ids) == len(set(ids))
    values = [value or "" for _, found in seen.found for name, value in found.items() if name != "content"]
    named = {match for value in values for match in re.findall(r"^#(.+)$|url\(#(.+?)\)", value)}
    assert {one or other for one, other in named} <= set(ids)
    assert {word for _, found in seen.found for word in [found.get("aria-labelledby")] if word} <= set(ids)


def test_headings_step_down_one_by_one_and_tables_say_what_their_heads_are_of(page: str) -> None:
    seen = Page(page)
    levels = [int(tag[1]) for tag, _ in seen.found if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert all(found.get("scope") for tag, found in seen.found if tag == "th")
    for tag, found in seen.found:
        if tag == "svg":
            assert found["role"] == "img"
            assert found["aria-labelledby"]


def test_the_same_comparison_gives_the_same_bytes(tmp_path: Path) -> None:
    found = a_comparison(["lora"])
    for name in ("one.html", "two.html"):
        write_html(found, tmp_path / name)
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()
    assert found == a_comparison(["lora"]), "what is rendered is not changed"


def test_the_page_says_what_to_take_first_and_shows_the_failed_row(page: str) -> None:
    text = Page(page).text()
    assert re.search(r"Take\s+lora\s+as\s+torch-merged", text)
    headings = [data for tag, data in Page(page).texts if tag == "h2"]
    assert [*headings[:4], *headings[-2:]] == [
        "Which one to take", "The table", "Speed", "Paired statements", "Provenance", "How this was computed",
    ]  # fmt: skip
    assert "failed: CUDA out of memory" in text
    assert "lora beats ia3 by 1.9 points" in text
    assert "a fine film 0" in text
    assert "Of several seeds the answers of the first are shown" in text
    assert "test in train 35" in text


def test_the_page_of_one_run_compares_nothing() -> None:
    seen = Page(html(a_comparison(["alone"])))
    places = {found.get("id") for _, found in seen.found}
    assert {"table", "curves", "parameters", "confusion", "reliability", "length", "errors", "provenance"} <= places
    assert not {"verdict", "statements", "pareto"} & places
    assert "Answered differently" not in seen.text()
    assert "Of several seeds" not in seen.text()


def test_of_a_row_without_figures_a_dash_is_shown_and_no_section_is_empty() -> None:
    found = a_comparison(["bare"])
    (row,) = found["rows"]
    row |= dict.fromkeys(("ece", "ece_low", "ece_high", "head_parameters", "adapter_bytes", "peak_memory_bytes", "train_seconds"))
    row |= {"curve": [], "reliability": [], "by_length": [], "confusion": None, "forms": {}, "rows_per_second": None}
    found["browser"] = {name: [] for name in ("all_wrong", "disagree", "confident")}
    seen = Page(html(found))
    assert not {"curves", "reliability", "length", "confusion", "errors"} & {attributes.get("id") for _, attributes in seen.found}
    assert seen.text().count(shown.NONE) >= 5
    assert "Nothing was measured yet" in seen.text()


def test_a_page_over_twenty_rows_and_all_that_the_browser_holds_stays_small() -> None:
    labels = [f"label {i}" for i in range(77)]
    found = a_comparison([f"run-{i}" for i in range(20)], labels, seeds=3, text="word " * 99, listed=50, rows=100_000)
    text = html(found)
    assert len(text.encode()) < 2_500_000
    assert "taken for" in text, "of 77 labels the worst confusions are told, not 20 matrices"


def test_names_in_charts_are_text_whatever_stands_in_them() -> None:
    for drawn in charts(a_comparison(["$x$", "a_b^{c}", "<b>&"]))["pareto"]:
        svg = drawn.svg()
        assert ">$x$<" in svg
        assert ">a_b^{c}<" in svg
        assert ">&lt;b&gt;&amp;<" in svg


@pytest.mark.parametrize("names", [1, 3])
def test_lines_of_charts_have_few_points(names: int) -> None:
    found = a_comparison([f"run-{i}" for i in range(names)])
    for drawn in itertools.chain(*charts(found).values()):
        assert all(len(line.get_xdata()) <= MOST_POINTS for axes in drawn.figure.axes for line in axes.get_lines())


@pytest.mark.parametrize(
    "points",
    [
        [(200 + 7 * (i % 5), 150 + 6 * (i // 5)) for i in range(20)],
        [(40 + 20 * i, 150) for i in range(20)],
        [(5, 5), (495, 295), (5, 295), (495, 5)],
        [(250, 150)] * 6,
    ],
    ids=["cluster", "row", "corners", "one spot"],
)
def test_no_name_covers_another_or_leaves_the_frame(points: list[tuple[float, float]]) -> None:
    boxes = spread(points, [(80, 10)] * len(points), (0, 0, 500, 300))
    for one, other in itertools.combinations(boxes, 2):
        assert overlap(one, other) < 1e-6
    for (left, bottom, right, top), point in itertools.product(boxes, points):
        assert left >= 0 <= bottom
        assert right <= 500
        assert top <= 300
        assert overlap((left, bottom, right, top), (point[0] - MARK, point[1] - MARK, point[0] + MARK, point[1] + MARK)) == 0


def test_a_name_goes_beside_a_line_rather_than_over_it() -> None:
    (box,) = spread([(250, 150)], [(80, 10)], (0, 0, 500, 300), [(250, 148.5, 500, 151.5)])
    assert overlap(box, (250, 148.5, 500, 151.5)) == 0


def test_the_frontier_holds_what_no_other_beats_in_both() -> None:
    points = [(1, 0.5), (2, 0.7), (3, 0.6), (2, 0.65), (4, 0.7), (5, 0.9)]
    beaten = {p for p in points for q in points if q != p and q[0] <= p[0] and q[1] >= p[1]}
    assert frontier(points) == sorted(set(points) - beaten)


def test_thinning_keeps_both_ends_and_the_order() -> None:
    found = thinned(list(range(1000)), 120)
    assert len(found) == 120
    assert found[0] == 0
    assert found[-1] == 999
    assert found == sorted(set(found))
    assert thinned([1, 2], 120) == [1, 2]


def test_ratios_are_those_of_the_counts_with_and_without_the_head() -> None:
    found = a_comparison(["lora", "ia3", "full"])["rows"]
    found[0] |= {"total_parameters": 109_483_778, "trainable_parameters": 296_450, "head_parameters": 1_538}
    ((_, fewer, without), *others) = contents.ratios(found)
    assert fewer == pytest.approx(109_483_778 / 296_450)
    assert without == pytest.approx((109_483_778 - 1_538) / 294_912)
    assert [row["run"] for row, *_ in others] == ["ia3"], "what trains everything has no ratio"
    found[1]["head_parameters"] = None
    assert contents.ratios(found)[1][2] is None


def test_confusions_count_answers_without_a_label_apart() -> None:
    row = {"confusion": [[5, 1], [2, 4]], "missed": [0, 3]}
    found = contents.confusion_of(row, ["a", "b"])
    assert found is not None
    assert found.columns == ["a", "b", contents.NO_ANSWER]
    assert found.cells == [("a", [(5, 8), (1, 1), (0, 0)]), ("b", [(2, 2), (4, 4), (3, 3)])]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (shown.size(0), "0 B"),
        (shown.size(999_999), "1,000 kB"),
        (shown.size(892_000), "892 kB"),
        (shown.size(3_410_000_000), "3.41 GB"),
        (shown.size(None), "–"),
        (shown.duration(59.7), "59 s"),
        (shown.duration(148.5), "2 min 28 s"),
        (shown.duration(3_900), "1 h 05 min"),
        (shown.duration(0.42), "0.4 s"),
        (shown.milliseconds(0.00334), "0.0033 ms"),
        (shown.milliseconds(0.31), "0.31 ms"),
        (shown.milliseconds(1204.4), "1,204 ms"),
        (shown.rate(41_000), "41,000"),
        (shown.rate(11.24), "11.2"),
        (shown.probability(0.0004), "< 0.001"),
        (shown.times(371.24), "371 ×"),
        (shown.percent(0.0034), "0.003 %"),
        (shown.short("a" * 40, 10), "aaaaaa…aaa"),
        (shown.written("a\x1b[0m\n\u202e", keep="\n"), "a\\x1b[0m\n\\u202e"),
    ],
)
def test_figures_are_written_for_readers(found: str, expected: str) -> None:
    assert found == expected


@pytest.fixture
def finished(baseline_run: Callable[[str], Run], tmp_path: Path) -> Run:
    """A run of its own to write into."""
    return Run(Path(shutil.copytree(baseline_run("tfidf").path, tmp_path / "tfidf")))


def test_a_report_of_a_run_lies_in_it_and_counts_as_a_look(finished: Run) -> None:
    before = {path: path.read_bytes() for path in finished.path.iterdir() if path.is_file() and path.name != "events.jsonl"}
    found = jobs.report("tfidf", finished.path.parent)
    assert found["files"] == [str(finished.path / "report" / name) for name in ("report.html", "report.pdf")]
    assert found["looks"] == looks_at_test(finished) == 2
    assert finished.is_finished()
    text = Page((finished.path / "report" / "report.html").read_text("utf-8")).text()
    assert finished.manifest["data"]["test"]["digest"] in text
    page = (finished.path / "report" / "report.html").read_text("utf-8")
    assert re.search(r"<tr><th scope=\"row\"><bdi>tfidf</bdi></th><td>\d+</td>(<td>[^<]*</td>){3}<td>2</td></tr>", page)
    assert {path: path.read_bytes() for path in before} == before, "what was scored is left as it is"


def test_a_run_that_cannot_be_written_has_its_report_elsewhere(finished: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: path != finished.path)
    with pytest.raises(InputError, match="is read-only; name a folder for the report with --output"):
        jobs.report("tfidf", finished.path.parent)
    jobs.report("tfidf", finished.path.parent, finished.path.parent / "elsewhere")
    assert (finished.path.parent / "elsewhere" / "report.pdf").is_file()
    assert not (finished.path / "report").exists()


def test_a_run_without_scores_is_refused_and_no_look_is_counted(finished: Run) -> None:
    (finished.path / "predictions.parquet").unlink()
    with pytest.raises(InputError, match="predictions"):
        jobs.report("tfidf", finished.path.parent)
    assert looks_at_test(finished) == 1
    assert not (finished.path / "report").exists()


def _own(kind: str) -> str:
    return (resources.files("tunebench.compare") / "templates" / f"report.{kind}").read_text("utf-8")


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("theme", [0, 1, 2], ids=["light", "dark", "print"])
def test_colours_have_the_contrast_of_wcag_aa(theme: int) -> None:
    colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", re.findall(r":root \{(.*?)\}", _own("css"), re.DOTALL)[theme]))
    for name, least in [*((name, 4.5) for name in ("ink", "soft", "accent", "bad")), *((f"c{i}", 3.0) for i in range(1, 7))]:
        for ground in ("paper", "raised"):
            light, dark = sorted((_luminance(colours[name]), _luminance(colours[ground])), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= least, (name, ground)


def test_a_pdf_is_written_whatever_the_names_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in (drawing, paper):  # some machines have such a font, and embedding it takes seconds
        monkeypatch.setattr(place, "han_font", lambda: None)
    found = hostile()
    found["rows"][0]["run"] = "電影 🎬 " + HOSTILE
    drawn = drawing.Chart.png
    one = charts(a_comparison(["majority"]))["length"][0].png()
    monkeypatch.setattr(drawing.Chart, "png", lambda self: one)  # names in charts are another test's
    with closing(paper.Paper("")) as sheet:
        assert sheet.writable("a 🎬\x07") == "a □\\x07"
    write_pdf(found, tmp_path / "hostile.pdf")
    monkeypatch.setattr(drawing.Chart, "png", drawn)
    content = (tmp_path / "hostile.pdf").read_bytes()
    assert content.startswith(b"%PDF-")
    assert 3 <= len(re.findall(rb"/Type /Page\b", content)) <= 20
    assert b"/URI" not in content
    for name in ("one.pdf", "two.pdf"):
        write_pdf(a_comparison(["majority"]), tmp_path / name)
    assert (tmp_path / "one.pdf").read_bytes() == (tmp_path / "two.pdf").read_bytes()


@pytest.mark.parametrize(("package", "module"), [("fpdf2", "fpdf"), ("jinja2", "jinja2"), ("matplotlib", "matplotlib")])
def test_a_package_that_is_missing_is_named_with_its_extra(package: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report.util, "find_spec", lambda name: None if name == module else object())
    with pytest.raises(MissingExtra, match=rf"'{package}'.*pip install 'tunebench\[report\]'"):
        require()


@pytest.mark.parametrize(
    ("module", "name"), [("matplotlib", "a.html"), ("jinja2", "a.html"), ("matplotlib", "a.pdf"), ("fpdf", "a.pdf")]
)
def test_without_a_package_no_page_is_begun(module: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    write = write_html if name.endswith("html") else write_pdf
    with pytest.raises(MissingExtra, match=r"tunebench\[report\]"):
        write(a_comparison(["majority"]), tmp_path / name)
    assert not (tmp_path / name).exists()
