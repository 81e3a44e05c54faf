"""Where rows come from: files, folders, hub data sets, splits cut by the recipe, and which columns matter."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from tunebench.recipe.closed import Label, Spec


class Fraction(Spec):
    """A split that is cut out of the training file."""

    fraction: float = Field(
        gt=0, lt=1, description="Share of the training rows; the test split is cut first, validation from what is left."
    )
    stratify: bool = Field(False, description="Keep the share of every label equal.")
    group_by: str | None = Field(None, description="Column whose values stay together on one side, such as `movie`.")

    @model_validator(mode="after")
    def _one_way(self) -> Fraction:
        if self.stratify and self.group_by:
            raise ValueError("stratify and group_by exclude each other; choose one")
        return self


Choices = Annotated[list[str], Field(min_length=2, max_length=8)]


class SplitFile(Spec):
    """A file whose columns, encoding or delimiter are not those of the other splits."""

    file: str = Field(description="The file or folder, or with `data.dataset` the name of its split.", min_length=1)
    text: str | None = Field(None, description="Column with the text, where it is not `data.text`.")
    label: str | None = Field(None, description="Column with the label, where it is not `data.label`.")
    passage: str | None = Field(None, description="Column with the passage, where it is not `data.passage`.")
    question: str | None = Field(None, description="Column with the question, where it is not `data.question`.")
    choices: Choices | None = Field(None, description="Columns with the options, where they are not `data.choices`.")
    answer: str | None = Field(None, description="Column with the answer, where it is not `data.answer`.")
    id: str | None = Field(None, description="Column that identifies a row, where it is not `data.id`.")
    encoding: str | None = Field(None, description="Encoding of this file, where it is not `data.encoding`.")
    delimiter: str | None = Field(
        None, description="Delimiter of this file, where it is not `data.delimiter`.", min_length=1, max_length=1
    )


def _split_tag(value: Any) -> str:
    if isinstance(value, str):
        return "path"
    if isinstance(value, SplitFile) or (isinstance(value, dict) and "file" in value):
        return "file"
    return "fraction"


Path = Annotated[str, Field(min_length=1)]
Source = Annotated[Annotated[Path, Tag("path")] | Annotated[SplitFile, Tag("file")], Discriminator(_split_tag)]
Split = Annotated[
    Annotated[Path, Tag("path")] | Annotated[SplitFile, Tag("file")] | Annotated[Fraction, Tag("fraction")],
    Discriminator(_split_tag),
]


class Clean(Spec):
    """What is done to every text before anything else sees it, in training and in every later prediction.

    From ``merge_by`` on the settings are about whole corpora, and belong to ``task: language-modeling``.
    """

    html: Literal["keep", "strip"] = Field(
        "keep", description="`strip` turns tags such as `<br />` into spaces and entities such as `&amp;` into characters."
    )
    urls: Literal["keep", "drop"] = Field("keep", description="`drop` takes addresses such as `https://…` and `www.…` out.")
    paragraph_numbers: Literal["keep", "drop"] = Field(
        "keep", description="`drop` takes the numbering off the beginning of paragraphs: `12.`, `(3)`, `三、`, `第 4 段`."
    )
    punctuation: Literal["keep", "normalize"] = Field(
        "keep",
        description="`normalize` brings text into NFC, full-width letters and digits to half width, and marks beside Han "
        "characters to full width.",
    )
    merge_by: list[str] | None = Field(
        None, description="Rows that agree in these columns are paragraphs of one document.", min_length=1
    )
    order_by: str | None = Field(None, description="Column that orders the paragraphs of a document; needs `merge_by`.")
    min_chars: int | None = Field(None, ge=1, description="Shorter documents are dropped.")
    max_chars: int | None = Field(None, ge=2, description="Longer documents are split at ends of sentences.")
    deduplicate: bool = Field(False, description="Drop documents that stand there before, word for word or nearly.")

    @model_validator(mode="after")
    def _sizes(self) -> Clean:
        if self.order_by is not None and self.merge_by is None:
            raise ValueError("order_by orders the rows that merge_by puts together; give both, or neither")
        if self.min_chars is not None and self.max_chars is not None and self.min_chars * 2 > self.max_chars:
            raise ValueError("max_chars: at least twice min_chars, or splitting leaves pieces that are dropped")
        return self

    @property
    def corpus_keys(self) -> list[str]:
        """The settings made use of here that only a corpus has."""
        keys = ("merge_by", "order_by", "min_chars", "max_chars", "deduplicate")
        return [key for key in keys if getattr(self, key) not in (None, False)]


SPLITS = ("train", "validation", "test", "predict")
COLUMNS = ("text", "label", "passage", "question", "choices", "answer", "id", "encoding", "delimiter")
"""How a split's files are read: what a split may say for itself, where it is not as for all."""


