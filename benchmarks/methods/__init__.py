"""Which way to train or prompt, on the same rows: quality with intervals, seconds."""
