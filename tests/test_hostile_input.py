"""Whatever a user feeds it: an exit code, words that help, no traceback, and every input left as it was."""

from __future__ import annotations

import hashlib
from pathlib import Path

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


TABLES: dict[str, tuple[str, bytes, str]] = {
    "an empty file": ("x.csv", b"", "is empty"),
    "only a header": ("x.csv", HEAD.encode(), "has a header but no rows"),
    "semicolons": ("x.csv", (HEAD + BODY).replace(",", ";").encode(), "delimited by semicolons"),
    "Windows text": ("x.csv", (HEAD + BODY + "z,café,a\n").encode("cp1252"), "row 41: is not UTF-8"),
    "UTF-16": ("x.csv", (HEAD + BODY).encode("utf-16"), "not UTF-8"),
    "UTF-16 without a mark": ("x.csv", (HEAD + BODY).encode("utf-16-le"), "save the file as UTF-8"),
    "a picture": ("x.csv", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "not UTF-8"),
    "no label column": ("x.csv", b"id,text\n1,a\n", "no column 'label' (setting data.label); columns are id, text"),
    "a doubled column": ("x.csv", b"id,text,text,label\n1,a,b,c\n", "the column 'text' stands 2 times"),
    "a column without a name": ("x.csv", b",text,label\n1,a,b\n", "column 1 has no name"),
    "a quote left open": ("x.csv", (HEAD + 'q,"open,a\n' + BODY).encode(), "row 1: opens a quote that is never closed"),
    "too many fields": ("x.csv", (HEAD + BODY + "z,one, two,a\n").encode(), "row 41: has 4 fields, the header has 3"),
    "an empty text": ("x.csv", (HEAD + BODY + "z, ,a\n").encode(), "row 41: 'text' is empty"),
    "a doubled id": ("x.csv", (HEAD + BODY + "r0,again,a\n").encode(), "the id 'r0' stands 2 times"),
    "one label": ("x.csv", b"id,text,label\n1,t,a\n2,t,a\n3,t,a\n4,t,a\n5,t,a\n", "a classifier needs at least two"),
    "two rows": ("x.csv", b"id,text,label\n1,t,a\n2,u,b\n", "both need rows"),
    "no Parquet": ("x.parquet", b"id,text,label\n", "not a Parquet file"),
    "broken JSON": ("x.jsonl", b'{"id": 1, "text": "t", "label": "a"}\n{"id": 2,\n', "row 2: is not a line of JSON"),
    "a list as label": ("x.jsonl", b'{"id": 1, "text": "t", "label": ["a"]}\n', "row 1: 'label' holds a list"),
    "a workbook": ("x.xlsx", b"PK\x03\x04", "expected a file ending in .csv"),
}


@pytest.mark.parametrize("name", TABLES)
def test_training_on_an_unsound_table_is_refused(name: str, capsys: Capture) -> None:
    file, content, words = TABLES[name]
    Path(file).write_bytes(content)
    refused(capsys, 2, words, "train", "r.yaml", "--set", f"data.train={file}")


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
        ("data.train=.", "is a folder, not a file"),
        ("data.train=~nobody/x.csv", "no such file"),
        ("data.train=starter:nothing", "nothing"),
        ("data.positive_label=c", "data.positive_label: 'c' is no label"),
        ("data.test.group_by=movie", "data.test"),
        ("data.test={fraction: 0.2, group_by: movie}", "data.test.group_by: no column 'movie'; columns are id, text, label"),
        ("method.kind=lroa", "nearest is 'lora'"),
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
