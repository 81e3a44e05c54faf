"""What tunebench is and what the runs here show: fit to present from. With no runs yet, the way to the first ones."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from tunebench.app import overview_figures, starter_comparison
from tunebench.app.parameter_counts import BERT, Counting
from tunebench.app.plots import CONFIG
from tunebench.app.standing import Conclusion, Standing, as_compared, boards, comparisons, conclude, standings
from tunebench.app.state import asking, run_lines, runs_folder
from tunebench.app.words import plain, say
from tunebench.compare.shown import brief, count, duration, figure, percent, short, size, times
from tunebench.compare.statements import told_p
from tunebench.detached.job import Job
from tunebench.detached.queue import STUDIO, jobs, resubmit, stop, submit
from tunebench.errors import TunebenchError

_STEPS = (("data", "table_view"), ("training", "model_training"), ("compare", "balance"), ("runs", "inventory_2"))
_LORA = r"W' = W + \tfrac{\alpha}{r}\,B A \\ B \in \mathbb{R}^{d \times r},\; A \in \mathbb{R}^{r \times k}"
_IA3 = r"k' = l_k \odot k,\; v' = l_v \odot v \\ h' = W_2\,(l_{\mathrm{ff}} \odot \gamma(W_1 x))"


def show() -> None:
    """Draw the page."""
    st.title(say("overview.title"))
    st.markdown(say("overview.purpose"))
    lines = run_lines()
    found = boards(standings(lines))
    job = next((job for job in jobs(runs_folder()) if job.kind == starter_comparison.KIND), None)
    if job is not None and job.is_live():
        st.header(say("overview.starter"))
        _progress(job)
    elif not found or (job is not None and job.state() != "finished"):
        _first_run(job, 0 if found else len(lines))
    if found:
        _results(found, len(lines))
    _architecture()
    _methods()
    _parameters()


def _first_run(job: Job | None, others: int) -> None:
    """The button that starts the starter comparison, and what became of it where it was started before."""
    st.header(say("overview.begin"))
    if others:
        st.markdown(say("overview.none_scored", number=others))
    state = job.state() if job is not None else None
    if job is not None and state != "finished":
        show_state = st.error if state == "failed" else st.info
        show_state(say(f"overview.starter_{state}"))
        with st.expander(say("overview.log"), expanded=state == "failed"):
            st.code(job.log_tail(12), language=None, wrap_lines=True)
    if fault := st.session_state.pop("overview_fault", None):
        st.error(say("overview.fault"), icon=":material/error:")
        st.code(fault, language=None, wrap_lines=True)
    st.markdown(say("overview.begin_text"))
    st.button(say("overview.start"), type="primary", icon=":material/play_arrow:", key="overview_start", on_click=_start)
    st.caption(say("overview.begin_note"))


def _start() -> None:
    runs = runs_folder()
    try:
        known = next((job for job in jobs(runs) if job.kind == starter_comparison.KIND), None)
        if known is None or known.state() == "finished":
            submit(runs, starter_comparison.commands(runs), kind=starter_comparison.KIND, run=None)
        elif not known.is_live():
            resubmit(known)
    except (TunebenchError, OSError) as error:
        st.session_state["overview_fault"] = str(error)


@st.fragment(run_every=2)
def _progress(job: Job) -> None:
    """The trainings of the starter comparison as they appear; the page is drawn anew when it has ended."""
    state = job.state()
    if not job.is_live():
        st.rerun()
    found = starter_comparison.cells(runs_folder())
    finished = sum(cell.state == "finished" for cell in found)
    before = st.session_state.get("overview_finished", finished)
    st.session_state["overview_finished"] = finished
    if finished != before:  # there is one more to conclude from
        st.rerun()
    done = sum(cell.done for cell in found) / len(found)
    st.progress(done, text=say(f"overview.progress_{state}", done=finished, total=len(found)))
    st.dataframe(
        {
            say("overview.run"): [cell.run for cell in found],
            say("overview.state"): [say(f"overview.state_{cell.state}") for cell in found],
            say("overview.done"): [cell.done for cell in found],
            say("overview.accuracy"): [None if cell.accuracy is None else figure(cell.accuracy) for cell in found],
        },
        column_config={say("overview.done"): st.column_config.ProgressColumn(format="percent", min_value=0, max_value=1)},
        hide_index=True,
        placeholder="–",
        alt=say("overview.progress_alt"),
    )
    st.button(say("overview.stop"), icon=":material/stop:", key="overview_stop", on_click=_stop, args=(job,))
    st.caption(say("overview.goes_on"))
    with st.expander(say("overview.log")):
        st.code(job.log_tail(20) or "…", language=None, wrap_lines=True)


def _stop(job: Job) -> None:
    try:
        stop(job)
    except (TunebenchError, OSError) as error:
        st.session_state["overview_fault"] = str(error)


def _results(found: Sequence[Sequence[Standing]], runs: int) -> None:
    """The conclusion, its figures, and all runs that were scored on the same rows."""
    st.header(say("overview.results"))
    board = found[0]
    if len(found) > 1:
        chosen = st.selectbox(
            say("overview.test_rows"), range(len(found)), format_func=lambda i: _board_name(found[i]), key="overview_board"
        )
        board = found[chosen]
    folder = runs_folder()
    places = [folder / "comparison.json", *(folder / STUDIO / "comparisons").glob("*/comparison.json")]
    known = comparisons(places)
    board = as_compared(board, known)
    concluded = conclude(board, known)
    _key_figures(concluded, board, runs)
    st.markdown(sentence(concluded))
    if concluded.close:
        names = ", ".join(plain(short(name)) for name in concluded.close[:5])
        st.markdown(say("overview.close", names=names + ("…" if len(concluded.close) > 5 else "")))
    chart = overview_figures.accuracies(
        board, tuned=say("overview.tuned"), baseline=say("overview.baseline"), axis=say("overview.accuracy_axis")
    )
    st.plotly_chart(chart, key="overview_accuracies", config=CONFIG, alt=sentence(concluded))
    if len(board) > overview_figures.MOST_SHOWN:
        st.caption(say("overview.chart_cut", shown=overview_figures.MOST_SHOWN, total=len(board)))
    _board_table(board)
    for name, icon in (("compare", "balance"), ("try_it", "chat")):
        st.page_link(f"views/{name}.py", label=say(f"overview.to_{name}"), icon=f":material/{icon}:")


def _board_name(board: Sequence[Standing]) -> str:
    return say("overview.board", runs=len(board), rows=count(board[0].rows), best=board[0].run)


def _key_figures(found: Conclusion, board: Sequence[Standing], runs: int) -> None:
    best = board[0]
    above = "–" if found.difference is None else f"{100 * found.difference:+.1f}"
    told = "" if found.difference is None else say("overview.not_tested") if found.p is None else _points(found.low, found.high)
    figures = (
        (say("overview.best_accuracy"), figure(found.best.value), interval(found.best.low, found.best.high)),
        (say("overview.above"), above, told),
        (say("overview.trained"), "–" if best.trainable is None else brief(best.trainable), plain(short(best.run))),
        (say("overview.runs"), count(runs), say("overview.runs_here", rows=count(found.rows), number=len(board))),
    )
    for column, (name, value, beside) in zip(st.columns(4), figures, strict=True):
        with column.container(border=True, height="stretch"):
            st.metric(name, value)
            st.caption(beside)


def sentence(found: Conclusion) -> str:
    """The conclusion in one sentence: the best run with its interval, its distance from the baseline, and what that shows."""
    values = {"run": plain(found.best.name), "accuracy": figure(found.best.value), "rows": count(found.rows)}
    first = say("overview.best", interval=interval(found.best.low, found.best.high), **values)
    if found.bar is None or found.difference is None:
        return first + say(f"overview.verdict_{found.verdict}")
    values = {"bar": plain(found.bar.name), "accuracy": figure(found.bar.value), "points": f"{100 * abs(found.difference):.1f}"}
    if found.p is not None:
        values |= {"difference": _points(found.low, found.high), "p": plain(told_p(found.p))}
    return first + say(f"overview.verdict_{found.verdict}", interval=interval(found.bar.low, found.bar.high), **values)


def interval(low: float, high: float) -> str:
    """A 95 % interval of shares for where Markdown is read."""
    return rf"\[{low:.3f}, {high:.3f}\]"


def _points(low: float | None, high: float | None) -> str:
    """The same of a difference, in percentage points."""
    return rf"\[{100 * (low or 0.0):.1f}, {100 * (high or 0.0):.1f}\]"


def _board_table(board: Sequence[Standing]) -> None:
    st.dataframe(
        {
            say("overview.run"): [one.run for one in board],
            say("overview.method"): [one.method for one in board],
            say("overview.base"): [one.base for one in board],
            say("overview.accuracy"): [one.score.value for one in board],
            say("overview.interval"): [f"[{one.score.low:.3f}, {one.score.high:.3f}]" for one in board],
            say("overview.weights"): [one.trainable for one in board],
            say("overview.time"): [duration(one.seconds) for one in board],
        },
        column_config={
            say("overview.accuracy"): st.column_config.NumberColumn(format="%.4f"),
            say("overview.weights"): st.column_config.NumberColumn(format="localized"),
        },
        hide_index=True,
        placeholder="–",
        alt=say("overview.table_alt"),
    )


def _architecture() -> None:
    st.header(say("overview.how"))
    st.markdown(say("overview.architecture"))
    for column, (name, icon) in zip(st.columns(len(_STEPS)), _STEPS, strict=True):
        with column.container(border=True, height="stretch"):
            st.page_link(f"views/{name}.py", label=say(f"main.{name}"), icon=f":material/{icon}:")
            st.caption(say(f"overview.step_{name}"))


def _methods() -> None:
    st.header(say("overview.methods"))
    told = (("LoRA", _LORA, say("overview.lora")), ("IA3", _IA3, say("overview.ia3")))
    for column, (name, formula, words) in zip(st.columns(2), told, strict=True):
        with column:
            st.subheader(name)
            st.latex(formula)
            st.markdown(words)


def _parameters() -> None:
    """What methods cost: counted in the background at the first visit, as that takes seconds."""
    st.header(say("overview.parameters"))
    st.markdown(say("overview.parameters_text"))
    if _counting().is_done():
        _counted()
    else:
        _count_on()


@st.cache_resource
def _counting() -> Counting:
    return Counting(asking().params)


@st.fragment(run_every=1)
def _count_on() -> None:
    if _counting().is_done():
        st.rerun()
    st.caption(say("overview.counting"))
    if _counting().counts:
        _count_table()


def _counted() -> None:
    if error := _counting().error:
        st.warning(say("overview.not_counted"), icon=":material/warning:")
        st.code(error, language=None, wrap_lines=True)
        st.button(say("overview.again"), key="overview_again", on_click=_counting.clear)
    if not _counting().counts:
        return
    _count_table()
    scales = {name: say(f"overview.scale_{name}") for name in ("log", "linear")}
    chosen = st.segmented_control(
        say("overview.scale"), list(scales), default="log", format_func=scales.__getitem__, required=True, key="overview_scale"
    )
    bert = [one for one in _counting().counts if one.case.base == BERT]
    chart = overview_figures.trained_weights(bert, logarithmic=chosen == "log", axis=say("overview.weights_axis", base=BERT))
    st.plotly_chart(chart, key="overview_weights", config=CONFIG, alt=say("overview.weights_alt", base=BERT))
    st.caption(say(f"overview.scale_{chosen}_note"))


def _count_table() -> None:
    counts = list(_counting().counts)
    st.dataframe(
        {
            say("overview.base"): [one.case.base for one in counts],
            say("overview.method"): [one.case.name for one in counts],
            say("overview.weights"): [one.weights for one in counts],
            say("overview.with_head"): [one.trainable for one in counts],
            say("overview.share"): [percent(100 * one.trainable / one.total) for one in counts],
            say("overview.fewer"): [times(one.times_fewer) for one in counts],
            say("overview.saved"): [size(one.saved_bytes) for one in counts],
        },
        column_config={
            name: st.column_config.NumberColumn(format="localized")
            for name in (say("overview.weights"), say("overview.with_head"))
        },
        hide_index=True,
        alt=say("overview.parameters_alt"),
    )


if __name__ == "__main__":
    show()
