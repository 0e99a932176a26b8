"""`encoder`: a network that reads a history as a whole and points at the next item (PyTorch).

After SASRec (Kang and McAuley 2018): events are items with their types, pauses and places; self-attention looks back only;
every place predicts the item that follows. Unlike there the loss is a softmax over many items instead of one negative
(Klenitskiy and Vasilev 2023), and session and item meet in a cosine over a learnt temperature (NISER, Gupta et al. 2019), so
that popular items do not win by the length of their vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from otto_gpu.device import Device
from otto_gpu.device.hashing import HELD_OUT, uniform
from otto_gpu.embeddings.model import Task, VectorModel
from otto_gpu.embeddings.settings import ENCODER, NEEDS, Encoder
from otto_gpu.embeddings.table import Table, told_place, torch_device, training
from otto_gpu.embeddings.vectors import normalised
from otto_gpu.events.log import EventLog
from otto_gpu.run.progress import Reporter

try:
    import torch
    from torch import nn
    from torch.nn import functional
except ImportError as error:
    raise NEEDS[ENCODER].missing() from error

PAUSES = 20  # log2(1 + seconds) of the pause before an event, at most so much
RANKED_AT_ONCE = 512  # sessions
FEW = 4_096  # batches of sessions of like length are cut from so many at a time, so that a batch has little padding


def models(task: Task) -> list[VectorModel]:
    config = task.config

    def learn(period, told):
        made = train_encoder(period.known, config.encoder, config.held_out, config.seed, task.device, task.threads, told)
        model, figures = made
        reader = model.reader()
        sessions = reader.sessions(period.history, period.sessions)
        return {ENCODER: model.items(), f"{ENCODER}.sessions": sessions}, figures, reader.weights()

    return [VectorModel(ENCODER, config.encoder.epochs, learn)]


def shared(device: Device, threads: int, reporter: Reporter) -> tuple[bool, int]:
    """One thread, one period after the other: batches of short sessions are too small to be shared out, side by side the
    periods wait for each other (five times slower, measured), and the result is that of any machine."""
    told_place(device, reporter)
    return False, 1


@dataclass(frozen=True)
class Batch:
    """The newest `length` events of some sessions, left-aligned: aid (-1: none), kind, pause int64 [b, m]; n int64 [b]."""

    aid: np.ndarray
    kind: np.ndarray
    pause: np.ndarray
    n: np.ndarray

    @classmethod
    def of(cls, log: EventLog, sessions: np.ndarray, length: int) -> Batch:
        last = log.starts[sessions + 1]
        n = np.minimum(last - log.starts[sessions], length)
        column = np.arange(n.max(initial=0))
        there = column < n[:, None]
        event = np.where(there, (last - n)[:, None] + column, 0)
        ts = log.ts[event]
        seconds = np.diff(ts, axis=1, prepend=ts[:, :1]) / 1000
        pause = np.minimum(np.log2(1 + np.maximum(seconds, 0) * there), PAUSES - 1)
        aid = np.where(there, log.aid[event], -1).astype(np.int64)
        return cls(aid, np.where(there, log.type[event], 0).astype(np.int64), pause.astype(np.int64), n)


class Network(nn.Module):
    """Everything but the table of the items."""

    def __init__(self, config: Encoder, types: int):
        super().__init__()
        dim = config.dim
        self.kind, self.pause, self.place = (
            nn.Embedding(types, dim),
            nn.Embedding(PAUSES, dim),
            nn.Embedding(config.length, dim),
        )
        for table in (self.kind, self.pause, self.place):
            nn.init.normal_(table.weight, std=0.02)
        self.dropout = nn.Dropout(config.dropout)
        layer = nn.TransformerEncoderLayer(
            dim, config.heads, 4 * dim, config.dropout, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, config.layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(dim)
        self.sharpness = nn.Parameter(torch.tensor(1 / 0.07).log())  # the logarithm of 1 over the temperature

    def forward(self, items: torch.Tensor, kind: torch.Tensor, pause: torch.Tensor) -> torch.Tensor:
        """float32 [b, m, dim] of length 1: after every event, where the session goes. items: the events' vectors."""
        m = items.shape[1]
        place = self.place(torch.arange(m, device=items.device))
        read = self.dropout(items * items.shape[2] ** 0.5 + self.kind(kind) + self.pause(pause) + place)
        ahead = nn.Transformer.generate_square_subsequent_mask(m, device=items.device)
        return functional.normalize(self.norm(self.layers(read, mask=ahead, is_causal=True)), dim=-1)


