"""The stages `word2vec`, `factorization`, `seq2seq` and `encoder`: vectors learnt from what is known in each period.

What each of them writes is told by `EmbeddingsConfig.outputs`. A part that is switched off does nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

import numpy as np

from otto_gpu.device import Device
from otto_gpu.embeddings.pairs import Pairs, held_out, held_out_auc
from otto_gpu.embeddings.settings import ENCODER, EmbeddingsConfig
from otto_gpu.embeddings.vectors import normalised, save_vectors, save_weights, vectors_path, weights_path
from otto_gpu.events.log import EventLog
from otto_gpu.events.settings import TargetsConfig
from otto_gpu.events.split import Period
from otto_gpu.events.stage import SPLITS, load_period
from otto_gpu.run.directory import write_atomically
from otto_gpu.run.progress import Reporter

Told = Callable[[int, float], None]  # (epoch from 1, mean loss)
Train = Callable[[EventLog, Told], tuple[np.ndarray, list[float]]]  # float32 [n_items, dim], loss per epoch


@dataclass(frozen=True)
class Model:
    """learn(period, told) -> ({name of a file: float32 [n, dim]}, figures, weights of a model that reads sessions or {})."""

    name: str
    epochs: int
    learn: Callable[[Period, Told], tuple[dict[str, np.ndarray], dict, dict[str, np.ndarray]]]


def run(
    part: str, folder: Path, run_dir: Path, config: EmbeddingsConfig, targets: TargetsConfig, device: Device, threads: int,
    reporter: Reporter,
) -> dict:  # fmt: skip
    """Learns the models of a part (a stage's name) for both periods. Raises MissingExtra where a library is absent."""
    if not config.outputs()[part]:
        return {}
    together, each = _shared(part, device, threads, reporter)
    return _run(part, PARTS[part](config, targets, device, each), folder, run_dir, reporter, together)


def _word2vec(config: EmbeddingsConfig, targets: TargetsConfig, device: Device, threads: int) -> list[Model]:
    from otto_gpu.embeddings.word2vec import train_word2vec

    def train(log, told):
        return train_word2vec(log, config.word2vec, config.seed, told)

    return [Model("word2vec", config.word2vec.epochs, _items("word2vec", train, config))]


def _factorization(config: EmbeddingsConfig, targets: TargetsConfig, device: Device, threads: int) -> list[Model]:
    from otto_gpu.embeddings.factorization import train_factorization

    def model(name, settings):
        def train(log, told):
            return train_factorization(Pairs(log, settings.steps), settings, config.seed, device, threads, told)

        return Model(name, settings.epochs, _items(name, train, config, settings.types, settings.steps))

    return [model(name, settings) for name, settings in config.factorization.items()]


def _seq2seq(config: EmbeddingsConfig, targets: TargetsConfig, device: Device, threads: int) -> list[Model]:
    from otto_gpu.embeddings.seq2seq import train_seq2seq

    def train(log, told):
        return train_seq2seq(log, config.seq2seq, config.seed, device, threads, told)

    types = config.seq2seq.types or targets.next_only or targets.types[:1]
    return [Model("seq2seq", config.seq2seq.epochs, _items("seq2seq", train, config, types))]


def _encoder(config: EmbeddingsConfig, targets: TargetsConfig, device: Device, threads: int) -> list[Model]:
    from otto_gpu.embeddings.encoder import train_encoder

    def learn(period, told):
        model, figures = train_encoder(period.known, config.encoder, config.held_out, config.seed, device, threads, told)
        reader = model.reader()
        sessions = reader.sessions(period.history, period.sessions)
        return {ENCODER: model.items(), f"{ENCODER}.sessions": sessions}, figures, reader.weights()

    return [Model(ENCODER, config.encoder.epochs, learn)]


PARTS = {"word2vec": _word2vec, "factorization": _factorization, "seq2seq": _seq2seq, ENCODER: _encoder}


def figures(run_dir: Path, config: EmbeddingsConfig) -> dict[str, dict]:
    """{name: {split: {"loss": mean per epoch, "auc": of held-out pairs, None where there are none, ...}}}, for metrics.json."""
    return {name: json.loads(_figures_path(run_dir, name).read_text()) for name in config.known}


def _figures_path(folder: Path, name: str) -> Path:
    return folder / "embeddings" / f"{name}.json"


def _items(name: str, train: Train, config: EmbeddingsConfig, types: list[str] | None = None, steps: tuple[int, int] = (1, 1)):
    """A Model's `learn` for vectors of items that are judged by held-out pairs. types: the events that are seen, None for
    all of them; steps: how far the items of a pair lie apart."""

    def learn(period: Period, told: Told):
        known = period.known
        if types is not None:
            known = known.where(np.isin(known.type, [code for code, t in enumerate(known.types) if t in types]))
        seen, aside = held_out(known, config.held_out, config.seed)
        vectors, losses = train(seen, told)
        vectors = normalised(vectors)
        auc = held_out_auc(vectors, Pairs(aside, steps), config.seed)
        facts = {"loss": [round(loss, 5) for loss in losses], "auc": None if auc is None else round(auc, 5)}
        return {name: vectors}, facts | {"items": int(vectors.any(axis=1).sum())}, {}

    return learn


def _shared(part: str, device: Device, threads: int, reporter: Reporter) -> tuple[bool, int]:
    """(whether the periods are learnt side by side, threads for each)."""
    if part == "word2vec":
        return threads > 1, 1
    from otto_gpu.embeddings.table import torch_device

    on_gpu = torch_device(device).type == "cuda"
    if device.kind == "cuda" and not on_gpu:
        reporter.say("  this PyTorch sees no GPU: the vectors are learnt on the CPU")
    if part == ENCODER:
        # one thread, one period after the other: batches of short sessions are too small to be shared out, side by side the
        # periods wait for each other (five times slower, measured), and the result is that of any machine
        return False, 1
    # on a CPU the batches are too small for many cores
    return (False, threads) if on_gpu else (threads > 1, max(threads // len(SPLITS), 1))


def _run(stage: str, models: list[Model], folder: Path, run_dir: Path, reporter: Reporter, together: bool) -> dict:
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
