"""Which peers there are, and with which settings they run: fixed, as their authors recommend them, the same for every log.

No imports: both environments read this.
"""

LISTED = 60  # how many items a peer names per session; more than k, so that k are left behind the session's own history

# name: (what the table calls it, module of benchmarks.peers, settings, where the settings come from)
PEERS: dict[str, tuple[str, str, dict, str]] = {
    "covisitation": (
        "public co-visitation",
        "covisitation",
        {
            "tail": 30,
            "hours": 24,
            "bought_hours": 14 * 24,
            "recency": 3,
            "type_weights": [1, 6, 3],
            "top_clicks": 20,
            "top_buys": 15,
            "rerank_from": 20,
            "bought_bonus": 0.1,
        },
        "the widely shared OTTO notebook: three matrices and a re-ranker by hand-set rules, with its numbers",
    ),
    "cosine": ("implicit, cosine", "item_neighbours", {"weighting": "cosine", "K": 20}, "its defaults"),
    "tfidf": ("implicit, TF-IDF", "item_neighbours", {"weighting": "tfidf", "K": 20}, "its defaults"),
    "bm25": (
        "implicit, BM25",
        "item_neighbours",
        {"weighting": "bm25", "K": 20, "K1": 1.2, "B": 0.75},
        "its defaults",
    ),
    "vsknn": (
        "V-SKNN",
        "vsknn",
        {"k": 500, "sample": 1000},
        "Ludewig & Jannach 2018; position weight i/n, score decay 1/step², no idf",
    ),
    "ease": (
        "RecTools EASE",
        "ease",
        {"regularization": 500.0, "most_items": 12_000},
        "the library's default; a catalogue too large for an inverse: the items of the most recent sessions only",
    ),
    "sasrec": (
        "RecTools SASRec",
        "sasrec",
        {"n_factors": 64, "n_negatives": 128, "seed": 42, "budget": 1.75e10, "most_epochs": 20, "least_epochs": 3},
        "the library's defaults with the factors of its README; loss, epochs, sessions: what about 5 minutes on 2 cores allow",
    ),
}