class Model:
    """A table of items and a network, trained by `fit`."""

    def __init__(self, config: Encoder, log: EventLog, seed: int, device: torch.device):
        self.config, self.device = config, device
        torch.manual_seed(seed)  # of the initial weights and the dropout
        self.network = Network(config, len(log.types)).to(device)
        self.table = Table(log.n_items, config.dim, config.lr, config.dim**-0.5, seed, device)
        self.optimizer = torch.optim.AdamW(self.network.parameters(), config.lr, weight_decay=0.01)
        counts = np.bincount(log.aid, minlength=log.n_items).astype(np.float64)
        self._drawable = np.flatnonzero(counts)
        share = counts[self._drawable] ** config.negatives_exponent
        self._cumulated = np.cumsum(share / share.sum())
        expected = np.zeros(log.n_items)
        expected[self._drawable] = share / share.sum() * config.negatives
        # the correction for the draw (Jean et al. 2015): how often an item is expected among the negatives
        self._expected = torch.from_numpy(np.log(np.maximum(expected, 1e-12)).astype(np.float32)).to(device)
        self._random = np.random.default_rng(seed)

    def step(self, batch: Batch, done: float) -> torch.Tensor:
        """One move of all weights; returns the mean cross-entropy, on the device. done: the share of the training before it."""
        config, network = self.config, self.network
        everything = len(self._drawable) <= config.negatives
        drawn = self._drawable if everything else self._drawable[self._draw()]
        aid = torch.from_numpy(batch.aid).to(self.device)
        read, follow = aid[:, :-1], aid[:, 1:]
        there = follow >= 0
        negatives, truth = torch.from_numpy(drawn).to(self.device), follow[there]
        rows, copy, (read_at, truth_at, negatives_at) = self.table.take(read.clamp(min=0), truth, negatives)
        network.train()
        kind, pause = (torch.from_numpy(a[:, :-1]).to(self.device) for a in (batch.kind, batch.pause))
        point = network(copy[read_at] * (read >= 0)[..., None], kind, pause)[there]
        unit = functional.normalize(copy, dim=-1)
        sharpness = network.sharpness.exp().clamp(max=100)
        scores = sharpness * (point @ unit[negatives_at].T)
        if everything:
            place = torch.zeros(len(self._expected), dtype=torch.int64, device=self.device)
            place[negatives] = torch.arange(len(negatives), device=self.device)
            loss = functional.cross_entropy(scores, place[truth])
        else:
            own = sharpness * (point * unit[truth_at]).sum(-1, keepdim=True)
            scores = (scores - self._expected[negatives]).masked_fill(negatives[None] == truth[:, None], -torch.inf)
            loss = functional.cross_entropy(torch.cat([own, scores], 1), torch.zeros_like(truth))
        self.optimizer.zero_grad()
        loss.backward()
        warm = min(1.0, done / 0.05 + 0.01)
        for group in self.optimizer.param_groups:
            group["lr"] = config.lr * warm * (1 - done)
        self.optimizer.step()
        self.table.step(rows, copy, 1 - warm * (1 - done))
        return loss.detach()

    def _draw(self) -> np.ndarray:
        places = np.searchsorted(self._cumulated, self._random.random(self.config.negatives))
        return np.minimum(places, len(self._drawable) - 1)

    def items(self) -> np.ndarray:
        """float32 [n_items, dim]; zeros where no session of the training has the item."""
        return self.table.vectors(len(self._expected))

    def reader(self) -> Reader:
        """What the training has made, to read histories with; training may go on."""
        items = self.items()
        lengths = np.sqrt(np.einsum("ij,ij->i", items, items, dtype=np.float64)).astype(np.float32)
        return Reader(self.network, normalised(items), lengths, self.config.length, self.device)


