"""RecTools' SASRec (Kang & McAuley 2018), trained for as long as the budget lasts."""

from __future__ import annotations

import logging
import warnings

import numpy as np
from pytorch_lightning import seed_everything
from rectools.models import SASRecModel

from benchmarks.peers.budget import plan
from benchmarks.peers.ease import dataset_of, recommended
from benchmarks.peers.split import Split


def fit(split: Split, n: int, n_factors: int, n_negatives: int, seed: int, budget: float, most_epochs: int, least_epochs: int):
    """(recommend, facts): recommend() -> int32 [1, S, n], items that the session had before included.

    How long it trains, and the loss: see budget.plan. Sequences: as long as 95 % of the sessions are, 5 to 100.
    """
    for name in ("pytorch_lightning", "lightning", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    seed_everything(seed)
    lengths = np.diff(split.starts)
    longest = int(np.clip(np.percentile(lengths[lengths >= 2], 95), 5, 100))
    recent = split.newest_first[lengths[split.newest_first] >= 2]
    loss, trained, epochs = plan(split, recent, longest, n_negatives, budget, most_epochs, least_epochs)
    in_training = np.zeros(len(lengths), bool)
    in_training[recent[:trained]] = True
    training = dataset_of(split, np.flatnonzero(np.repeat(in_training, lengths)))
    model = SASRecModel(n_factors=n_factors, session_max_len=longest, loss=loss, n_negatives=n_negatives, epochs=epochs)
    model.fit(training)
    items = model.data_preparator.get_known_item_ids().astype(np.int32)  # those within the sequences' length
    asked = np.flatnonzero(np.isin(split.aid, items) & np.isin(split.session, split.sessions))
    facts = {
        "loss": loss,
        "epochs": epochs,
        "session_max_len": longest,
        "sessions": trained,
        "of_sessions": len(recent),
        "items": len(items),
    }
    return (lambda: recommended(model, dataset_of(split, asked), split, np.unique(split.session[asked]), n)), facts
