"""Commands that make something of a run that others can use: a merged model, an upload."""

from __future__ import annotations

from pathlib import Path

import click

from tunebench.options import BACKEND, FORMATS, JSON, RUNS, show


@click.command(short_help="Fold a run's adapter into its base, with proof.")
@click.argument("run")
@RUNS
@JSON
def merge(run: str, runs: Path, as_json: bool) -> None:
    """Fold RUN's adapter into its base: a plain transformers folder, proved to give the same logits."""
    from tunebench import jobs
    from tunebench.terminal import Progress

    show(jobs.merge(run, runs, Progress(1)), as_json, lambda found: f"{found['merged']} is ready")


@click.command(short_help="Make a graph that predicts without torch, with proof.")
@click.argument("run")
@click.option("--format", "form", type=click.Choice(FORMATS), required=True, help="The engine, and 8-bit integers or not.")
@click.option("--default", "as_default", is_flag=True, help="Predict with it from now on; `--format torch --default` undoes it.")
@click.option("--force", is_flag=True, help="Make it anew where it is there and sound.")
@RUNS
@JSON
def export(run: str, form: str, as_default: bool, force: bool, runs: Path, as_json: bool) -> None:
    """Export RUN for ONNX Runtime or OpenVINO: proved in a fresh process, and scored on the validation rows.

    The folder predicts without torch and without tunebench. Ends with exit code 3 where the proof fails.
    """
    from tunebench import jobs
    from tunebench.export_text import export_text
    from tunebench.terminal import Progress

    show(jobs.export(run, runs, form, Progress(1), force=force, default=as_default), as_json, export_text)


@click.command(short_help="Upload a run's model to the model hub.")
@click.argument("run")
@click.argument("repository")
@click.option("--merged", is_flag=True, help="Push merged/, the whole model, instead of the adapter.")
@click.option("--private", is_flag=True, help="Make the repository a private one, where it is new.")
@click.option("--revision", help="Branch to push to; made where it is new.")
@RUNS
@JSON
def push(run: str, repository: str, merged: bool, private: bool, revision: str | None, runs: Path, as_json: bool) -> None:
    """Upload RUN's saved model with its card to REPOSITORY (such as my-name/my-model) on the hub of HF_ENDPOINT."""
    from tunebench import jobs

    done = jobs.push(run, runs, repository, merged=merged, private=private, revision=revision)
    for warning in done["warnings"]:
        click.echo(f"warning: {warning}", err=True)
    show(done, as_json, lambda found: f"{found['url']} holds {', '.join(found['files'])} (commit {found['commit']})")


@click.command(short_help="Fit a temperature and a threshold to abstain below.")
@click.argument("run")
@click.option(
    "--target-accuracy", type=float, default=0.95, show_default=True, help="Accuracy of the rows that are sure enough to answer."
)
@BACKEND
@RUNS
@JSON
def calibrate(run: str, target_accuracy: float, backend: str | None, runs: Path, as_json: bool) -> None:
    """Calibrate RUN on its validation rows: probabilities that mean what they say, and from which on an answer is sure enough.

    Kept in the run, for `tunebench predict --calibrated`. No label changes, and test rows are not touched.
    """
    from tunebench import jobs
    from tunebench.measured_text import calibration_text

    show(jobs.calibrate(run, runs, target_accuracy, backend), as_json, calibration_text)
