"""What PyTorch does: vectors searched, and models of items and sessions trained."""

from __future__ import annotations

import time

import numpy as np

from benchmarks.gpu_steps.logs import FEW
from benchmarks.gpu_steps.step import GPU, Bench
from otto_gpu.embeddings.pairs import Pairs
from otto_gpu.embeddings.settings import Encoder, Factorization, Seq2Seq
from otto_gpu.events.log import EventLog

DIM, NEAREST = 64, 100
THREADS = 16  # of the CPU, or as many as there are
TYPES = ("clicks",)  # whose next one seq2seq learns


def halves(bench: Bench) -> None:
    bench.part("search", search, bench)
    for name, train in {"factorization": factorization, "seq2seq": seq2seq, "encoder": encoder}.items():
        bench.part(name, train, bench, _log(bench))


def _log(bench: Bench) -> EventLog:
    """1M events; the CPU learns from a share of the sessions, which shows its pace."""
    known = bench.get(FEW).known
    share = 1 if bench.half == GPU else bench.sizes.share
    return known.of_sessions(0, max(int(share * known.n_sessions), 1))


def search(bench: Bench) -> dict:
    """Exactly, by products with all vectors."""
    from otto_gpu.candidates.search_backends import TorchExact
    from otto_gpu.embeddings.table import torch_device

    random = np.random.default_rng(0)
    vectors = random.random((bench.sizes.vectors, DIM), np.float32) - 0.5
    share = 1 if bench.half == GPU else bench.sizes.share
    queries = (random.random((bench.sizes.queries, DIM), np.float32) - 0.5)[: max(int(share * bench.sizes.queries), 1)]
    index = TorchExact(vectors, torch_device(bench.device))
    timing, (scores, rows) = bench.timed(lambda: index.search(queries, NEAREST), 1)
    bench.keep({"scores": scores, "rows": rows})
    return {"queries": len(queries), "queries_per_s": len(queries) / timing["median_s"], **timing}


def factorization(bench: Bench, log: EventLog) -> dict:
    from otto_gpu.embeddings.factorization import train_factorization

    pairs = Pairs(log)
    return _trained(
        bench, len(log), lambda: train_factorization(pairs, Factorization(epochs=2), 42, bench.device, _threads(bench))
    )


def seq2seq(bench: Bench, log: EventLog) -> dict:
    from otto_gpu.embeddings.seq2seq import train_seq2seq

    seen = log.where(np.isin(log.type, [log.types.index(name) for name in TYPES]))
    return _trained(bench, len(seen), lambda: train_seq2seq(seen, Seq2Seq(epochs=2), 42, bench.device, _threads(bench)))


def encoder(bench: Bench, log: EventLog) -> dict:
    """One epoch. On the CPU by one thread, as the stage does it."""
    from otto_gpu.embeddings.encoder import train_encoder

    def train():
        model, figures = train_encoder(log, Encoder(epochs=1), 0.02, 42, bench.device, 1)
        return model.items(), figures["loss"]

    return _trained(bench, len(log), train)


def _trained(bench: Bench, events: int, train) -> dict:
    """Once: an epoch is long enough for what the first batch takes besides."""
    began = time.perf_counter()
    vectors, losses = train()
    bench.synchronize()
    seconds = time.perf_counter() - began
    fine = bool(np.isfinite(vectors).all() and np.isfinite(losses).all())
    return {"ok": fine, "train_s": seconds, "events": events, "events_per_s": len(losses) * events / seconds, "losses": losses}


def _threads(bench: Bench) -> int:
    import torch

    return min(torch.get_num_threads(), THREADS)


def compare(ours: dict, theirs: dict) -> dict:
    """Of the search: as many queries as the CPU did."""
    n = len(theirs["rows"])
    return {
        "ok": bool(np.allclose(ours["scores"][:n], theirs["scores"], rtol=1e-3, atol=1e-4)),
        "same_places": float((ours["rows"][:n] == theirs["rows"]).mean()),
    }
