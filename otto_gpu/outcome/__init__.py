"""What a run came to: its final lists and figures."""
