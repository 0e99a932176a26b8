"""The whole way, from an event log to three ranked lists per session: the stages in their order, and the command line.

python -m otto_gpu.pipeline                                        a generated demo log
python -m otto_gpu.pipeline --config otto --data FOLDER            OTTO's files as Kaggle gives them
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import yaml

from otto_gpu import __version__
from otto_gpu.command import Parser, noting_errors, run_command
from otto_gpu.config import Config, known_configs, load_config
from otto_gpu.config.needs import needs_of
from otto_gpu.device import Device, choose_device
from otto_gpu.embeddings.settings import EmbeddingsConfig
from otto_gpu.errors import UserError
from otto_gpu.needs import Need, look_for
from otto_gpu.run.directory import Run, Stage, data_identity, write_atomically
from otto_gpu.run.progress import Reporter
from otto_gpu.run.workers import IN_PROCESS, Workers
from otto_gpu.schema import did_you_mean

STAGES = {
    "events": "read the log, split it into periods, cut the sessions, write labels and official files",
    "matrices": "the co-occurrence matrices of every rule, for the validation and the test period",
    "word2vec": "item vectors from neighbours in the sessions (only if used, as those below)",
    "factorization": "item vectors from pairs of items, near, farther apart and bought",
    "seq2seq": "item vectors from the last items and the time against the next item",
    "encoder": "a network that reads histories: vectors of items and of sessions",
    "given": "item vectors of the user's own, from a file",
    "text": "item vectors from the items' texts",
    "candidates": "key items ask the matrices as the recipes say; coverage",
    "features": "the feature columns of the sampled training rows",
    "rankers": "a gradient-boosted ranker per target, group and fold",
    "predictions": "out-of-fold scores of the validation period, fold means of the test period",
    "blend": "the weights of the groups, by grid search on the out-of-fold scores",
    "submission": "the final lists and the run's figures; those of the run before are kept",
    "report": "report.html and model_card.md: what happened, on a page, and what the models are for",
}


SHOWN_FILES = 20  # by a dry run


@dataclass(frozen=True)
class Result:
    """ran: the stages that ran (the others were unchanged); metrics: metrics.json, None before the last stage."""

    run_dir: Path
    ran: list[str]
    metrics: dict | None


def run_pipeline(
    config: Config | str | Path | dict | None = None,
    data: str | Path | None = None,
    run_dir: str | Path | None = None,
    device: str | None = None,
    from_stage: str | None = None,
    to_stage: str | None = None,
    reporter: Reporter | None = None,
    cluster: str | None = None,
) -> Result:
    """Runs what is not done yet. config: a Config, or what load_config takes (None: the demo). data: file, folder or glob.

    run_dir: default runs/<name of the config>. from_stage: this stage and those after it run even if nothing changed;
    to_stage: stop after it. cluster: local, local:4, cuda or a scheduler's address (docs/scaling.md): who does the parts of the
    stages; None: this process. Raises UserError for everything that a user can get wrong.
    """
    config = (config if isinstance(config, Config) else load_config(config)).sized()
    _check_stages(from_stage, to_stage)
    data, files = _data(config, data)
    chosen = choose_device(device or config.device)
    _check_cluster(cluster, chosen)
    run_dir = Path(run_dir) if run_dir is not None else Path("runs") / config.name
    run_dir = run_dir if cluster is None else run_dir.absolute()  # workers may stand elsewhere
    run = Run(run_dir, reporter or Reporter(quiet=True))
    run.check(stages(config, data, run, chosen), data, files)
    _check_needs(needs_of(config, chosen), run, stages(config, data, run, chosen), files, from_stage, to_stage)
    with run.locked():
        run.reporter = reporter or Reporter(run_dir / "run.log", quiet=True)
        if reporter is not None:
            reporter.log_to(run_dir / "run.log")
        run.reporter.say(f"otto_gpu {__version__}, config {config.name}, run directory {run_dir}, device {chosen}")
        dumped = yaml.safe_dump(_resolved(config, data, chosen), sort_keys=False)
        write_atomically(run_dir / "config.yaml", lambda p: p.write_text(dumped))
        with noting_errors(run.reporter.note), _workers(cluster, run, config.threads) as workers:
            ran = run.execute(stages(config, data, run, chosen, workers), data_identity(files), from_stage, to_stage)
        if config.split.auto:
            write_atomically(run_dir / "config.yaml", lambda p: p.write_text(dumped + _chosen_split(run_dir)))
        metrics = None
        if to_stage in (None, "submission", "report"):
            metrics = json.loads((run_dir / "metrics.json").read_text())
        return Result(run_dir, ran, metrics)


def _resolved(config: Config, data: Path | None, device: Device) -> dict:
    """The whole configuration with what was chosen, ready for YAML and JSON."""
    return config.model_dump(mode="json") | {"data": None if data is None else str(data), "device": device.kind}


def _chosen_split(run_dir: Path) -> str:
    """What split: auto chose, as the end of config.yaml: a comment that can be made a part of it."""
    found = json.loads((run_dir / "events/summary.json").read_text()).get("split", {})
    why = found.pop("because", "")
    lines = [f"split: auto chose what follows, because {why}. In the place of the section split it stays as it is:"]
    lines += yaml.safe_dump(found, sort_keys=False).splitlines()
    return "".join(f"# {line}\n" for line in lines)


def _check_stages(*names: str | None) -> None:
    for name in names:
        if name is not None and name not in STAGES:
            raise UserError(f"unknown stage {name!r}; {did_you_mean(name, STAGES)}")


def _check_needs(
    needs: dict[str, list[Need]], run: Run, planned: list[Stage], files: list[Path], first: str | None, last: str | None
) -> None:
    """UserError where a stage that would run needs a package that is not installed. needs: by stage."""
    wanted: list[Need] = []
    if all(need.there for stage in needs.values() for need in stage):
        return
    for name, done in run.plan(planned, data_identity(files), first):
        wanted += [] if done else needs.get(name, [])
        if name == last:
            break
    look_for(wanted)


def _check_cluster(cluster: str | None, device: Device) -> None:
    if cluster is not None:
        from otto_gpu.run.distributed import check_cluster

        check_cluster(cluster, device)


def _workers(cluster: str | None, run: Run, threads: int | None) -> AbstractContextManager[Workers]:
    if cluster is None:
        return nullcontext(IN_PROCESS)
    from otto_gpu.run.distributed import cluster_of

    return cluster_of(cluster, run.directory, threads, run.reporter)


def _data(config: Config, data: str | Path | None) -> tuple[Path | None, list[Path]]:
    """(path, files) of the log; a generated log has neither. UserError where a file that the run needs is not there."""
    data = Path(data) if data is not None else config.data
    if config.events.generated:
        if data is not None:
            raise UserError(
                f"events.format is {config.events.format!r}, which generates its log: leave --data {data} out, "
                "or name a --config for it"
            )
        _given_files(config.embeddings.only(config.vectors), None)
        return None, []
    if data is None:
        raise UserError(f"config {config.name!r} needs --data PATH: the file, folder or glob with the log")
    from otto_gpu.events.readers.files import data_files, file_beside, files_beside

    if config.items is not None and Path(data).exists():  # before it is missed among the files that are no log
        file_beside(data, config.items.file, "items.file")
    beside = files_beside(data, config.events, config.items)
    log = data_files(data, config.events, files_beside(data, config.events, config.items, config.embeddings.files))
    _given_files(config.embeddings.only(config.vectors), data)
    return data, log + [file for file in beside if file.is_file()]


def _given_files(vectors: EmbeddingsConfig, data: Path | None) -> list[Path]:
    from otto_gpu.events.readers.files import file_beside

    return [file_beside(data, file, f"embeddings.given.{name}") for name, one in vectors.given.items() for file in one.files]


def stages(config: Config, data: Path | None, run: Run, device: Device, workers: Workers = IN_PROCESS) -> list[Stage]:
    """The stages with what each depends on. What a stage needs is imported when it runs: a run with nothing to do is quick."""
    c, there = config, run.directory
    vectors = c.embeddings.only(c.vectors)
    threads = c.threads or len(os.sched_getaffinity(0))

    def dump(section, *leave_out):
        return section.model_dump(mode="json", exclude=set(leave_out))

    def given(section):
        return [] if section is None else [dump(section)]

    def events(folder):
        from otto_gpu.events import stage

        return stage.run(folder, data, c.events, c.split, c.targets, run.reporter, there, c.items, c.embeddings.files)

    def matrices(folder):
        from otto_gpu.cooccurrence import stage

        return stage.run(folder, there, c.matrices, device, run.reporter, workers)

    def embedding(name):
        def run_it(folder):
            from otto_gpu.embeddings import stage

            return stage.run(name, folder, there, vectors, c.targets, device, threads, run.reporter, data)

        return run_it

    def candidates(folder):
        from otto_gpu.candidates import stage

        return stage.run(folder, there, c.candidates, c.targets, device, run.reporter, workers)

    def features(folder):
        from otto_gpu.features import stage

        return stage.run(
            folder, there, c.features, c.candidates, c.targets, c.matrices.rules, run.reporter, c.embeddings.names, workers,
            device,
        )  # fmt: skip

    def rankers(folder):
        from otto_gpu.ranking import stage

        return stage.train(folder, there, c.ranking, c.targets, device, threads, run.reporter, workers)

    def predictions(folder):
        from otto_gpu.features.stage import feature_maker
        from otto_gpu.ranking import stage

        rules = tuple(c.matrices.rules)
        make = partial(
            feature_maker, there, config=c.features, candidates=c.candidates, targets=c.targets, rules=rules,
            embeddings=c.embeddings.names,
        )  # fmt: skip
        return stage.predict(
            folder, there, c.ranking, c.candidates, c.features.chunk_rows, c.targets, make, device, run.reporter, workers
        )

    def blend(folder):
        from otto_gpu.events.stage import load_ids
        from otto_gpu.ranking import stage

        return stage.blend(folder, there, c.blend, c.ranking, c.targets, len(load_ids(there, "items")), run.reporter)

    def submission(folder):
        from otto_gpu.embeddings.stage import figures
        from otto_gpu.outcome import submission

        return submission.run(
            folder, there, c.targets, c.blend, c.submission, c.events.columns.session_name, c.candidates.popular_days,
            figures(there, vectors), dict(run.manifests), run.reporter, _resolved(c, data, device),
        )  # fmt: skip

    def report(folder):
        from otto_gpu.report import stage

        return stage.run(folder, there)

    # name: (outputs, settings that it depends on, what it does)
    everything = {
        "events": (
            ("events", "labels", "official", "rejected.parquet"),
            lambda: [
                dump(c.events),
                dump(c.split),
                dump(c.targets, "weights", "k", "metric"),
                c.targets.names,
                *given(c.items),
            ],
            events,
        ),
        "matrices": (("matrices",), lambda: [dump(c.matrices), device.kind], matrices),
        **{
            name: (made, partial(_embedding_settings, name, vectors, data, device, threads), embedding(name))
            for name, made in vectors.outputs().items()
        },
        "candidates": (
            ("candidates",),
            lambda: [dump(c.candidates), c.targets.weights if c.candidates.fusion else None, device.kind],
            candidates,
        ),
        "features": (("features",), lambda: [dump(c.features), device.kind], features),
        "rankers": (
            ("models",),
            lambda: [dump(c.ranking, "scoring"), c.ranking.metrics(c.targets), device.kind, threads],
            rankers,
        ),
        "predictions": (("predictions",), lambda: c.ranking.scoring, predictions),
        "blend": (("blend.json",), lambda: [dump(c.blend), c.targets.k, c.targets.metric], blend),
        # metrics.json comes last: where it is, all of them are
        "submission": (
            ("previous", "submission.csv", "scores.parquet", "metrics.json"),
            lambda: [dump(c.targets), dump(c.submission), c.events.columns.session_name],
            submission,
        ),
        "report": (("report.html", "model_card.md"), lambda: None, report),
    }
    return [Stage(name, made, uses, _alone(threads, device, does)) for name, (made, uses, does) in everything.items()]


def _embedding_settings(part: str, vectors: EmbeddingsConfig, data: Path | None, device: Device, threads: int) -> list:
    """What a stage of embeddings depends on: the settings of the vectors that it makes, and their files."""
    own = {name: settings.model_dump(mode="json") for name, settings in vectors.by_part()[part].items()}
    files = data_identity(_given_files(vectors, data)) if part == "given" else []
    # the order in which threads add up decides about the last bits
    return [own, vectors.held_out, vectors.seed, device.kind, threads, *files] if own else []


def _alone(threads: int, device: Device, run: Callable[[Path], dict]) -> Callable[[Path], dict]:
    """A stage whose kernels run on so many threads. Afterwards the caller's own number comes back, and the GPU's memory goes
    to the next one."""

    def alone(folder: Path) -> dict:
        import numba

        before = numba.get_num_threads()
        numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
        try:
            facts = run(folder)
        finally:
            numba.set_num_threads(before)
        device.give_back()
        return facts

    return alone


def main(arguments: list[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    return run_command(lambda: _run(given), given.debug, "stopped; the same command goes on from here")


def _run(given: argparse.Namespace) -> int:
    if given.list_stages:
        for name, what in STAGES.items():
            print(f"{name:12} {what}")
        return 0
    config = load_config(given.config, given.set)
    reporter = Reporter()
    if given.dry_run:
        return _dry_run(config, given, reporter)
    result = run_pipeline(
        config, given.data, given.run_dir, given.device, given.from_stage, given.to_stage, reporter, given.cluster
    )
    if result.metrics is not None:
        from otto_gpu.outcome.submission import show

        show(result.metrics, config.targets, reporter)
        reporter.say(f"submission: {result.run_dir / 'submission.csv'}")
        reporter.say(f"metrics:    {result.run_dir / 'metrics.json'}")
        if given.to_stage != "submission":
            reporter.say(f"report:     {result.run_dir / 'report.html'}")
    return 0


def _dry_run(config: Config, given: argparse.Namespace, reporter: Reporter) -> int:
    """Says whether the data fit and what would run, and writes nothing."""
    config = config.sized()
    _check_stages(given.from_stage, given.to_stage)
    chosen = choose_device(given.device or config.device)
    _check_cluster(given.cluster, chosen)
    data, files = _data(config, given.data)
    for file in files[:SHOWN_FILES]:
        reporter.say(f"data: {file}")
    if len(files) > SHOWN_FILES:
        reporter.say(f"data: and {len(files) - SHOWN_FILES:,} more")
    run_dir = given.run_dir or Path("runs") / config.name
    reporter.say(f"config {config.name}, run directory {run_dir}, device {chosen}")
    run = Run(run_dir, reporter)
    run.check(stages(config, data, run, chosen), data, files)
    planned = stages(config, data, run, chosen)
    _check_needs(needs_of(config, chosen), run, planned, files, given.from_stage, given.to_stage)
    plan = run.plan(planned, data_identity(files), given.from_stage)
    if not plan[0][1]:  # what was read before and has not changed is known to fit
        from otto_gpu.events.preview import preview

        preview(data, files, config.events, config.split, config.targets, reporter, config.items, config.embeddings.files)
    for name, done in plan:
        reporter.say(f"{name}: {'unchanged' if done else 'would run'}")
        if name == given.to_stage:
            break
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m otto_gpu.pipeline",
        description="An event log in, three ranked lists for every open session out. Without arguments: a generated demo log. "
        "What was done before and has not changed is not done again.",
        epilog=f"configs of the project: {', '.join(known_configs()) or 'none here'}. A run is resumed by the same command.",
    )
    parser.add_argument(
        "--config", metavar="FILE", help="a YAML file, or the name of one of the project's configs (default: the demo)"
    )
    parser.add_argument("--data", type=Path, metavar="PATH", help="the log: a file, a folder or a glob (quoted)")
    parser.add_argument(
        "--run-dir", type=Path, metavar="DIR", help="where everything is written (default: runs/<name of the config>)"
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), help="default: as the config says, auto if it does not")
    parser.add_argument(
        "--cluster",
        metavar="WHERE",
        help="who does the parts of the stages: local or local:4 (so many worker processes), cuda (one per GPU), or the "
        "address of a Dask scheduler, tcp://host:8786 (default: this process)",
    )
    parser.add_argument(
        "--from", dest="from_stage", metavar="STAGE", help="run this stage and those after it even if nothing changed"
    )
    parser.add_argument("--to", dest="to_stage", metavar="STAGE", help="stop after this stage")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change the config, such as --set ranking.folds=5 (repeatable)",
    )
    parser.add_argument("--list-stages", action="store_true", help="name the stages and stop")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="check config, data (a small log whole, of a large one the first rows) and "
        "libraries, say what would be left out, how the log would be split and what would run; write nothing",
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.add_argument("--version", action="version", version=f"otto_gpu {__version__}")
    return parser


if __name__ == "__main__":
    sys.exit(main())
