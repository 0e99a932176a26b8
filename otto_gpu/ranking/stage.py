"""The stages `rankers` (models per target, group and fold), `predictions` (scores of every candidate) and `blend`, and the
lists that come of them."""

from otto_gpu.ranking.predict import predict
from otto_gpu.ranking.scores import ranked_lists
from otto_gpu.ranking.train import train
from otto_gpu.ranking.weights import blend

__all__ = ["blend", "predict", "ranked_lists", "train"]
