"""From a user's log to a columnar event log, its periods, histories and ground truth."""
