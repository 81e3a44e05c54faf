"""Whatever a user feeds it: an exit code, words that help, no traceback, and every input left as it was."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from shelf import tunebench
from tiny import make_rows, write_csv, write_recipe

from tunebench import jobs

Capture = pytest.CaptureFixture[str]
BODY = "".join(f"r{i},text {i},{'ab'[i % 2]}\n" for i in range(40))
HEAD = "id,text,label\n"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the finished run ``majority`` over the labels ``a`` and ``b``."""
    folder = tmp_path_factory.mktemp("hostile")
    recipe = write_recipe(folder / "majority.yaml", data=write_csv(folder / "t.csv", make_rows(60, ("a", "b"))))
    jobs.train(str(recipe), [], folder / "runs", lambda event: None)
    return folder / "runs"


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_recipe(tmp_path / "r.yaml", data=Path("t.csv"))
    (tmp_path / "t.csv").write_text(HEAD + BODY)


def digests(folder: Path) -> dict[str, str]:
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.rglob("*")) if path.is_file()}


def refused(capsys: Capture, code: int, words: str, *arguments: object) -> None:
    """The command ends with ``code``, says ``words`` on standard error only, and changes no file."""
    before = digests(Path())
    found, out, err = tunebench(capsys, *arguments)
    assert (found, out) == (code, ""), err
    assert words in err
    assert digests(Path()) == before


TABLE = HEAD + BODY
CAFE = TABLE.replace("text 3,", "café 3,")
WORLD = TABLE.replace("text 3,", "😀 👨‍👩‍👧 é,").replace("text 4,", "שלום עולם,").replace("text 5,", "\u202eevil\u202c ﬁ,")
READ_AS = "warning: x.csv is read as"


@dataclass(frozen=True)
class Table:
    """A file as somebody has it; ``refused`` are the words it is turned away with, None where it just works.

    ``said`` are words of a warning, ``text`` is what row 4 holds, ``set`` are the settings that it is trained with.
    """

    content: str | bytes | Callable[[], str]
    refused: str | None = None
    said: str | None = None
    text: str | None = None
    name: str = "x.csv"
    set: tuple[str, ...] = ()

    def write(self) -> str:
        content = self.content() if callable(self.content) else self.content
        Path(self.name).write_bytes(content.encode() if isinstance(content, str) else content)
        return self.name


