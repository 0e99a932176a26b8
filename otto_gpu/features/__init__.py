"""What the rankers see of a candidate: families of columns, declared in the catalogue, computed chunk by chunk in memory."""
