"""A whole file, labelled by one run: chosen, under way, done."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from tunebench.app import batch, children
from tunebench.app.answers import is_calibrated, label_shown
from tunebench.app.state import own_folder, runs_folder
from tunebench.app.uploads import keep
from tunebench.app.words import language, say
from tunebench.compare.shown import count
from tunebench.data.readers import FORMATS
from tunebench.errors import TunebenchError
from tunebench.runs.run import Run

_PREVIEWED = 200


def draw_batch(runs: dict[str, Run]) -> None:
    """The tab: a file, the run that answers, the column, then the work and its table."""
    name = next(iter(runs))
    if len(runs) > 1:
        name = st.selectbox(say("try_it.file_run"), list(runs), key="try_it.batch_run")
    endings = [ending.removeprefix(".") for ending in FORMATS]
    given = st.file_uploader(say("try_it.file"), endings, key="try_it.file")
    if given is None:
        st.caption(say("try_it.file_hint"))
        return
    run = runs[name]
    try:
        file = keep(own_folder("uploads"), given.name, given.getvalue())
        columns, own = batch.columns_of(file, run.recipe)
        rows = _count(str(file))
    except (TunebenchError, OSError) as error:
        st.error(say("try_it.file_refused"))
        st.code(str(error), language=None, wrap_lines=True)
        return
    text = None
    if run.recipe.task != "multiple-choice":
        place = columns.index(own) if own else 0
        text = st.selectbox(say("try_it.column"), columns, index=place, key=f"try_it.column.{file.parent.name}")
    use = is_calibrated(run) and st.toggle(
        say("try_it.calibrated"), key="try_it.batch_calibrated", help=say("try_it.calibrated_help")
    )
    if rows is not None:
        st.caption(say("try_it.rows_in", rows=count(rows)))
    folder = batch.batch_folder(own_folder("batches"), run, file, text, calibrated=use)
    command = batch.arguments(run, runs_folder(), file, text, folder, calibrated=use)
    _work(folder, command, rows, run, text)


def _work(folder: Path, command: list[str], rows: int | None, run: Run, text: str | None) -> None:
    """What there is to see of a batch: its table, its progress, or the button that begins it."""
    if (folder / batch.ANSWERS).is_file():
        _draw_table(folder, run, text)
        return
    if children.is_at_work(folder):
        _watch(folder, rows)
        return
    if (told := children.fault(folder)) is not None:
        st.error(say("try_it.batch_failed"))
        st.code(told, language=None, wrap_lines=True)
    if st.button(say("try_it.start"), type="primary", key="try_it.start"):
        children.begin(folder, command)
        st.rerun()


@st.fragment(run_every=1)
def _watch(folder: Path, rows: int | None) -> None:
    """The progress of a batch, read again every second."""
    if not children.is_at_work(folder):
        st.rerun()
    done = batch.rows_done(folder)
    if rows:
        st.progress(min(1.0, done / rows), text=say("try_it.working", done=count(done), rows=count(rows)))
    else:
        st.progress(0.0, text=say("try_it.working_open", done=count(done)))
    if st.button(say("try_it.stop"), key="try_it.stop"):
        children.stop(folder)
        st.toast(say("try_it.stopped"))
        st.rerun()


def _draw_table(folder: Path, run: Run, text: str | None) -> None:
    """How many rows got which label, the first rows, and the whole as a download."""
    try:
        found, rows = _counts(str(folder)), list(batch.answered(folder, _PREVIEWED))
        whole = batch.table(folder)
    except (OSError, ValueError, KeyError) as error:
        st.error(say("try_it.batch_failed"))
        st.code(str(error), language=None, wrap_lines=True)
        return
    display = run.manifest["labels"]["display"]
    st.success(say("try_it.done", rows=count(sum(found.values()))), icon=":material/check:")
    table = [
        {"label": label_shown(display, label, language()) if label else say("try_it.without"), "rows": number}
        for label, number in sorted(found.items(), key=lambda item: -item[1])
    ]
    config = {"label": say("try_it.predicted"), "rows": say("try_it.rows")}
    st.dataframe(table, column_config=config, hide_index=True, width="content")
    help_ = say("try_it.download_help")
    st.download_button(
        say("try_it.download"), whole.read_bytes, "predictions.csv", "text/csv", help=help_, type="primary", on_click="ignore"
    )
    if rows:
        st.caption(say("try_it.preview", number=count(len(rows))))
        names = batch.shown_columns(rows, text)
        chances = [name for name in names if name.startswith("probability_")]
        formats = {name: st.column_config.NumberColumn(format="%.4f") for name in chances}
        st.dataframe(rows, column_order=names, column_config=formats, hide_index=True)


@st.cache_data(max_entries=50, show_spinner=False)
def _count(path: str) -> int | None:
    return batch.count_rows(Path(path))


@st.cache_data(max_entries=50, show_spinner=False)
def _counts(folder: str) -> dict[str, int]:
    return batch.counts(Path(folder))
