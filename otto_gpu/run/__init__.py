"""How a run is carried out: its directory and stages, progress, workers, and a cluster of them."""
