"""What is made of the findings of a check: gates that pass or fail, and warnings. The limits stand here, and are shown."""

from __future__ import annotations

from collections.abc import Sequence

from tunebench.data.findings import Gate, Shared, SplitFindings, percent
from tunebench.errors import listing

MOST_LEAKED = 0.01
MOST_CONTRADICTORY = 0.01
MOST_CUT = 0.5
WORTH_A_WARNING = 0.01
IMBALANCED = 10
MANY_ROWS = 20


def gates(
    splits: dict[str, SplitFindings], shared: Sequence[Shared], look_alikes: Sequence[tuple[str, str]], refused: Sequence[str]
) -> list[Gate]:
    """Every gate that the recipe has something for; splits that are not there have none."""
    train = splits["train"]
    found = [Gate("reasons why train would refuse", len(refused), 0, is_share=False)]
    found += [
        Gate(f"{item.later} rows that stand in train", item.share, MOST_LEAKED, is_share=True)
        for item in shared
        if item.earlier == "train"
    ]
    contradictory = train.contradictory / max(1, train.rows)
    found.append(Gate("train rows whose text stands under another label too", contradictory, MOST_CONTRADICTORY, is_share=True))
    found.append(Gate("labels that look like another one", len(look_alikes), 0, is_share=False))
    if train.lengths.cut is not None:
        found.append(Gate("train rows cut at max_length", train.lengths.cut_share, MOST_CUT, is_share=True))
    return found


def warnings(splits: dict[str, SplitFindings], shared: Sequence[Shared]) -> list[str]:
    """What a user should look at and no gate holds."""
    train = splits["train"]
    return [*_repeated(splits, shared), *_label_warnings(splits), *_cut_warnings(train)]


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
    return [f"train: {percent(share)} of the rows are cut at max_length; worst is {worst!r} with {percent(shares[worst])}"]