class Data(Spec):
    """Where the rows come from and which columns matter."""

    dataset: str | None = Field(
        None, description="Hub data set such as `stanfordnlp/imdb`; the splits below are then names of its splits."
    )
    dataset_config: str | None = Field(None, description="Configuration (subset) of the hub data set.")
    dataset_revision: str | None = Field(None, description="Hub revision (branch, tag or commit) of the data set.")
    train: Source = Field(
        description="Training file (CSV, TSV, JSON list, JSONL, Parquet), or a folder with one folder of texts per label, "
        "relative to the recipe; of language-modeling also a folder of .txt files, or a pattern such as `news/*.json`; or "
        "`starter:reviews`; or {file: …} with columns of its own."
    )
    validation: Split | None = Field(None, description="File, or a fraction of the training file; chooses the best checkpoint.")
    test: Split | None = Field(None, description="File, or a fraction of the training file; scored once, at the end.")
    predict: Source | None = Field(
        None, description="File to answer at the end, into `answers.csv`; it needs no labels and is never scored."
    )
    text: str = Field("text", description="Column with the text.")
    label: str = Field("label", description="Column with the label; labels are names, numbers are read as names.")
    passage: str = Field("passage", description="Of multiple-choice: column with the passage.")
    question: str = Field("question", description="Of multiple-choice: column with the question.")
    choices: Choices | None = Field(None, description="Of multiple-choice: the columns with the options, 2 to 8, in order.")
    answer: str = Field("answer", description="Of multiple-choice: column with the number of the right option, from 1.")
    id: str | None = Field(None, description="Column that identifies a row; row numbers are used without it.")
    encoding: str | None = Field(None, description="Encoding of text files, such as `cp1252`; found out without it.")
    delimiter: str | None = Field(
        None, description="Delimiter of CSV files, such as `;`; found out without it.", min_length=1, max_length=1
    )
    clean: Clean = Field(default_factory=Clean, description="What is done to every text first.")
    max_train_samples: int | None = Field(None, ge=1, description="Train on this many of the training rows, drawn by the seed.")
    seed: int | None = Field(
        None,
        ge=0,
        lt=2**32,
        description="Draws splits and samples, where that is not the recipe's `seed`: with one of its own, runs of several seeds "
        "have the same rows.",
    )
    positive_label: Label | None = Field(None, description="Of two labels, the one that precision, recall and F1 speak of.")
    label_names: dict[str, str | dict[str, str]] = Field(
        default_factory=dict,
        description="Display name per label, or per label and language ({positive: {en: Positive, zh-TW: 正面}}); "
        "changes display only.",
    )

    @model_validator(mode="after")
    def _two_columns(self) -> Data:
        if self.text == self.label:
            raise ValueError(f"text and label are both the column {self.text!r}; name the column that holds the labels")
        return self

    @model_validator(mode="after")
    def _dataset_settings(self) -> Data:
        if self.dataset is None and (self.dataset_config is not None or self.dataset_revision is not None):
            raise ValueError("dataset_config and dataset_revision belong to dataset; name the hub data set, or remove them")
        return self

    def choice_faults(self) -> list[str]:
        """What multiple-choice lacks here: the columns with the options, as many in every split."""
        sources = {name: source for name in SPLITS if (source := self.source(name)) is not None}
        faults = [
            f"data.{name}: which columns hold the options? give choices: [option 1, option 2, …], there or under data"
            for name, source in sources.items()
            if source.choices is None
        ]
        counts = {name: len(source.choices) for name, source in sources.items() if source.choices is not None}
        if len(set(counts.values())) > 1:
            found = ", ".join(f"{count} in {name}" for name, count in counts.items())
            faults.append(f"data.choices: as many options in every split, found {found}")
        faults += [
            f"data.{name}: the columns of passage, question, options and answer are all different ones, found one twice"
            for name, source in sources.items()
            if source.choices and len({source.passage, source.question, source.answer, *source.choices}) < 3 + len(source.choices)
        ]
        return faults

    def source(self, split: str) -> SplitFile | None:
        """Where the rows of a split stand and how they are read, complete; None for a split that is cut or absent."""
        value = getattr(self, split)
        if value is None or isinstance(value, Fraction):
            return None
        own = value if isinstance(value, SplitFile) else SplitFile(file=value)
        shared = {key: getattr(self, key) for key in COLUMNS}
        return own.model_copy(update={key: getattr(own, key) or shared[key] for key in shared})
