"""What is made of the findings of a check: gates that pass or fail, and warnings. The limits stand here, and are shown."""

from __future__ import annotations

from collections.abc import Sequence

from tunebench.data.findings import Gate, Shared, SplitFindings, percent
from tunebench.data.scripts import ScriptFindings
from tunebench.errors import listing

MOST_LEAKED = 0.01
MOST_CONTRADICTORY = 0.01
MOST_CUT = 0.5
WORTH_A_WARNING = 0.01
IMBALANCED = 10
MANY_ROWS = 20
MOST_UNKNOWN = 0.1
"""Characters that no model can tell apart: more than typos and rare signs; with a third gone, texts are riddles."""
MOST_BROKEN, COMMON_SCRIPT = 0.3, 0.05
"""Of a script that makes up so much of the texts, the share spelled in bytes or unknown that is warned of: a vocabulary made for
a script leaves a few rare characters (1 % of Han in Gemma's), one that was not nearly all (83 % in SmolLM2's)."""
_LEAK_REMEDY = (
    "rows that were trained on are scored too well: remove them from one of both; where rows belong together (of one film, "
    "by one author), cut the split with data.{}.group_by"
)
_OTHER_BASE = "choose a base whose tokenizer was made for this script; nothing that is trained gives one new tokens"


def gates(
    splits: dict[str, SplitFindings],
    shared: Sequence[Shared],
    look_alikes: Sequence[tuple[str, str]],
    refused: Sequence[str],
    scripts: Sequence[ScriptFindings],
) -> list[Gate]:
    """Every gate that the recipe has something for; splits and labels that are not there have none."""
    train = splits["train"]
    contradictory = train.contradictory / max(1, train.rows)
    found = [_count("reasons why train would refuse", refused, "correct or remove these rows; `train` lists them by number")]
    found += [
        _share(f"{item.later} rows that stand in train", item.share, MOST_LEAKED, _LEAK_REMEDY.format(item.later))
        for item in shared
        if item.earlier == "train"
    ]
    if is_labelled(train):
        remedy = "decide for one label per text, or remove these rows"
        found.append(_share("train rows whose text stands under another label too", contradictory, MOST_CONTRADICTORY, remedy))
        found.append(_count("labels that look like another one", look_alikes, "write every label in one way"))
    if train.lengths.cut is not None:
        remedy = "raise base.max_length, or keep another part of the texts with base.truncation_side"
        found.append(_share("train rows cut at max_length", train.lengths.cut_share, MOST_CUT, remedy))
    if scripts:
        unknown = sum(item.share * item.unknown for item in scripts)
        found.append(_share("characters that the base's tokenizer does not know", unknown, MOST_UNKNOWN, _OTHER_BASE))
    return found


def is_labelled(part: SplitFindings) -> bool:
    """Say whether the rows have labels; documents and conversations have none."""
    return "" not in part.labels


def _count(name: str, found: Sequence[object], remedy: str) -> Gate:
    return Gate(name, len(found), 0, is_share=False, remedy=remedy)


def _share(name: str, value: float, limit: float, remedy: str) -> Gate:
    return Gate(name, value, limit, is_share=True, remedy=remedy)


def warnings(splits: dict[str, SplitFindings], shared: Sequence[Shared], scripts: Sequence[ScriptFindings]) -> list[str]:
    """What a user should look at and no gate holds."""
    train = splits["train"]
    labels = _label_warnings(splits) if is_labelled(train) else []
    return [*_repeated(splits, shared), *labels, *_cut_warnings(train), *_script_warnings(scripts)]


def _repeated(splits: dict[str, SplitFindings], shared: Sequence[Shared]) -> list[str]:
    found = []
    for name, part in splits.items():
        if part.repeated > WORTH_A_WARNING * part.rows:
            found.append(f"{name}: {_of(part.repeated, part)} have a text that an earlier row has")
        if name != "train" and part.contradictory > WORTH_A_WARNING * part.rows:
            found.append(f"{name}: {_of(part.contradictory, part)} have a text that also stands under another label")
    return found + [
        f"{item.later}: {percent(item.share)} of the rows stand in {item.earlier}, which chooses the best checkpoint"
        for item in shared
        if item.earlier == "validation" and item.share > WORTH_A_WARNING
    ]


def _of(rows: int, part: SplitFindings) -> str:
    return f"{rows:,} of {part.rows:,} rows ({percent(rows / part.rows)})"


def _label_warnings(splits: dict[str, SplitFindings]) -> list[str]:
    train = splits["train"].labels
    once = [name for name, count in train.items() if count == 1]
    found = [f"train: one row only for {listing(map(repr, once), 6)}; nothing can be learnt from it"] if once else []
    for name, part in splits.items():
        if lacking := [label for label in train if label not in part.labels]:
            found.append(f"{name}: no row has the label {listing(map(repr, lacking), 6)}, so it is not scored there")
    if 2 * len(train) > splits["train"].rows >= MANY_ROWS:
        found.append(f"train: {len(train):,} labels for {splits['train'].rows:,} rows; is data.label the right column?")
    most, least = max(train.values(), default=0), min(train.values(), default=0)
    if most > IMBALANCED * least:
        found.append(
            f"train: the largest label has {most / least:,.0f} times the rows of the smallest; look at f1_macro, and consider "
            "train.class_weight: balanced"
        )
    return found


def _cut_warnings(train: SplitFindings) -> list[str]:
    share = train.lengths.cut_share
    if not train.lengths.cut or share <= WORTH_A_WARNING:
        return []
    shares = {label: cut / max(1, train.lengths.measured[label]) for label, cut in train.lengths.cut.items()}
    worst = max(shares, key=lambda label: shares[label])
    which = f"; worst is {worst!r} with {percent(shares[worst])}" if is_labelled(train) else ""
    return [f"train: {percent(share)} of the rows are cut at max_length{which}"]


def _script_warnings(scripts: Sequence[ScriptFindings]) -> list[str]:
    found = []
    for item in scripts:
        if item.share >= COMMON_SCRIPT and item.in_bytes + item.unknown > MOST_BROKEN:
            broken = [f"{percent(item.in_bytes)} in bytes"] if item.in_bytes else []
            broken += [f"{percent(item.unknown)} unknown"] if item.unknown else []
            found.append(
                f"the base hardly reads {item.script}, {percent(item.share)} of the characters: {' and '.join(broken)}, "
                f"{item.tokens:.1f} tokens per character; {_OTHER_BASE}"
            )
    return found