TABLES: dict[str, Table] = {
    "a byte order mark": Table(b"\xef\xbb\xbf" + CAFE.encode(), text="café 3"),
    "Windows text": Table(CAFE.encode("cp1252"), said=f"{READ_AS} cp1252, delimited by ','", text="café 3"),
    "Windows text as told": Table(CAFE.encode("cp1252"), text="café 3", set=("data.encoding=cp1252",)),
    "UTF-16": Table(WORLD.encode("utf-16"), said=f"{READ_AS} utf-16-le, delimited by ','", text="😀 👨‍👩‍👧 é"),
    "UTF-16 without a mark": Table(CAFE.encode("utf-16-be"), said=f"{READ_AS} utf-16-be, delimited by ','", text="café 3"),
    "semicolons": Table(CAFE.replace(",", ";"), said=f"{READ_AS} utf-8, delimited by ';'", text="café 3"),
    "tabs in a .csv": Table(CAFE.replace(",", "\t"), said=f"{READ_AS} utf-8, delimited by '\\t'", text="café 3"),
    "tabs in a .tsv": Table(CAFE.replace(",", "\t"), text="café 3", name="x.tsv"),
    "bars as told": Table(CAFE.replace(",", "|"), text="café 3", set=("data.delimiter='|'",)),
    "Windows text with semicolons": Table(
        CAFE.replace(",", ";").encode("cp1252"), said=f"{READ_AS} cp1252, delimited by ';'", text="café 3"
    ),
    "quoted newlines": Table(TABLE.replace("text 3,", '"two\nlines, ""quoted""",'), text='two\nlines, "quoted"'),
    "lone carriage returns in quotes": Table(TABLE.replace("text 3,", '"two\rlines",'), text="two\rlines"),
    "a NUL in a text": Table(TABLE.replace("text 3,", "a\0b,"), text="a\0b"),
    "emoji and text from right to left": Table(WORLD, text="😀 👨‍👩‍👧 é"),
    "numbers as labels": Table(TABLE.replace(",a\n", ",0\n").replace(",b\n", ",1\n"), text="text 3"),
    "a label that stands once": Table(
        TABLE + "z,odd,c\n", said="no row has the label 'c', which is trained and not scored there"
    ),
    "columns named like answers": Table(
        "predicted,error,truncated,probability_a," + HEAD + "".join(f"x,y,z,0,{line}\n" for line in BODY.splitlines()),
        text="text 3",
    ),
    "HTML to strip": Table(
        TABLE.replace("text 3,", "a<br />b &amp; c,"), text="a<br />b &amp; c", set=("data.clean.html=strip",)
    ),
    "an empty file": Table(b"", "x.csv: is empty"),
    "only a header": Table(HEAD, "x.csv: has a header but no rows"),
    "a file that is all NUL": Table(b"\0" * 100, "its header holds NUL bytes"),
    "rows of NUL": Table(TABLE.encode() + b"\0" * 100 + b"\n", "row 41: has 1 fields, the header has 3"),
    "another alphabet": Table("id,text,label\n1,привет,хорошо\n".encode("cp1251"), "row 1: is not UTF-8"),
    "one row in another encoding": Table(CAFE.encode() + "z,café,a\n".encode("cp1252"), "row 41: is not UTF-8"),
    "an encoding there is not": Table(
        TABLE, "data.encoding: 'utf-9' is no text encoding; nearest is", set=("data.encoding=utf-9",)
    ),
    "the wrong encoding": Table(CAFE.encode("cp1252"), "row 4: is not UTF-8", set=("data.encoding=utf-8",)),
    "the wrong delimiter": Table(TABLE, "looks delimited by commas: set data.delimiter", set=("data.delimiter=;",)),
    "a delimiter that YAML takes away": Table(
        TABLE, "data.delimiter: expected text that is not empty", set=("data.delimiter=|",)
    ),
    "a delimiter that is a quote": Table(TABLE, "is no delimiter", set=("data.delimiter='\"'",)),
    "a picture": Table(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "the header: is not UTF-8"),
    "no label column": Table(b"id,text\n1,a\n", "no column 'label' (setting data.label); columns are id, text"),
    "a doubled column": Table(b"id,text,text,label\n1,a,b,c\n", "the column 'text' stands 2 times; rename all but one"),
    "a column without a name": Table(b",text,label\n1,a,b\n", "column 1 has no name; give it one in the header"),
    "a quote left open": Table(HEAD + 'q,"open,a\n' + BODY, "row 1: opens a quote that is never closed"),
    "too many fields": Table(TABLE + "z,one, two,a\n", "row 41: has 4 fields, the header has 3"),
    "an empty text": Table(TABLE + "z, ,a\n", "row 41: 'text' is empty"),
    "100 MB in a cell": Table(
        lambda: f"{TABLE}z,{'word ' * 20_971_520},a\n", "row 41: 'text' holds 104,857,600 characters; at most 10,000,000"
    ),
    "a doubled id": Table(TABLE + "r0,again,a\n", "the id 'r0' stands 2 times"),
    "one label": Table(b"id,text,label\n1,t,a\n2,t,a\n3,t,a\n4,t,a\n5,t,a\n", "a classifier needs at least two"),
    "two rows": Table(b"id,text,label\n1,t,a\n2,u,b\n", "both need rows"),
    "no Parquet": Table(HEAD, "not a Parquet file", name="x.parquet"),
    "broken JSON": Table(b'{"id": 1, "text": "t", "label": "a"}\n{"id": 2,\n', "row 2: is not a line of JSON", name="x.jsonl"),
    "a list as label": Table(b'{"id": 1, "text": "t", "label": ["a"]}\n', "row 1: 'label' holds a list", name="x.jsonl"),
    "a workbook": Table(b"PK\x03\x04", "expected a file ending in .csv", name="x.xlsx"),
    "a list of objects": Table(b'[{"text": "t"}]', "no column 'label'", name="x.json"),
    "no JSON": Table(b'[{"text": "t"},\n', "is not JSON: line 2, column 1", name="x.json"),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_just_works_or_is_refused_with_words(name: str, capsys: Capture) -> None:
    table = TABLES[name]
    file = table.write()
    command = ["train", "r.yaml", "--set", f"data.train={file}", *(part for item in table.set for part in ("--set", item))]
    if table.refused is not None:
        refused(capsys, 2, table.refused, *command)
        return
    before = digests(Path())
    code, _, err = tunebench(capsys, *command)
    assert code == 0, err
    assert (table.said or "") in err
    assert (READ_AS in err) == (table.said or "").startswith(READ_AS)
    assert digests(Path()) | before == digests(Path())
    if table.text is not None:
        code, _, err = tunebench(capsys, "predict", "r", file, "--output", "out.parquet")
        assert code == 0, err
        assert pq.read_table("out.parquet").column("text").to_pylist()[3] == table.text


LABELS_OF_ANOTHER_SPLIT = {
    "only in the test file": (["data.test=x.csv"], "1,t,c\n2,t,a\n", "test: labels that no training row has: 'c' (1 rows)"),
    "only in the rows cut off": (
        ["data.train=x.csv", "data.test.stratify=false"],
        BODY + "".join(f"u{i},once,c{i}\n" for i in range(20)),
        "or set data.test.stratify, which leaves a row of every label to train on",
    ),
}


@pytest.mark.parametrize("name", LABELS_OF_ANOTHER_SPLIT)
def test_a_label_that_no_training_row_has_is_refused(name: str, capsys: Capture) -> None:
    overrides, rows, words = LABELS_OF_ANOTHER_SPLIT[name]
    Path("x.csv").write_text(HEAD + rows)
    refused(capsys, 2, words, "train", "r.yaml", *(part for item in overrides for part in ("--set", item)))


PREDICTED: dict[str, tuple[str | bytes | Callable[[], str], list[str | None]]] = {
    "doubled ids": ("id,text\n1,x\n1,x\n", [None, None]),
    "columns named like answers": ("predicted,error,text\nmine,old,x\n", [None]),
    "Windows text with semicolons": ("id;text\n1;café\n2;b\n".encode("cp1252"), [None, None]),
    "UTF-16": ("id,text\n1,台語\n".encode("utf-16"), [None]),
    "emoji and text from right to left": ("text\n😀\n\u202eשלום\n", [None, None]),
    "a NUL": ("id,text\n1,a\0b\n2,\n", [None, "the text is empty"]),
    "11 MB in a cell": (
        lambda: f"id,text\n1,{'word ' * 2_200_000}\n2,x\n",
        ["the text holds 11,000,000 characters; at most 10,000,000 are read", None],
    ),
    "a row in another encoding": ("id,text\n1,é\n".encode() + b"2,\xe9\n", [None, "is not UTF-8"]),
}


@pytest.mark.parametrize("name", PREDICTED)
def test_every_row_of_a_table_to_predict_comes_back_with_its_answer_or_its_error(name: str, runs: Path, capsys: Capture) -> None:
    content, errors = PREDICTED[name]
    file = Table(content).write()
    code, _, err = tunebench(capsys, "predict", "majority", file, "--output", "out.parquet", "--runs", runs)
    assert code == 0, err
    rows = pq.read_table("out.parquet").to_pylist()
    assert len(rows) == len(errors)
    for row, words in zip(rows, errors, strict=True):
        assert (row["predicted"] is None) == (words is not None)
        assert row["error"] is None if words is None else words in row["error"]


@pytest.mark.parametrize("place", ["validation", "test"])
def test_an_unsound_table_is_refused_whichever_split_it_is(place: str, capsys: Capture) -> None:
    Path("x.csv").write_text(HEAD + "1,t,c\n2,,a\n")
    refused(capsys, 2, "x.csv: row 2: 'text' is empty", "train", "r.yaml", "--set", f"data.{place}=x.csv")


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("name=../../x", "name: expected letters"),
        ("name=", "name: expected text, found nothing"),
        ("seed=-1", "seed: expected at least 0"),
        ("seed=1e30", "seed: expected a whole number"),
        ("data.test.fraction=1.5", "data.test.fraction: expected less than 1.0"),
        ("data.test.fraction=.nan", "data.test.fraction: expected a finite number"),
        ("data.text=label", "text and label are both the column 'label'"),
        ("data.label=id", "both need rows"),
        ("data.train=nothing.csv", "nothing.csv: no such file"),
        ("data.train=.", "expected one folder of .txt files per label in it, such as pos/ and neg/; found none"),
        ("data.train=~nobody/x.csv", "no such file"),
        ("data.train=starter:nothing", "nothing"),
        ("data.positive_label=c", "data.positive_label: 'c' is no label"),
        ("data.test.group_by=movie", "data.test"),
        ("data.test={fraction: 0.2, group_by: movie}", "data.test.group_by: no column 'movie'; columns are id, text, label"),
        ("method.kind=lorra", "nearest is 'lora'"),
        ("method={kind: lora}", "base: the method 'lora' needs a pretrained model"),
        ("train.max_steps=1", "train: the baseline 'majority' has no use for it"),
        ("output_dir=x", "the run directory is <runs>/<name>"),
        ("a: b=1", "unknown key"),
        ("seed: 1", "expected section.key=value"),
    ],
)
def test_an_unsound_setting_is_refused(override: str, words: str, capsys: Capture) -> None:
    refused(capsys, 2, words, "train", "r.yaml", "--set", override)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "expected settings"),
        (b"- a\n", "found a list"),
        (b"name: [\n", "line 2, column 1"),
        (b"name: a\nname: b\n", "the key 'name' stands twice"),
        (b"name: &n a\ntask: *n\n", "aliases (*name) are not read"),
        (b"name: caf\xe9\n", "not UTF-8 text at byte 9"),
        (b"\x00\x01", "not readable as YAML"),
        (b"!!python/object/apply:os.system ['touch hacked']\n", "could not determine a constructor"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused(content: bytes, words: str, capsys: Capture) -> None:
    Path("x.yaml").write_bytes(content)
    refused(capsys, 2, words, "train", "x.yaml")
    refused(capsys, 2, words, "compare", "r.yaml", "x.yaml")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["t.csv", "--output", "t.csv"], 2, "is the input file; inputs are never overwritten"),
        (["t.csv", "--output", "./../{here}/t.csv"], 2, "is the input file"),
        (["link.csv", "--output", "t.csv"], 2, "is the input file"),
        (["t.csv", "--output", "link.csv"], 2, "is the input file"),
        (["t.csv", "--output", "no/such/folder/x.csv"], 1, "choose a folder that exists"),
        (["t.csv", "--output", "x.txt"], 2, "expected an output file ending in .csv"),
        (["t.csv", "--output", "x"], 2, "expected an output file ending in .csv"),
        (["nothing.csv", "--output", "x.csv"], 2, "no such file"),
        ([".", "--output", "x.csv"], 2, "is a folder, not a file"),
        (["t.csv", "--output", "x.csv", "--text-column", "txt"], 2, "no column 'txt' (setting --text-column); nearest is 'text'"),
        (["t.csv", "--output", "y" * 300 + ".csv"], 1, "File name too long"),
    ],
)
def test_a_prediction_that_cannot_be_read_or_written_is_refused(
    arguments: list[str], code: int, words: str, runs: Path, tmp_path: Path, capsys: Capture
) -> None:
    Path("link.csv").symlink_to("t.csv")
    told = [argument.replace("{here}", tmp_path.name) for argument in arguments]
    refused(capsys, code, words, "predict", "majority", *told, "--runs", runs)


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ("id,label\nr0,a\n", "no label for 39 of 40 ids of t.csv: r1, r2"),
        ("id,label\n" + "r0,a\n" * 2, "the id 'r0' stands twice"),
        ("key,label\nr0,a\n", "no column 'id' (setting --id)"),
        ("id,label\n" + "".join(f"r{i},c\n" for i in range(40)), "labels that no training row has: 'c' (40 rows)"),
    ],
)
def test_answers_that_do_not_fit_are_refused(answers: str, words: str, runs: Path, capsys: Capture) -> None:
    Path("y.csv").write_text(answers)
    options = ["--data", "t.csv", "--answers", "y.csv", "--id", "id", "--runs", runs]
    refused(capsys, 2, words, "evaluate", "majority", *options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--data", "t.csv", "--id", "id"], "--answers and --id go together"),
        (["--data", "t.csv", "--answers", "t.csv"], "--answers and --id go together"),
        (["--data", "nothing.csv"], "no such file"),
    ],
)
def test_half_a_request_is_refused(options: list[str], words: str, runs: Path, capsys: Capture) -> None:
    refused(capsys, 2, words, "evaluate", "majority", *options, "--runs", runs)


@pytest.mark.parametrize("name", ["nothing", "../runs/nothing", "x" * 300, "", "\udcff", "*"])
def test_an_unknown_run_is_refused(name: str, runs: Path, capsys: Capture) -> None:
    refused(capsys, 2, "runs in", "evaluate", name, "--runs", runs)
    refused(capsys, 2, "runs in", "predict", name, "--text", "x", "--runs", runs)


def test_a_file_in_the_place_of_the_runs_folder_is_told(capsys: Capture) -> None:
    refused(capsys, 1, "cannot be made (Not a directory)", "train", "r.yaml", "--runs", "t.csv")


def test_files_beside_the_input_stay_as_they_are_when_all_goes_well(runs: Path, capsys: Capture) -> None:
    before = digests(Path())
    assert tunebench(capsys, "predict", "majority", "t.csv", "--output", "out.parquet", "--runs", runs)[0] == 0
    after = digests(Path())
    assert after.keys() - before.keys() == {"out.parquet"}
    assert {name: after[name] for name in before} == before