class Reader:
    """Reads histories. items: float32 [n_items, dim] of length 1 or 0, as they are kept; lengths: float32 [n_items], what
    they were learnt with, so that what is read again from a run gives the same bits."""

    def __init__(self, network: Network, items: np.ndarray, lengths: np.ndarray, length: int, device: torch.device):
        self._network, self._lengths, self._length, self._device = network, lengths, length, device
        self._items = torch.from_numpy(items * lengths[:, None]).to(device)

    def weights(self) -> dict[str, np.ndarray]:
        """Everything but the items, by name."""
        network = {f"network.{name}": value.cpu().numpy() for name, value in self._network.state_dict().items()}
        return network | {"lengths": self._lengths}

    @classmethod
    def of(cls, items: np.ndarray, weights: Mapping[str, np.ndarray], config: Encoder, types: int, device: Device) -> Reader:
        """Of what a run keeps: the items' vectors, and weights() of its reader. types: how many there are."""
        place = torch_device(device)
        network = Network(config, types)
        state = {name.removeprefix("network."): torch.from_numpy(w) for name, w in weights.items() if name != "lengths"}
        network.load_state_dict(state)
        return cls(network.to(place), items, weights["lengths"], config.length, place)

    def sessions(self, log: EventLog, sessions: np.ndarray) -> np.ndarray:
        """float32 [S, dim] of length 1: where the given sessions of a log go after their last event."""
        self._network.eval()
        out = np.zeros((len(sessions), self._items.shape[1]), np.float32)
        with torch.no_grad():
            for first in range(0, len(sessions), RANKED_AT_ONCE):
                batch = Batch.of(log, sessions[first : first + RANKED_AT_ONCE], self._length)
                aid, kind, pause, n = (
                    torch.from_numpy(a).to(self._device) for a in (batch.aid, batch.kind, batch.pause, batch.n)
                )
                if aid.shape[1] == 0:
                    continue
                point = self._network(self._items[aid.clamp(min=0)] * (aid >= 0)[..., None], kind, pause)
                last = point[torch.arange(len(n)), (n - 1).clamp(min=0)] * (n > 0)[:, None]
                out[first : first + len(n)] = last.cpu().numpy()
        return out


def train_encoder(
    log: EventLog, config: Encoder, held_out: float, seed: int, device: Device, threads: int,
    told: Callable[[int, float], None] = lambda epoch, loss: None,
) -> tuple[Model, dict]:  # fmt: skip
    """(model, {"loss": [per epoch], "auc": float or None, "events": read in all}). told(epoch from 1, loss) after each.

    A session's events older than the newest `length` + 1 are not read. An epoch is all sessions of `days`; there are so many
    that `events` events are read, at least one and at most `epochs`.
    """
    if config.days is not None and len(log):
        log = log.where(log.ts > log.ts.max() - config.days * 86_400_000)
    read = np.minimum(np.diff(log.starts), config.length + 1)
    sessions = np.flatnonzero(read >= 2)
    aside = uniform(seed, np.full(len(sessions), HELD_OUT), sessions) < held_out
    sessions, held = sessions[~aside], sessions[aside]
    an_epoch = int(read[sessions].sum())
    epochs = int(np.clip(round(config.events / max(an_epoch, 1)), 1, config.epochs))
    with training(device, threads) as where:
        model = Model(config, log, seed, where)
        losses = []
        for epoch in range(epochs):
            batches = list(_batches(read, sessions, config.batch, np.random.default_rng([seed, epoch])))
            total = 0.0
            for b, chosen in enumerate(batches):
                done = (epoch + b / len(batches)) / epochs
                # on the device: to read every loss would wait for every step
                total = total + model.step(Batch.of(log, chosen, config.length + 1), done).double()
            losses.append(round(float(total) / max(len(batches), 1), 5))
            told(epoch + 1, losses[-1])
        figures = {"loss": losses, "auc": _auc(model, log, held, seed), "events": an_epoch * epochs}
    return model, figures


def _batches(read: np.ndarray, sessions: np.ndarray, size: int, random) -> Iterator[np.ndarray]:
    """All sessions in random batches of like lengths."""
    mixed = random.permutation(sessions)
    cut = []
    for first in range(0, len(mixed), FEW):
        some = mixed[first : first + FEW]
        some = some[np.argsort(read[some], kind="stable")]
        cut += [some[i : i + size] for i in range(0, len(some), size)]
    for place in random.permutation(len(cut)):
        yield cut[place]


def _auc(model: Model, log: EventLog, held: np.ndarray, seed: int) -> float | None:
    """Of held-out sessions: how often the item after the last but one event lies nearer than another held-out session's."""
    if len(held) < 2:
        return None
    mask = np.isin(log.session, held)
    mask[log.starts[held + 1] - 1] = False
    points = model.reader().sessions(log.where(mask), held)
    truth = log.aid[log.starts[held + 1] - 1]
    other = np.random.default_rng(seed).permutation(truth)
    items = normalised(model.items())
    right, wrong = (np.einsum("ij,ij->i", points, items[a]) for a in (truth, other))
    fair = truth != other
    if not fair.any():
        return None
    return round(float(((right > wrong) + 0.5 * (right == wrong))[fair].mean()), 5)
