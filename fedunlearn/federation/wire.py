"""Tensors in Flower records: by reference inside one process, as bytes everywhere else.

A model travels as its vectors (`models.flat`): a record holds one array `float32` of all its parameters and
statistics, and one for each other type of number that it has, such as `int64` for counters.

Bytes come from other machines: what they say about themselves is checked before anything is made of them, and nothing
in them is ever executed (no pickles).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import TypeVar, cast

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, MetricRecord, RecordDict
from torch import Tensor

from fedunlearn.models.flat import name_of

R = TypeVar("R", ArrayRecord, MetricRecord, RecordDict)
Pack = Callable[[Mapping[str, Tensor]], ArrayRecord]
Form = tuple[torch.dtype, tuple[int, ...]]  # type and shape
Forms = dict[str, Form]


FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
WHOLES = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
DTYPES = {name_of(dtype): dtype for dtype in (*FLOATS, *WHOLES)}  # all that can be added up; nothing else travels
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


class TensorArray(Array):
    """A Flower Array that holds a tensor and turns it into bytes only if somebody asks for the bytes."""

    tensor: Tensor

    def __init__(self, tensor: Tensor) -> None:
        self.__dict__.update(
            tensor=tensor,
            dtype=name_of(tensor.dtype),
            shape=tuple(tensor.shape),
            stype="numpy.ndarray",
        )

    @property
    def data(self) -> bytes:  # type: ignore[override]
        """The tensor as Flower would have sent it."""
        return Array(self.numpy()).data

    def numpy(self) -> np.ndarray:
        """The tensor as an array in main memory."""
        return np.asarray(self.tensor.detach().cpu().numpy())


def by_reference(tensors: Mapping[str, Tensor]) -> ArrayRecord:
    """For clients in this process. Receivers must not write into what they get."""
    # empty first: its constructor would turn every Array into bytes
    return filled(ArrayRecord(), {name: TensorArray(tensor) for name, tensor in tensors.items()})


def filled(record: R, entries: Mapping[str, object]) -> R:
    """Put entries into a Flower record whose types are known: it checks them one by one, in every reply."""
    record.__dict__["_data"].update(entries)
    return record


def as_bytes(tensors: Mapping[str, Tensor]) -> ArrayRecord:
    """For clients in other processes or on other machines."""
    return ArrayRecord({name: Array(tensor.detach().cpu().contiguous().numpy()) for name, tensor in tensors.items()})


def tensors(content: RecordDict, name: str, device: torch.device) -> dict[str, Tensor]:
    """The tensors of the record `name` in a message's content."""
    return unpack(cast(ArrayRecord, content[name]), device)


def number(content: RecordDict, record: str, name: str) -> float:
    """The number `name` of the record `record` in a message's content."""
    return cast(float, content[record][name])


def unpack(record: ArrayRecord, device: torch.device) -> dict[str, Tensor]:
    """The tensors of a record made by either of the above, on `device`. Raises ValueError as `tensor` does."""
    return {name: tensor(array, device) for name, array in record.items()}


def form(array: Array) -> Form:
    """Type and shape, without a look at the content. Raises ValueError for types that are not supported."""
    if isinstance(array, TensorArray):
        dtype, shape = array.tensor.dtype, tuple(array.tensor.shape)
        if dtype not in DTYPES.values() or array.tensor.layout is not torch.strided:
            raise ValueError(f"is of a type that is not supported ({name_of(dtype)}, {array.tensor.layout})")
        return dtype, shape
    if array.dtype not in DTYPES:
        raise ValueError(f"is of a type that is not supported ({str(array.dtype)[:20]})")
    return DTYPES[array.dtype], tuple(array.shape)


def forms(tensors: Mapping[str, Tensor]) -> Forms:
    """Types and shapes of tensors, by name."""
    return {name: (value.dtype, tuple(value.shape)) for name, value in tensors.items()}


def tensor(array: Array, device: torch.device) -> Tensor:
    """What an array holds, on `device`. Raises ValueError for bytes that are not what the array says they are."""
    held = array.tensor if isinstance(array, TensorArray) else torch.from_numpy(_numpy(array))
    return (held.detach() if held.requires_grad else held).to(device)


def _numpy(array: Array) -> np.ndarray:
    """The array in the bytes, which are NumPy's own format; what its header announces must be there."""
    dtype, shape = form(array)
    stream = BytesIO(array.data)
    try:
        read_header = HEADERS[np.lib.format.read_magic(stream)]
        found, fortran, kind = read_header(stream)
    except (ValueError, KeyError, SyntaxError, TypeError) as error:
        raise ValueError("is not in the format of NumPy") from error
    if kind != np.dtype(name_of(dtype)) or found != shape:
        raise ValueError(f"holds {kind} {list(found)}, and says that it is {name_of(dtype)} {list(shape)}")
    if len(array.data) - stream.tell() != math.prod(shape) * kind.itemsize:
        raise ValueError("has more or fewer bytes than its shape takes")
    return np.ndarray(shape, kind, array.data, stream.tell(), order="F" if fortran else "C").copy()


def payload(record: Mapping[str, Array]) -> int:
    """Bytes of array content in a record or a part of one (elements × width; headers and protocol are not counted)."""
    return sum(math.prod(shape) * dtype.itemsize for dtype, shape in map(form, record.values()))
