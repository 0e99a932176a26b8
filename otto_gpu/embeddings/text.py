"""Vectors of what is written about the items: hashed TF-IDF and truncated SVD, which is latent semantic analysis (Deerwester
et al. 1990) without a dictionary. Texts are known before any event, so both periods have the same vectors.

Terms that many texts have would take the strongest directions for themselves: they are left out (of news' titles, terms in 2 %
and more: of the 10 nearest titles 45 % shared the category, with them 38 %; MIND, 51,000 titles, 64 directions, chance 19 %).
A term's count in a text counts 1 + ln(count), times its idf ln((1 + n) / (1 + texts with the term)) + 1 over the n items that
have texts; the rows have length 1 before the SVD and after it. The SVD is randomised (Halko et al. 2011) with a fixed seed, and
in one thread: several threads add up in another order every time.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from otto_gpu.embeddings.model import Task, VectorModel, ready
from otto_gpu.embeddings.model import in_turn as shared  # noqa: F401
from otto_gpu.embeddings.settings import NEEDS, Text
from otto_gpu.embeddings.vectors import normalised
from otto_gpu.errors import UserError
from otto_gpu.events.items import Items
from otto_gpu.events.stage import load_ids

try:
    from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
    from sklearn.utils.extmath import randomized_svd
    from threadpoolctl import threadpool_limits
except ImportError as error:
    raise NEEDS["text"].missing() from error

FEW = 100  # texts: in so many any term may be
NOISE = 1e-6  # directions whose singular value is below this share of the first are rounding


def models(task: Task) -> list[VectorModel]:
    def model(name: str, config: Text) -> VectorModel:
        def make():
            items = Items.load(task.run_dir, len(load_ids(task.run_dir, "items")))
            vectors = text_vectors(joined(name, config, items), config, task.config.seed)
            with_text = int(vectors.any(axis=1).sum())
            task.reporter.say(f"  {name}: {with_text:,} of {items.n_items:,} items have words")
            return vectors, {"dim": config.dim}

        return ready(task, name, make)

    return [model(name, config) for name, config in task.config.text.items()]


def joined(name: str, config: Text, items: Items) -> pa.Array:
    """The texts of the columns, one after the other; '' where an item has none."""
    for column in config.columns:
        if column not in items.texts:
            known = ", ".join(items.texts) or "none"
            raise UserError(f"embeddings.text.{name}: the items have no column {column!r} of kind text; there are: {known}")
    parts = [pc.fill_null(items.texts[column].cast(pa.string()), "") for column in config.columns]
    return pc.binary_join_element_wise(*parts, " ")


def text_vectors(texts: pa.Array, config: Text, seed: int) -> np.ndarray:
    """float32 [n, dim], of length 1; zeros where a text has no terms. The same texts and seed give the same bytes."""
    counts = HashingVectorizer(
        n_features=config.buckets, alternate_sign=False, norm=None, ngram_range=config.ngrams,
        analyzer="word" if config.tokens == "words" else "char_wb", dtype=np.float64,
    ).transform(texts.to_pylist())  # fmt: skip
    vectors = np.zeros((len(texts), config.dim), np.float32)
    # buckets that no text falls into cost memory in the SVD and change nothing
    found, most = counts.getnnz(axis=0), max(config.common * np.count_nonzero(np.diff(counts.indptr)), FEW)
    counts = counts[:, np.flatnonzero((found > 0) & (found <= most))]
    rows = np.flatnonzero(np.diff(counts.indptr))
    if not len(rows):
        return vectors
    weights = TfidfTransformer(sublinear_tf=True).fit_transform(counts[rows])
    dim = min(config.dim, *weights.shape)
    with threadpool_limits(1):
        left, values, _ = randomized_svd(weights, dim, n_iter=config.iterations, random_state=seed)
    real = values > values[0] * NOISE
    vectors[rows, :dim] = normalised(left * np.where(real, values, 0))
    return vectors
