"""What the tensors of a request must be for a model, however they travel: names, datatypes, shapes, values."""

from collections.abc import Collection, Mapping
from typing import Any, Final

import numpy as np

from reelspace.serving.signatures import ANY, Signature, TensorSpec
from reelspace.serving.wire import Tensor, WireError

MAX_ID_LENGTH: Final = 128
MAX_ANY_DIM: Final = 65_536
MAX_TIMEOUT_US: Final = 600_000_000


class InputChecks:
    """Checks the inputs of one request one by one as they are read, and as a whole at the end.

    Every check raises WireError with the field it is about; `where` names the tensor, as `inputs[0]`.
    """

    def __init__(self, signature: Signature) -> None:
        self._signature = signature
        self._specs = {spec.name: spec for spec in signature.inputs}
        self._tensors: dict[str, Tensor] = {}

    def spec(self, name: Any, datatype: Any, shape: Any, where: str) -> TensorSpec:
        """Find what an input must be, and hold what is said of it against that."""
        spec = self._specs[checked_name(name, self._specs, self._tensors, where)]
        if datatype != spec.datatype:
            raise WireError(f"{where}.datatype", f"{spec.name} is {spec.datatype}, got {datatype!r:.40}")
        max_batch = self._signature.max_batch
        if not isinstance(shape, list) or not _fits(shape, spec, max_batch):
            expected = [f"1 to {max_batch}", *("1 or more" if size == ANY else str(size) for size in spec.dims)]
            raise WireError(f"{where}.shape", f"{spec.name} has shape [{', '.join(expected)}], got {shape!r:.80}")
        return spec

    def add(self, spec: TensorSpec, tensor: Tensor, field: str) -> None:
        """Take an input's tensor, of the shape that was checked."""
        if spec.datatype == "BYTES":
            _check_bytes(tensor, spec, field)
        if tensor.dtype.kind == "f" and not np.isfinite(tensor).all():
            raise WireError(field, f"{spec.name} must be finite")
        self._tensors[spec.name] = tensor

    def whole(self) -> dict[str, Tensor]:
        """Give the tensors by name when none is missing and all have one batch."""
        missing = [spec.name for spec in self._signature.inputs if not spec.optional and spec.name not in self._tensors]
        if missing:
            takes = ", ".join(self._specs)
            raise WireError("inputs", f"{', '.join(missing)} missing; model {self._signature.model} takes {takes}")
        batches = {name: len(tensor) for name, tensor in self._tensors.items()}
        if len(set(batches.values())) > 1:
            raise WireError("inputs", f"the batch differs between tensors: {batches}")
        return self._tensors


def checked_name(name: Any, known: Collection[str], seen: Mapping[str, object], where: str) -> str:
    """Give a tensor's name that the model knows and that came once."""
    if not isinstance(name, str) or name not in known:
        raise WireError(f"{where}.name", f"expected one of {', '.join(known)}, got {name!r:.60}")
    if name in seen:
        raise WireError(f"{where}.name", f"{name} is given twice")
    return name


def checked_count(number: int, most: int, field: str) -> None:
    """Refuse lists of tensors with none, or with more than the model has."""
    if not 1 <= number <= most:
        raise WireError(field, f"expected a list of 1 to {most} tensors, got {number}")


def checked_id(value: Any) -> str | None:
    """Give a request's own id, None where it has none."""
    if value is None or (isinstance(value, str) and len(value) <= MAX_ID_LENGTH and value.isprintable()):
        return value
    raise WireError("id", f"expected a printable string of at most {MAX_ID_LENGTH} characters")


def checked_timeout_s(timeout_us: Any) -> float | None:
    """Give the seconds that a client waits, from the protocol's microseconds; None where it does not say."""
    if timeout_us is None:
        return None
    if type(timeout_us) is not int or not 1 <= timeout_us <= MAX_TIMEOUT_US:
        raise WireError("parameters.timeout", f"expected 1 to {MAX_TIMEOUT_US} microseconds, got {timeout_us!r:.40}")
    return timeout_us / 1e6


def _fits(shape: list[Any], spec: TensorSpec, max_batch: int) -> bool:
    if len(shape) != len(spec.dims) + 1 or any(type(size) is not int for size in shape):
        return False
    fixed = zip(shape[1:], spec.dims, strict=True)
    return 1 <= shape[0] <= max_batch and all(1 <= size <= MAX_ANY_DIM if dim == ANY else size == dim for size, dim in fixed)


def _check_bytes(tensor: Tensor, spec: TensorSpec, field: str) -> None:
    elements = tensor.reshape(-1)
    longest = max(len(element) for element in elements)
    if longest > spec.max_bytes:
        raise WireError(field, f"{spec.name} holds at most {spec.max_bytes} bytes per element, got {longest}")
    if not spec.is_text:
        return
    for row, element in enumerate(elements):
        try:
            text = element.decode()
        except UnicodeDecodeError as error:
            raise WireError(field, f"{spec.name}: row {row} is not UTF-8: {error.reason} at byte {error.start}") from error
        if "\0" in text:
            raise WireError(field, f"{spec.name}: row {row} has a NUL at character {text.index(chr(0))}; expected words")
