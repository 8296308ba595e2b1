"""Images of the components, one per extra of `pyproject.toml`; `images.lock` at the root has their digests."""

SIGNALS = "reelspace/python-signals:0.1.0"
TRAIN = "reelspace/python-train:0.1.0"
SEARCH = "reelspace/python-search:0.1.0"
