"""Write the generated parts of the docs, or check them: ``python tools/docs.py [--check]``.

Generated: the settings tables in docs/recipe.md, help texts and presets in docs/cli.md, the key tables in
docs/from-trainer.md, the tables of docs/methods.md out of docs/methods.json (each between ``<!-- generated: NAME -->``
and ``<!-- end: NAME -->``), and docs/recipe.schema.json as a whole. Checked as well, in every page: recipes load, faulty
recipes are refused, links and named files are there, README's file tree names every room and nothing that is not
there, and no placeholder is left.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import click
from pydantic import BaseModel

from tunebench.cli import commands
from tunebench.errors import InputError
from tunebench.recipe import adapters, methods, prompt, search, sources, spec, stages
from tunebench.recipe.load import AnyRecipe, parse_yaml, presets, validate_any
from tunebench.recipe.matrix import validate_matrix
from tunebench.recipe.trainer_keys import TRAINER_KEYS

ROOT = Path(__file__).resolve().parent.parent
SCHEMA = "docs/recipe.schema.json"
HELP_WIDTH = 100

RECORD = "docs/methods.json"
ADAPTER_KEYS = set(adapters.Adapter.model_fields)
WITH_SETTINGS = {kind: group for kind, group in methods.method_kinds().items() if set(group.model_fields) - ADAPTER_KEYS}
GROUPS: dict[str, type[BaseModel]] = {
    "base": spec.Base,
    "data": sources.Data,
    "data.train, data.validation and data.test, where a file has columns of its own": sources.SplitFile,
    "data.clean": sources.Clean,
    "data.validation and data.test, where cut out of the training file": sources.Fraction,
    "prompt": prompt.Prompt,
    "method, every adapter": adapters.Adapter,
    **{f"method, kind: {kind}": group for kind, group in WITH_SETTINGS.items()},
    "train": spec.Train,
    "search": search.Search,
    "search.space, where not a list of choices": search.Range,
    "top level of a recipe with stages": stages.StagedRecipe,
    "stages": stages.Stage,
    "stages, base": stages.StageBase,
}
VERBATIM: dict[str, tuple[str, ...]] = {
    "TrainingArguments and EarlyStoppingCallback": tuple(
        f"train.{key}" for key in spec.Train.model_fields if key not in ("class_weight", "packing", "attention_dropout")
    ),
    "PEFT's configuration of each kind of adapter": tuple(
        dict.fromkeys(
            f"method.{key}" for kind in methods.ADAPTERS for key in methods.method_kinds()[kind].model_fields if key != "kind"
        )
    ),
    "from_pretrained, configurations of models, tokenizers, generate, TRL and the example scripts": (
        *("base.revision", "base.max_length", "data.max_train_samples", "seed"),
        *("prompt.max_new_tokens", "train.packing", "train.attention_dropout"),
    ),
}

_PART = re.compile(r"(<!-- generated: (?P<name>[\w-]+) -->\n).*?(<!-- end: (?P=name) -->)", re.DOTALL)
_YAML = re.compile(r"^```yaml[ ]*(?P<mark>[^\n]*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)
_TREE = re.compile(r"<!-- file tree -->\n```[^\n]*\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\((?!https?://|#|mailto:)(?P<target>[^)#\s]+)[^)]*\)")
_FILE = re.compile(r"`(?P<path>(?:src|tests|tools|bench|docs)/[\w./-]+)`")
_PLACEHOLDER = re.compile(r"<!--\s*fill in|goes here", re.IGNORECASE)
_FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)


def main() -> None:
    if sys.argv[1:] not in ([], ["--check"]):
        sys.exit("usage: python tools/docs.py [--check]")
    if not sys.argv[1:]:
        for name, text in expected(ROOT).items():
            (ROOT / name).write_text(text, "utf-8")
    if found := faults(ROOT):
        sys.exit("\n".join(["the docs are not in order:", *(f"- {fault}" for fault in found)]))
    print("docs: generated parts are up to date; recipes, links and the file tree are sound")


def faults(root: Path) -> list[str]:
    """Everything that is wrong with the docs below ``root``; empty where they are in order."""
    stale = [
        f"{name} is out of date; run `make docs`"
        for name, text in expected(root).items()
        if not (root / name).is_file() or (root / name).read_text("utf-8") != text
    ]
    checks = (unplaced_parts, recipe_faults, broken_links, absent_files, tree_faults, placeholders)
    return stale + [fault for check in checks for fault in check(root)]


def pages(root: Path) -> list[Path]:
    """Every page of the docs."""
    return [*sorted(root.glob("*.md")), *sorted(root.glob("docs/**/*.md"))]


def expected(root: Path) -> dict[str, str]:
    """What each file with generated parts should hold, by its path below ``root``."""
    parts = generated()
    found = {SCHEMA: json.dumps(stages.recipe_schema(), indent=2, ensure_ascii=False) + "\n"}
    for page in pages(root):
        text = page.read_text("utf-8")
        if _PART.search(text):
            found[str(page.relative_to(root))] = _PART.sub(
                lambda match: f"{match[1]}{parts.get(match['name'], '')}{match[3]}", text
            )
    return found


def unplaced_parts(root: Path) -> list[str]:
    """Generated parts that no page shows, and markers that name no such part."""
    known = generated()
    placed = [(page, match["name"]) for page in pages(root) for match in _PART.finditer(page.read_text("utf-8"))]
    shown = {name for _, name in placed}
    missing = [f"no page has the marker <!-- generated: {name} -->" for name in known if name not in shown]
    return missing + [
        f"{page.relative_to(root)}: there is no generated part {name!r}" for page, name in placed if name not in known
    ]


@cache
def generated() -> dict[str, str]:
    """The generated parts by name."""
    return {
        "settings": settings_tables(),
        "help": help_texts(),
        "presets": preset_table(),
        "trainer-keys": _table(("key there", "here"), [(f"`{key}`", text) for key, text in TRAINER_KEYS.items()]),
        "verbatim-keys": verbatim_list(),
        "adapters": adapter_table(),
        "adapter-laws": laws_table(),
    }


def settings_tables() -> str:
    """Every setting of a recipe: one table for the top level, one per group, one of the methods."""
    kinds = [(f"`{kind.model_fields['kind'].default}`", _meaning(kind.__doc__)) for kind in methods.method_kinds().values()]
    sections = [f"### top level\n\n{_settings(spec.Recipe)}"]
    for title, group in GROUPS.items():
        if group is adapters.Adapter:
            sections.append(f"### method\n\n{_table(('kind', 'meaning'), kinds)}")
        sections.append(f"### {title}\n\n{_settings(group)}")
    return "\n".join(sections)


def help_texts() -> str:
    """``--help`` of every command, at a fixed width."""
    context = click.Context(commands, info_name="tunebench", terminal_width=HELP_WIDTH, help_option_names=["-h", "--help"])
    texts = [f"## tunebench\n\n```text\n{commands.get_help(context)}\n```\n"]
    for name in commands.list_commands(context):
        command = commands.get_command(context, name)
        assert command is not None
        inner = click.Context(command, parent=context, info_name=name, terminal_width=HELP_WIDTH)
        texts.append(f"## tunebench {name}\n\n```text\n{command.get_help(inner)}\n```\n")
    return "\n".join(texts)


def preset_table() -> str:
    """The presets: name, base, method."""
    recipes = {name: validate_any(parse_yaml(text, name), name) for name, text in presets().items()}
    rows = [(f"`{name}`", one.base.model if one.base else "–", _kinds(one)) for name, one in recipes.items()]
    return _table(("preset", "base", "method"), rows)


def _kinds(recipe: AnyRecipe) -> str:
    if isinstance(recipe, stages.StagedRecipe):
        return ", ".join(f"{stage.name}: {stage.method.kind}" for stage in recipe.stages)
    return recipe.method.kind


def verbatim_list() -> str:
    """Settings that bear the name they have in transformers or PEFT."""
    lines = [f"- **{source}:** {', '.join(f'`{key}`' for key in keys)}" for source, keys in VERBATIM.items()]
    return "\n".join(lines) + "\n"


def adapter_table() -> str:
    """Every adapter with its default settings on bert-base: its rate, and what it trains and saves."""
    rows = [
        (_row_title(name), f"{methods.LEARNING_RATES[name.split(',')[0]]:g}", f"{found['weights']:,}", _megabytes(found))
        for name, found in _record()["methods"].items()
    ]
    return _table(("kind", "rate", "weights trained", "saved"), rows)


def laws_table() -> str:
    """Which adapters keep the laws on which architectures, as tests/test_peft_types.py found it."""
    record = _record()
    kinds, limits = record["architectures"], record["tolerances"]
    rows = [
        (_row_title(name), *(", ".join(found["faults"].get(kind, ())) or "✓" for kind in kinds))
        for name, found in record["methods"].items()
    ]
    told = f"✓: all laws hold, reload within {limits['reload']:g} and merge within {limits['merge']:g} on every logit."
    return f"{_table(('kind', *(f'`{kind}`' for kind in kinds)), rows)}\n{told}\n"


def _row_title(name: str) -> str:
    kind, *options = name.split(", ")
    return ", ".join([f"`{kind}`", *options])


def _megabytes(found: dict[str, Any]) -> str:
    return f"{found['saved_bytes'] / 1e6:.1f} MB"


def _record() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / RECORD).read_text("utf-8"))
    return found


def recipe_faults(root: Path) -> list[str]:
    """Recipes in the docs that do not load, faulty examples that do, and YAML that says neither."""
    found = []
    for page, block in _blocks(root):
        place = f"{page.relative_to(root)}, YAML block {block['text'].splitlines()[0]!r}"
        if block["mark"] not in ("recipe", "matrix", "faulty"):
            found.append(f"{place}: mark it as ```yaml recipe, ```yaml matrix or ```yaml faulty")
            continue
        try:
            (validate_matrix if block["mark"] == "matrix" else validate_any)(parse_yaml(block["text"], str(page)), str(page))
        except InputError as error:
            found += [f"{place}: {fault}" for fault in error.faults] if block["mark"] != "faulty" else []
        else:
            found += [f"{place}: is marked as faulty and loads"] if block["mark"] == "faulty" else []
    return found


def _blocks(root: Path) -> Iterator[tuple[Path, re.Match[str]]]:
    for page in pages(root):
        for block in _YAML.finditer(page.read_text("utf-8")):
            yield page, block


def broken_links(root: Path) -> list[str]:
    """Relative links that lead nowhere."""
    return [
        f"{page.relative_to(root)}: the link {match['target']} leads nowhere"
        for page in pages(root)
        for match in _LINK.finditer(_FENCE.sub("", page.read_text("utf-8")))
        if not (page.parent / match["target"]).exists()
    ]


def absent_files(root: Path) -> list[str]:
    """Files of the repository that a page names in `code` and that are not there."""
    return [
        f"{page.relative_to(root)} names {match['path']}, which does not exist"
        for page in pages(root)
        for match in _FILE.finditer(_FENCE.sub("", page.read_text("utf-8")))
        if not (root / match["path"]).exists()
    ]


def placeholders(root: Path) -> list[str]:
    """Places where a page still waits for its content."""
    return [
        f"{page.relative_to(root)}, line {number}: a placeholder is left, {match[0]!r}"
        for page in pages(root)
        for number, line in enumerate(page.read_text("utf-8").splitlines(), 1)
        for match in _PLACEHOLDER.finditer(line)
    ]


def tree_faults(root: Path) -> list[str]:
    """Paths in README's file tree that do not exist, and rooms that it does not name."""
    block = _TREE.search((root / "README.md").read_text("utf-8"))
    if block is None:
        return ["README.md has no file tree after the marker <!-- file tree -->"]
    named = tree_paths(block["text"])
    rooms = sorted(path.parent for path in root.glob("src/tunebench/*/__init__.py"))
    rooms += sorted(path for path in root.glob("src/tunebench/*.py") if path.name != "__init__.py")
    absent = [f"README.md's file tree names {path}, which does not exist" for path in named if not (root / path).exists()]
    return absent + [
        f"README.md's file tree lacks {room.relative_to(root)}" for room in rooms if str(room.relative_to(root)) not in named
    ]


