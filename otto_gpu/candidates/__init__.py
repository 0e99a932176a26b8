"""About a hundred candidates per session: key items of a history ask the matrices, as recipes say."""
