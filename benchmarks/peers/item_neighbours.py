"""implicit's item-item neighbours: cosine, TF-IDF and BM25 of the sessions x items matrix."""

from __future__ import annotations

from implicit.nearest_neighbours import BM25Recommender, CosineRecommender, TFIDFRecommender

from benchmarks.peers.split import Split

MODELS = {"cosine": CosineRecommender, "tfidf": TFIDFRecommender, "bm25": BM25Recommender}


def fit(split: Split, n: int, weighting: str, **settings):
    """(recommend, facts): recommend() -> int32 [1, S, n], items that the session had before included."""
    counts = split.matrix()
    model = MODELS[weighting](**settings)
    model.fit(counts, show_progress=False)

    def recommend():
        listed, scores = model.recommend(split.rows, counts[split.rows], N=n, filter_already_liked_items=False)
        listed[scores <= 0] = -1  # what the library fills up with
        return listed[None].astype("int32")

    return recommend, {}
