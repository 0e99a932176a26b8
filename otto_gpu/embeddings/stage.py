"""A stage for each part of the section `embeddings`: vectors of what is known in each period.

What each of them writes is told by `EmbeddingsConfig.outputs`. A part that is switched off does nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from threading import Thread

from otto_gpu.device import Device
from otto_gpu.embeddings.model import Task, VectorModel
from otto_gpu.embeddings.settings import EmbeddingsConfig
from otto_gpu.embeddings.vectors import save_vectors, save_weights, vectors_path, weights_path
from otto_gpu.events.settings import TargetsConfig
from otto_gpu.events.stage import SPLITS, load_period
from otto_gpu.run.directory import write_atomically
from otto_gpu.run.progress import Reporter


def run(
    part: str, folder: Path, run_dir: Path, config: EmbeddingsConfig, targets: TargetsConfig, device: Device, threads: int,
    reporter: Reporter, data: Path | None = None,
) -> dict:  # fmt: skip
    """Makes the vectors of a part (a stage's name) for both periods. data: where the log is. Raises MissingExtra where a
    library is absent."""
    if not config.outputs()[part]:
        return {}
    module = import_module(f"otto_gpu.embeddings.{part}")
    together, each = module.shared(device, threads, reporter)
    task = Task(config, targets, device, each, reporter, run_dir, data)
    return _run(part, module.models(task), folder, run_dir, reporter, together)


def figures(run_dir: Path, config: EmbeddingsConfig) -> dict[str, dict]:
    """{name: {split: {"loss": mean per epoch, "auc": of held-out pairs, None where there are none, ...}}}, for metrics.json."""
    return {name: json.loads(_figures_path(run_dir, name).read_text()) for name in config.known}


def _figures_path(folder: Path, name: str) -> Path:
    return folder / "embeddings" / f"{name}.json"


def _run(stage: str, models: list[VectorModel], folder: Path, run_dir: Path, reporter: Reporter, together: bool) -> dict:
    """Learns every model for every period, the periods side by side if `together`."""
    facts = {}
    with reporter.work(stage, "epochs", len(SPLITS) * sum(m.epochs for m in models)) as work:
        for model in models:

            def made(split: str, model=model) -> dict:
                # beside the vectors, and written after them: where these figures are, the vectors are whole
                mine = folder / "embeddings" / split / f"{model.name}.json"
                if not mine.exists():

                    def told(epoch: int, loss: float) -> None:
                        reporter.say(f"  {model.name}, {split}: epoch {epoch}, loss {loss:.4f}")
                        work.advance()

                    arrays, figures, weights = model.learn(load_period(run_dir, split), told)
                    for name, array in arrays.items():
                        save_vectors(vectors_path(folder, split, name), array)
                    if weights:
                        save_weights(weights_path(folder, split, model.name), weights)
                    write_atomically(mine, lambda p: p.write_text(json.dumps(figures)))
                else:
                    work.advance(model.epochs)
                return json.loads(mine.read_text())

            both = _side_by_side(made, SPLITS) if together else {split: made(split) for split in SPLITS}
            write_atomically(_figures_path(folder, model.name), lambda p: p.write_text(json.dumps(both, indent=1)))
            aucs = ["none" if both[split]["auc"] is None else f"{both[split]['auc']:.3f}" for split in SPLITS]
            facts[model.name] = f"AUC {' and '.join(aucs)}"
    return facts


def _side_by_side(function: Callable[[str], dict], keys: tuple[str, ...]) -> dict[str, dict]:
    """{key: function(key)}, each in a thread of its own. The threads end with the program, not the program with them."""
    results, errors = {}, []

    def one(key: str) -> None:
        try:
            results[key] = function(key)
        except BaseException as error:
            errors.append(error)

    threads = [Thread(target=one, args=(key,), daemon=True) for key in keys]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return {key: results[key] for key in keys}
