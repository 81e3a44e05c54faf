"""The docs are in order: generated parts are fresh, recipes load, links and named files are there."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tunebench.recipe import methods, spec, stages

ROOT = Path(__file__).resolve().parent.parent
RECIPE = "name: a\nmethod: {kind: majority}\ndata: {train: a.csv}\n"


def _tool() -> ModuleType:
    found = importlib.util.spec_from_file_location("tunebench_docs_tool", ROOT / "tools" / "docs.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


docs = _tool()


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A sound little repository: one room, one page with every generated part."""
    (tmp_path / "src" / "tunebench" / "data").mkdir(parents=True)
    (tmp_path / "src" / "tunebench" / "data" / "__init__.py").touch()
    (tmp_path / "docs").mkdir()
    tree = "<!-- file tree -->\n```text\nsrc/tunebench/\n  data/   rows\n```\n"
    (tmp_path / "README.md").write_text(f"{tree}\n[settings](docs/all.md)\n\n```yaml recipe\n{RECIPE}```\n", "utf-8")
    markers = [f"<!-- generated: {name} -->\n<!-- end: {name} -->\n" for name in docs.generated()]
    (tmp_path / "docs" / "all.md").write_text("\n".join(markers), "utf-8")
    for name, text in docs.expected(tmp_path).items():
        (tmp_path / name).write_text(text, "utf-8")
    assert docs.faults(tmp_path) == []
    return tmp_path


def _add(path: Path, text: str) -> None:
    path.write_text(path.read_text("utf-8") + text, "utf-8")


def test_the_docs_are_in_order() -> None:
    assert docs.faults(ROOT) == []


def test_links_of_the_readme_and_of_every_page_resolve() -> None:
    assert docs.broken_links(ROOT) == []


def test_every_recipe_in_the_docs_loads() -> None:
    assert docs.recipe_faults(ROOT) == []


def test_every_setting_has_its_row() -> None:
    page = (ROOT / "docs" / "recipe.md").read_text("utf-8")
    groups = stages.recipe_schema()["$defs"]
    missing = [f"{group}.{key}" for group, own in groups.items() for key in own["properties"] if f"| `{key}` |" not in page]
    assert missing == []


def test_a_stale_table_is_named(small: Path) -> None:
    page = small / "docs" / "all.md"
    page.write_text(page.read_text("utf-8").replace("| `learning_rate` |", "| `lr` |"), "utf-8")
    assert docs.faults(small) == ["docs/all.md is out of date; run `make docs`"]


def test_text_around_a_generated_part_stays(small: Path) -> None:
    _add(small / "docs" / "all.md", "written by hand\n")
    assert docs.faults(small) == []
    assert docs.expected(small)["docs/all.md"].endswith("written by hand\n")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("```yaml recipe\nname: a\n```\n", "missing"),
        (f"```yaml faulty\n{RECIPE}```\n", "is marked as faulty and loads"),
        (f"```yaml\n{RECIPE}```\n", "mark it as"),
        ("[gone](docs/gone.md)\n", "docs/gone.md leads nowhere"),
        ("<!-- fill in: the table -->\n", "a placeholder is left, '<!-- fill in'"),
        ("(the table goes here)\n", "a placeholder is left, 'goes here'"),
        ("see `tests/test_gone.py`\n", "tests/test_gone.py, which does not exist"),
        ("<!-- generated: nothing -->\n<!-- end: nothing -->\n", "there is no generated part 'nothing'"),
    ],
)
def test_what_is_wrong_in_a_page_is_named(small: Path, text: str, fault: str) -> None:
    _add(small / "README.md", text)
    assert any(fault in found and "README.md" in found for found in docs.faults(small))


def test_the_file_tree_names_every_room_and_nothing_else(small: Path) -> None:
    (small / "src" / "tunebench" / "data").rename(small / "src" / "tunebench" / "rows")
    assert docs.faults(small) == [
        "README.md's file tree names src/tunebench/data, which does not exist",
        "README.md's file tree lacks src/tunebench/rows",
    ]


def test_check_ends_with_exit_code_1_and_the_names(
    small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (small / docs.SCHEMA).unlink()
    monkeypatch.setattr(docs, "ROOT", small)
    monkeypatch.setattr(sys, "argv", ["docs.py", "--check"])
    with pytest.raises(SystemExit, match=r"docs/recipe\.schema\.json is out of date"):
        docs.main()
    monkeypatch.setattr(sys, "argv", ["docs.py"])
    docs.main()
    assert (small / docs.SCHEMA).is_file()
    assert "up to date" in capsys.readouterr().out


def test_names_that_are_called_verbatim_are_hugging_faces() -> None:
    from transformers import EarlyStoppingCallback, TrainingArguments

    from tunebench.model.adapters import CONFIGS

    def fields(config: type) -> set[str]:
        return {field.name for field in dataclasses.fields(config)}

    # transformers 5 renamed warmup_ratio; recipes keep the name that users know.
    trainer = fields(TrainingArguments) | set(EarlyStoppingCallback.__init__.__code__.co_varnames) | {"warmup_ratio"}
    others = {"class_weight", "packing", "attention_dropout"}  # of scikit-learn, of TRL, of models' configurations
    assert set(spec.Train.model_fields) - others <= trainer
    own = {"kind", "loraplus_lr_ratio"}  # PEFT takes the second in create_loraplus_optimizer
    assert {kind: set(methods.method_kinds()[kind].model_fields) - own - fields(CONFIGS[kind]) for kind in methods.ADAPTERS} == {
        kind: set() for kind in methods.ADAPTERS
    }
