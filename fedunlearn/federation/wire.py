"""Tensors in Flower records: by reference inside one process, as bytes everywhere else."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import cast

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, RecordDict
from torch import Tensor

Pack = Callable[[Mapping[str, Tensor]], ArrayRecord]


class TensorArray(Array):
    """A Flower Array that holds a tensor and turns it into bytes only if somebody asks for the bytes."""

    tensor: Tensor

    def __init__(self, tensor: Tensor) -> None:
        self.__dict__.update(
            tensor=tensor,
            dtype=str(tensor.dtype).removeprefix("torch."),
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
    record = ArrayRecord()  # filled one by one: its constructor would turn every Array into bytes
    for name, tensor in tensors.items():
        record[name] = TensorArray(tensor)
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
    """The tensors of a record made by either of the above, on `device`."""
    return {name: _tensor(array).to(device) for name, array in record.items()}


def _tensor(array: Array) -> Tensor:
    return array.tensor if isinstance(array, TensorArray) else torch.from_numpy(array.numpy())


def payload(record: Mapping[str, Array]) -> int:
    """Bytes of array content in a record or a part of one (elements × width; headers and protocol are not counted)."""
    return sum(math.prod(array.shape) * np.dtype(array.dtype).itemsize for array in record.values())
