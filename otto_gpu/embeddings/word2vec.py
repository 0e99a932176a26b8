"""word2vec over sessions: items that stand near each other get vectors that point the same way (gensim).

Skip-gram with negative sampling (Mikolov et al. 2013, "Distributed Representations of Words and Phrases and their
Compositionality"); the settings are those of the OTTO solutions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from otto_gpu.device import Device
from otto_gpu.embeddings.model import Task, VectorModel, learnt
from otto_gpu.embeddings.settings import NEEDS, Word2Vec
from otto_gpu.events.log import EventLog
from otto_gpu.run.progress import Reporter

try:
    from gensim.models.callbacks import CallbackAny2Vec
    from gensim.models.word2vec import Word2Vec as Model
except ImportError as error:
    raise NEEDS["word2vec"].missing() from error

CHUNK = 1 << 18  # events that become Python integers at a time
LONGEST = 10_000  # gensim drops what a sentence has beyond that


def models(task: Task) -> list[VectorModel]:
    config = task.config

    def train(log, told):
        return train_word2vec(log, config.word2vec, config.seed, told)

    return [learnt(task, "word2vec", config.word2vec.epochs, train)]


def shared(device: Device, threads: int, reporter: Reporter) -> tuple[bool, int]:
    return threads > 1, 1


def train_word2vec(
    log: EventLog, config: Word2Vec, seed: int, told: Callable[[int, float], None] = lambda epoch, loss: None
) -> tuple[np.ndarray, list[float]]:
    """(float32 [n_items, dim], zeros for items that no session of 2 events and more holds; loss per event and epoch).

    told(epoch from 1, loss) after each epoch. One thread: only so gensim repeats itself.
    """
    vectors = np.zeros((log.n_items, config.dim), np.float32)
    log = log.where((np.diff(log.starts) > 1)[log.session])  # one event has no neighbour
    if not len(log):
        return vectors, []
    counts = np.bincount(log.aid, minlength=log.n_items)
    items = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]
    model = _Model(
        vector_size=config.dim, window=config.window, min_count=1, sg=1, negative=config.negative, sample=config.sample,
        ns_exponent=config.ns_exponent, alpha=config.lr, seed=seed, workers=1, sorted_vocab=0, batch_words=LONGEST,
    )  # fmt: skip
    model.build_vocab_from_freq(dict(enumerate(counts[items].tolist())), corpus_count=0)
    sessions = Sessions.of(log, items)
    losses = _Losses(told)
    model.train(sessions, total_examples=len(sessions), epochs=config.epochs, compute_loss=True, callbacks=[losses])
    vectors[items] = model.wv.vectors
    return vectors, losses.per_epoch


@dataclass(frozen=True)
class Sessions:
    """The sessions of a log as lists of ranks by popularity, made as they are read, chunk by chunk.

    gensim takes a number both for a word and for its place in the vocabulary: ranks are both.
    """

    rank: np.ndarray  # int32 [events]
    starts: np.ndarray  # int64: where each list begins, and the end

    @classmethod
    def of(cls, log: EventLog, items: np.ndarray) -> Sessions:
        rank = np.zeros(log.n_items, np.int32)
        rank[items] = np.arange(len(items), dtype=np.int32)
        place = np.arange(len(log)) - log.starts[log.session]
        return cls(rank[log.aid], np.append(np.flatnonzero(place % LONGEST == 0), len(log)))

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __iter__(self) -> Iterator[list[int]]:
        first = 0
        while first < len(self):
            last = max(int(np.searchsorted(self.starts, self.starts[first] + CHUNK, "right")) - 1, first + 1)
            begin = self.starts[first]
            ranks = self.rank[begin : self.starts[last]].tolist()
            ends = (self.starts[first : last + 1] - begin).tolist()
            for k in range(last - first):
                yield ranks[ends[k] : ends[k + 1]]
            first = last


class _Model(Model):
    """gensim adds the loss up in float32, which stands still beyond 16 million: taken over in float64, batch by batch."""

    total_loss = 0.0
    total_events = 0

    def _do_train_job(self, sentences, alpha, inits):
        self.running_training_loss = 0.0
        trained, raw = super()._do_train_job(sentences, alpha, inits)
        self.total_loss += self.running_training_loss
        self.total_events += trained
        return trained, raw


class _Losses(CallbackAny2Vec):
    def __init__(self, told: Callable[[int, float], None]):
        self.per_epoch, self._told = [], told

    def on_epoch_begin(self, model: _Model) -> None:
        model.total_loss, model.total_events = 0.0, 0

    def on_epoch_end(self, model: _Model) -> None:
        self.per_epoch.append(model.total_loss / max(model.total_events, 1))
        self._told(len(self.per_epoch), self.per_epoch[-1])
