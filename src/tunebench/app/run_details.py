"""One run of the shelf, drawn: what it is, notes, files, exports, and renaming or deleting it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec

import streamlit as st

from tunebench.app.shelving import LARGEST_BYTES, MOST_FILES, Kept, Shelved, exported, files_of, is_sealed, opened
from tunebench.app.state import runs_folder
from tunebench.app.words import plain, say
from tunebench.compare.shown import count, duration, figure, size
from tunebench.compare.shown import proof as proof_words
from tunebench.detached.job import Job
from tunebench.detached.queue import jobs, submit
from tunebench.errors import TunebenchError
from tunebench.options import EXPORTS
from tunebench.recipe.methods import BASELINES
from tunebench.runs.chain import Chain
from tunebench.runs.exports import ENGINES, default_backend, extra_of
from tunebench.runs.looks import count_looks
from tunebench.runs.run import Run
from tunebench.runs.shelf import LONGEST_NOTE, delete, rename, write_notes

_TABS = ("summary", "notes", "files", "export", "manage")


def show(shelved: Shelved, known_tags: Sequence[str]) -> None:
    """Everything about one run, behind tabs."""
    st.header(plain(shelved.name))
    run = opened(shelved.name, runs_folder())
    if run is None:
        st.warning(say("runs.gone"))
        return
    if error := shelved.line.get("error"):
        st.error(say("runs.damaged"), icon=":material/error:")
        st.code(error, language=None, wrap_lines=True)
    summary, notes, files, export, manage = st.tabs([say(f"runs.tab_{name}") for name in _TABS], key="runs_tabs")
    for tab, draw in (
        (summary, lambda: _summary(shelved, run)),
        (notes, lambda: _notes(shelved, run, known_tags)),
        (files, lambda: _files(shelved, run)),
        (export, lambda: _export(shelved, run)),
        (manage, lambda: _manage(shelved)),
    ):
        with tab:
            _guarded(draw)


def say_what_happened() -> None:
    """Show once what came of the last thing that was done here."""
    if done := st.session_state.pop("runs_done", None):
        st.success(done, icon=":material/check_circle:")
    if fault := st.session_state.pop("runs_fault", None):
        st.error(say("runs.fault"), icon=":material/error:")
        st.code(fault, language=None, wrap_lines=True)


def _guarded(draw: Callable[[], None]) -> None:
    """A run may be damaged, half-written or gone in the midst of being shown; the page stays."""
    try:
        draw()
    except (TunebenchError, OSError, KeyError, TypeError, AttributeError, ValueError) as error:
        st.warning(say("runs.unreadable"), icon=":material/warning:")
        st.code(str(error) or type(error).__name__, language=None, wrap_lines=True)


def _do(act: Callable[[], object], done: str) -> bool:
    """Do something to a run and remember what came of it; False where it was refused."""
    try:
        act()
    except (TunebenchError, OSError) as error:
        st.session_state["runs_fault"] = str(error)
        return False
    st.session_state["runs_done"] = done
    return True


def _summary(shelved: Shelved, run: Run | Chain) -> None:
    st.markdown(say("runs.is", status=say(f"runs.status_{shelved.line['status']}"), path=plain(run.path)))
    if shelved.line["status"] in ("running", "interrupted", "failed"):
        st.page_link("views/training.py", label=say("runs.to_training"), icon=":material/model_training:")
    if isinstance(run, Chain):
        _stages(run)
    else:
        _scores(run)
    with st.expander(say("runs.recipe")):
        st.code((run.path / "recipe.yaml").read_text("utf-8", errors="replace"), language="yaml")


def _stages(chain: Chain) -> None:
    stages = chain.stages()
    there = {name: run.path.is_dir() for name, run in stages.items()}
    st.dataframe(
        {
            say("runs.stage"): list(stages),
            say("runs.status"): [say(f"runs.status_{run.status() if there[name] else 'absent'}") for name, run in stages.items()],
            say("runs.task"): [run.recipe.task if there[name] else "–" for name, run in stages.items()],
            say("runs.method"): [run.recipe.method.kind if there[name] else "–" for name, run in stages.items()],
        },
        hide_index=True,
        alt=say("runs.stages_alt"),
    )
    st.caption(say("runs.stages_note"))


def _scores(run: Run) -> None:
    metrics = run.metrics
    test = metrics.get("test") or {}
    told = test.get("accuracy") or test.get("perplexity_per_character")
    columns = st.columns(3)
    if told:
        name = say("runs.accuracy") if "accuracy" in test else say("runs.perplexity")
        columns[0].metric(name, figure(told["value"]))
        columns[0].caption(rf"\[{told['low']:.3f}, {told['high']:.3f}\]" if "low" in told else "")
    else:
        st.caption(say("runs.no_scores"))
    if parameters := metrics.get("parameters"):
        columns[1].metric(say("runs.trainable"), count(parameters["trainable"]))
        columns[1].caption(say("runs.of_total", total=count(parameters["total"])))
    if metrics.get("train_seconds") is not None:
        columns[2].metric(say("runs.time"), duration(metrics["train_seconds"]))
        columns[2].caption(say("runs.memory", memory=size(metrics.get("peak_memory_bytes"))))
    for proof in metrics.get("proofs", []):
        st.caption(say("runs.proof", name=plain(proof.get("name", "")), proof=plain(proof_words(proof))))


def _notes(shelved: Shelved, run: Run | Chain, known: Sequence[str]) -> None:
    with st.form(f"runs_notes_{shelved.name}"):
        tags = st.multiselect(
            say("runs.tags"),
            sorted({*known, *shelved.notes.tags}),
            default=list(shelved.notes.tags),
            accept_new_options=True,
            placeholder=say("runs.new_tag"),
            key=f"runs_own_tags_{shelved.name}",
        )
        note = st.text_area(say("runs.note"), shelved.notes.note, max_chars=LONGEST_NOTE, key=f"runs_note_{shelved.name}")
        saved = st.form_submit_button(say("runs.save"), type="primary")
    if saved:
        _do(lambda: write_notes(run, tags, note), say("runs.saved"))
        st.rerun()


def _files(shelved: Shelved, run: Run | Chain) -> None:
    kept = files_of(run.path)
    total = sum(file.size for file in kept)
    st.caption(say("runs.files_total", number=len(kept), size=size(total)))
    if len(kept) == MOST_FILES:
        st.caption(say("runs.files_cut", number=MOST_FILES))
    st.dataframe(
        {
            say("runs.file"): [file.name for file in kept],
            say("runs.size"): [size(file.size) for file in kept],
            say("runs.changed"): [file.changed for file in kept],
        },
        column_config={say("runs.changed"): st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm")},
        hide_index=True,
        height=min(320, 38 + 35 * max(1, len(kept))),
        alt=say("runs.files_alt"),
    )
    small = {file.name: file for file in kept if file.size <= LARGEST_BYTES}
    placeholder = say("runs.choose_file")
    name = st.selectbox(say("runs.take_file"), list(small), index=None, placeholder=placeholder, key=f"runs_file_{shelved.name}")
    if len(small) < len(kept):
        st.caption(say("runs.large_files", size=size(LARGEST_BYTES)))
    if name is not None:
        _download(run, small[name])


def _download(run: Run | Chain, file: Kept) -> None:
    path = run.path / file.name
    owner = Run(path.parent)
    sealed = is_sealed(file.name)
    if sealed:
        st.info(say("runs.sealed"), icon=":material/visibility:")
    with path.open("rb") as content:
        st.download_button(
            say("runs.download"),
            content.read(LARGEST_BYTES),
            file_name=path.name,
            mime="application/octet-stream",
            icon=":material/download:",
            on_click=(lambda: _count_look(owner)) if sealed else "ignore",
            key="runs_download",
        )


def _count_look(run: Run) -> None:
    if uncounted := count_looks([run], "app"):
        st.session_state["runs_fault"] = "\n".join(uncounted)


def _export(shelved: Shelved, run: Run | Chain) -> None:
    served = run.last() if isinstance(run, Chain) else run
    if served.recipe.method.kind in BASELINES or shelved.line["status"] != "finished":
        st.caption(say("runs.no_export"))
        return
    _exports_there(served)
    _export_jobs(shelved.name)
    lacking = [name for name in EXPORTS if find_spec(ENGINES[name]) is None]
    form = st.selectbox(say("runs.format"), EXPORTS, key="runs_format", help=say("runs.format_help"))
    if form in lacking:
        st.warning(say("runs.lacking", package=ENGINES[form], extra=extra_of(form)))
    default = st.checkbox(say("runs.as_default"), key="runs_as_default", help=say("runs.as_default_help"))
    if st.button(say("runs.make_export"), icon=":material/output:", key="runs_export", disabled=form in lacking):
        folder = runs_folder()
        command = ["export", str(run.path), "--format", form, "--runs", str(folder), *["--default"] * default]
        _do(lambda: submit(folder, [command], kind="export", run=shelved.name), say("runs.export_asked", form=form))
        st.rerun()


def _exports_there(run: Run) -> None:
    told = exported(run)
    if not told:
        st.caption(say("runs.no_exports_yet"))
        return
    chosen = default_backend(run)
    st.dataframe(
        {
            say("runs.format"): list(told),
            say("runs.verdict"): [_verdict(said, run) for said in told.values()],
            say("runs.default"): [name == chosen for name in told],
            say("runs.size"): [size(said.get("bytes")) for said in told.values()],
            say("runs.export_accuracy"): [_accuracy(said, "export") for said in told.values()],
            say("runs.torch_accuracy"): [_accuracy(said, "torch") for said in told.values()],
            say("runs.flips"): [said.get("label_flips") for said in told.values()],
        },
        hide_index=True,
        placeholder="–",
        alt=say("runs.exports_alt"),
    )
    for name, said in told.items():
        found = said.get("error") or said.get("why") or proof_words(_proof(said))
        st.caption(say("runs.proof", name=plain(name), proof=plain(found)))


def _verdict(said: dict[str, object], run: Run) -> str:
    if "error" in said:
        return say("runs.status_damaged")
    if said.get("passed") is not True:
        return say("runs.failed_proof")
    stale = said.get("weights") != run.manifest.get("end_weights")
    return say("runs.stale" if stale else "runs.passed_proof")


def _proof(said: dict[str, object]) -> dict[str, object]:
    proof = said.get("proof")
    return {**proof, "passed": said.get("passed")} if isinstance(proof, dict) else {}


def _accuracy(said: dict[str, dict[str, dict[str, dict[str, float]]]], who: str) -> str:
    try:
        return figure(said["scores"][who]["accuracy"]["value"])
    except (KeyError, TypeError):
        return figure(None)


@st.fragment(run_every=3)
def _export_jobs(name: str) -> None:
    """How the newest export of this run goes; when it has ended, the page is drawn anew."""
    job = next((job for job in jobs(runs_folder()) if job.kind == "export" and job.run == name), None)
    if job is None:
        return
    state, key = job.state(), f"runs_export_state_{name}"
    before = st.session_state.get(key)
    st.session_state[key] = state
    if state != before and before in ("waiting", "running"):
        st.rerun()
    if state != "finished":
        _job_told(job, state)


def _job_told(job: Job, state: str) -> None:
    form = job.commands[0][job.commands[0].index("--format") + 1]
    show = st.info if state in ("waiting", "running") else st.error
    show(say(f"runs.export_{state}", form=plain(form)))
    if tail := job.log_tail(6):
        st.code(tail, language=None, wrap_lines=True)


def _manage(shelved: Shelved) -> None:
    if "/" in shelved.name:
        st.caption(say("runs.stage_stays"))
        return
    st.subheader(say("runs.rename"))
    with st.form(f"runs_rename_{shelved.name}"):
        new = st.text_input(say("runs.new_name"), shelved.name, key=f"runs_new_name_{shelved.name}", help=say("runs.name_rule"))
        renamed = st.form_submit_button(say("runs.rename_do"))
    if renamed and new != shelved.name:
        if _do(lambda: rename(runs_folder(), shelved.name, new), say("runs.renamed", old=plain(shelved.name), new=plain(new))):
            st.session_state["runs_next"] = new
        st.rerun()
    st.subheader(say("runs.delete"))
    with st.form(f"runs_delete_{shelved.name}"):
        st.markdown(say("runs.delete_text", run=plain(shelved.name)))
        typed = st.text_input(say("runs.type_name"), key=f"runs_typed_{shelved.name}")
        deleted = st.form_submit_button(say("runs.delete_do"), icon=":material/delete:")
    if deleted and typed != shelved.name:
        st.error(say("runs.not_the_name"))
    elif deleted:
        _do(lambda: delete(runs_folder(), shelved.name), say("runs.deleted", run=plain(shelved.name)))
        st.rerun()