def tree_paths(text: str) -> list[str]:
    """Paths of an indented tree, two spaces a level: the first word of each line."""
    stack: list[str] = []
    found = []
    for line in text.splitlines():
        if line.strip():
            level = (len(line) - len(line.lstrip())) // 2
            stack = [*stack[:level], line.split()[0].rstrip("/")]
            found.append("/".join(stack))
    return found


def _settings(group: type[BaseModel]) -> str:
    own = stages.recipe_schema()["$defs"].get(group.__name__) or group.model_json_schema()
    shared = ADAPTER_KEYS - {"kind"} if group is not adapters.Adapter and issubclass(group, adapters.Adapter) else set()
    rows = []
    for key, field in group.model_fields.items():
        if key in shared:
            continue
        fixed = key == "kind"
        default = "required" if field.is_required() or fixed else _value(own["properties"][key].get("default"))
        meaning = "Chooses the method." if fixed else _meaning(field.description or _group_text(key))
        rows.append((f"`{key}`", _type(own["properties"][key]), default, meaning))
    return _table(("key", "type", "default", "meaning"), rows)


def _group_text(key: str) -> str:
    return f"Settings of their own, see `{key}` below."


def _value(default: Any) -> str:
    if default in (None, {}, []):
        return "–"
    return f"`{json.dumps(default)}`" if not isinstance(default, str) else f"`{default}`"


def _type(schema: dict[str, Any]) -> str:
    """A JSON Schema in a few words."""
    options = schema.get("anyOf") or schema.get("oneOf")
    if options:
        return " or ".join(dict.fromkeys(_type(option) for option in options if option.get("type") != "null"))
    if "$ref" in schema:
        return "settings"
    if "enum" in schema or "const" in schema:
        values = schema.get("enum", [schema.get("const")])
        return ", ".join(f"`{value}`" if isinstance(value, str) else f"`{json.dumps(value)}`" for value in values)
    names = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}
    kind = schema.get("type")
    if kind is None:
        return "values"
    if kind == "array":
        return f"list of {_type(schema['items'])}"
    if kind == "object":
        return f"{_type(schema['additionalProperties'])} by name"
    return names[kind] + _bounds(schema)


def _bounds(schema: dict[str, Any]) -> str:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {schema[key]}".removesuffix(".0") for key, sign in signs.items() if key in schema]
    return f" {', '.join(bounds)}" if bounds else ""


def _meaning(text: str | None) -> str:
    return (text or "").strip().split("\n\n")[0].replace("\n", " ").replace("|", "\\|")


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


if __name__ == "__main__":
    main()
