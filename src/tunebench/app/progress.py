"""The jobs of the runs folder on the page Training lab: what runs, what waits, how far it is, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import streamlit as st

from tunebench.app.live import Follower, Live
from tunebench.app.live_plots import loss_figure, score_figure, step_figure
from tunebench.app.memory import in_use
from tunebench.app.refusal import refuse
from tunebench.app.state import runs_folder
from tunebench.app.words import plain, say
from tunebench.compare.shown import duration, figure, size
from tunebench.detached.queue import Job, jobs, resubmit, stop
from tunebench.errors import TunebenchError
from tunebench.runs.index import run_at
from tunebench.runs.run import STAGES

_ALIVE = ("waiting", "running")
_MOST_JOBS = 50
_LOG_LINES = 40
_EVERY = 2.0
"""Seconds between two looks at a job."""


def draw_jobs() -> None:
    """The jobs, looked at again every few seconds while one is alive."""
    found = jobs(runs_folder())[:_MOST_JOBS]
    if found:
        alive = any(job.state() in _ALIVE for job in found)
        st.divider()
        st.header(say("training.jobs"))
        st.fragment(_panel, run_every=_EVERY if alive else None)(alive)


def _panel(was_alive: bool) -> None:  # noqa: FBT001 - what a fragment is called with
    states = {job.number: (job, job.state()) for job in jobs(runs_folder())[:_MOST_JOBS]}
    if not states:
        return
    if was_alive and not any(state in _ALIVE for _, state in states.values()):
        st.rerun()  # once more as a whole: a run has ended, and nothing is polled from here on
    _queue(states)
    if st.session_state.get("training.job") not in states:
        running = [number for number, (_, state) in states.items() if state == "running"]
        watched = st.session_state.get("training.watched")
        st.session_state["training.job"] = watched if watched in states else (running or list(states))[0]
    titles = {number: f"{number} · {job.run or job.kind}" for number, (job, _) in states.items()}
    chosen = st.selectbox(say("training.job"), list(titles), format_func=titles.__getitem__, key="training.job", width=480)
    st.session_state["training.watched"] = chosen
    _job(*states[chosen])


def _queue(states: Mapping[int, tuple[Job, str]]) -> None:
    """Who waits, in the order of their turn."""
    waiting = sorted(number for number, (_, state) in states.items() if state == "waiting")
    for place, number in enumerate(waiting, 1):
        job, left, right = states[number][0], *st.columns([4, 1], vertical_alignment="center")
        left.markdown(say("training.place", place=place, name=plain(job.run or job.kind)))
        if right.button(say("training.take_back"), key=f"training.back.{number}", width="stretch"):
            _act(partial(stop, job))


def _act(what: Callable[[], object]) -> None:
    try:
        what()
    except (TunebenchError, OSError) as error:
        refuse("training.refused", error)
    else:
        st.rerun()


def _job(job: Job, state: str) -> None:
    live = _live(job)
    left, right = st.columns([4, 1], vertical_alignment="center")
    with left:
        _state(live, state)
    with right:
        if state == "running" and st.button(
            say("training.stop"), icon=":material/stop:", key=f"training.stop.{job.number}", width="stretch"
        ):
            st.session_state["training.stopping"] = job.number
            _act(partial(stop, job))
        if state in ("stopped", "interrupted", "failed") and st.button(
            say("training.continue"),
            icon=":material/play_arrow:",
            type="primary",
            key=f"training.continue.{job.number}",
            width="stretch",
        ):
            _act(partial(_go_on, job))
    if state == "running" and st.session_state.get("training.stopping") == job.number:
        st.caption(say("training.stopping"))
    if state == "finished" and job.run:
        _result(job.run)
    if live.steps or live.evaluations:
        _figures(live, job, state)
        _curves(live, job.number)
    for warning in live.warnings:
        st.warning(plain(warning), icon=":material/warning:")
    with st.expander(say("training.log"), expanded=state in ("failed", "interrupted")):
        st.code(job.log_tail(_LOG_LINES) or say("training.log_empty"), language=None, wrap_lines=True)


def _go_on(job: Job) -> None:
    st.session_state["training.watched"] = resubmit(job).number
    del st.session_state["training.job"]


def _state(live: Live, state: str) -> None:
    if state == "running":
        left = live.seconds_left()
        done = say("training.steps", step=f"{live.step:,}", total=f"{live.total_steps:,}") if live.total_steps else ""
        told = [say(f"training.phase_{live.phase}"), done, "" if left is None else say("training.left", time=duration(left))]
        st.progress(live.share, " · ".join(filter(None, told)))
    elif state == "finished":
        st.success(say("training.done"), icon=":material/check_circle:")
    elif state == "failed":
        st.error(say("training.did_fail"), icon=":material/error:")
        if live.error:
            st.code(live.error, language=None, wrap_lines=True)
    else:
        st.info(say(f"training.is_{state}"), icon=":material/info:")


def _figures(live: Live, job: Job, state: str) -> None:
    last, best = live.steps[-1] if live.steps else None, next((item for item in reversed(live.evaluations) if item.best), None)
    score = next(((name, best.scores[name]) for name in ("accuracy", "loss") if best and name in best.scores), None)
    cells = [
        (say("training.loss"), figure(last.loss if last else None)),
        (say("training.best", name=score[0] if score else "accuracy"), figure(score[1] if score else None)),
        (say("training.learning_rate"), f"{last.learning_rate:.2e}" if last else figure(None)),
        (say("training.grad_norm"), figure(last.grad_norm if last else None, 2)),
    ]
    if state == "running" and job.run:
        cells.append((say("training.memory"), size(in_use(runs_folder() / job.run))))
    with st.container(horizontal=True, gap="medium"):
        for title, value in cells:
            st.metric(title, value, width="content")


def _curves(live: Live, number: int) -> None:
    said = {
        name: say(f"training.{name}")
        for name in ("step", "loss", "raw", "train", "validation", "score", "grad_norm", "learning_rate")
    }
    left, right = st.columns(2)
    left.plotly_chart(loss_figure(live, said), key=f"training.plot.loss.{number}")
    if live.evaluations:
        right.plotly_chart(score_figure(live, said), key=f"training.plot.score.{number}")
    else:
        right.info(say("training.no_scores"), icon=":material/hourglass_empty:")
    left, right = st.columns(2)
    left.plotly_chart(step_figure(live, "grad_norm", said), key=f"training.plot.norm.{number}")
    right.plotly_chart(step_figure(live, "learning_rate", said), key=f"training.plot.rate.{number}")


def _result(name: str) -> None:
    try:
        run = run_at(runs_folder() / name)
        test = run.metrics.get("test") if run is not None else None
    except (TunebenchError, OSError):
        test = None
    if not test:
        st.caption(say("training.gone"))
        return
    rows = [(key, item) for key, item in test.items() if isinstance(item, dict) and "value" in item]
    st.dataframe(
        [
            {
                say("training.score"): key.replace("_", " "),
                say("training.value"): figure(item["value"]),
                say("training.interval"): f"[{item['low']:.4f}, {item['high']:.4f}]" if "low" in item else "",
            }
            for key, item in rows
        ],
        hide_index=True,
    )
    st.caption(say("training.rows", n=f"{test['n']:,}"))
    if st.button(say("training.try_it"), type="primary", icon=":material/chat:", key=f"training.try.{name}"):
        st.session_state["try_it.runs"] = [name]
        st.switch_page("views/try_it.py")


def _live(job: Job) -> Live:
    """The state of a job's run; a follower per visit reads only what was appended."""
    if job.run is None:
        return Live()
    path = _events(runs_folder() / job.run)
    known: dict[str, Follower] = st.session_state.setdefault("training.followers", {})
    return known.setdefault(str(path), Follower(path)).read()


def _events(run: Path) -> Path:
    """The events of a run; of a chain those of the stage that spoke last."""
    stages = [path for path in run.glob(f"{STAGES}/*/events.jsonl") if path.is_file()]
    return max(stages, key=lambda path: path.stat().st_mtime, default=run / "events.jsonl")
