"""faiss without types: its stubs describe the C++ constructors, not the Python ones that replace them at import."""

from typing import Any

import faiss as _faiss

faiss: Any = _faiss
