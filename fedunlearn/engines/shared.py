"""Records between processes of one machine: tensors in memory that both see, all else as a line of JSON.

The memory has no name (memfd): nothing can be left behind in /dev/shm, and the system takes it back with the last
process that holds it, however that one ends. Nothing that arrives is executed: there are no pickles here.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import socket
import struct
from array import array as numbers
from collections.abc import Sequence
from typing import Any

import torch
from flwr.app import ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from torch import Tensor

from fedunlearn.federation import wire
from fedunlearn.models.flat import name_of

Sheet = dict[str, Any]  # name of a record -> what it holds, with places in memory where there are tensors
Words = dict[str, Any]  # what JSON can say
ALIGNED = 64  # bytes; as PyTorch's own memory, on which the last bits of a product may depend
LENGTH = struct.Struct("!Q")
MOST_FILES = 4  # in one message


class Pages:
    """Memory that several processes see. `size` in bytes; `file`: where another process finds it (default: new)."""

    def __init__(self, size: int, file: int | None = None) -> None:
        self.size = size
        self.file = os.memfd_create("fedunlearn") if file is None else file
        if file is None:
            os.ftruncate(self.file, size)
        self._bytes = mmap.mmap(self.file, size)

    def tensor(self, place: Sequence[Any]) -> Tensor:
        """The tensor at a place, in the memory itself."""
        dtype, shape, strides, offset = wire.DTYPES[place[0]], place[1], place[2], place[3]
        count = math.prod(shape)
        if not count:
            return torch.empty(shape, dtype=dtype)
        return torch.frombuffer(self._bytes, dtype=dtype, count=count, offset=offset).as_strided(shape, strides)

    def close(self) -> None:
        """Nobody else will be shown it. The memory stays as long as tensors in it are used."""
        os.close(self.file)


class Shelf:
    """Where one process puts records for others: always in the same memory, unless that is too small."""

    def __init__(self) -> None:
        self.pages = Pages(mmap.PAGESIZE)

    def put(self, *contents: RecordDict, apart: bool = False) -> list[Sheet]:
        """Write records, and say where they are. What was here before is gone, unless they are to lie `apart` from it.

        Raises ValueError or TypeError for what cannot be sent.
        """
        tensors: list[Tensor] = []
        places: list[list[Any]] = []
        sheets = [_sheet(content, tensors, places) for content in contents]
        size = 0
        for tensor, place in zip(tensors, places, strict=True):
            place[3] = size
            size += -(-tensor.numel() * tensor.element_size() // ALIGNED) * ALIGNED
        if apart or size > self.pages.size:
            self.pages.close()
            self.pages = Pages(max(size, mmap.PAGESIZE))
        for tensor, place in zip(tensors, places, strict=True):
            self.pages.tensor(place).copy_(tensor)
        return sheets

    def close(self) -> None:
        """Nothing more will be put here, or shown to anybody."""
        self.pages.close()


def _sheet(content: RecordDict, tensors: list[Tensor], places: list[list[Any]]) -> Sheet:
    """What JSON can say of records; their tensors go to the end of `tensors`, and where they will be to `places`."""
    sheet: Sheet = {}
    for name, record in content.items():
        if not isinstance(record, ArrayRecord):
            sheet[name] = ["config" if isinstance(record, ConfigRecord) else "metrics", dict(record)]
            continue
        sheet[name] = ["arrays", {}]
        for key, array in record.items():
            dtype, shape = wire.form(array)
            tensor = wire.tensor(array, torch.device("cpu"))
            tensors.append(tensor)
            places.append([name_of(dtype), shape, _strides(tensor), 0])
            sheet[name][1][key] = places[-1]
    return sheet


def _strides(tensor: Tensor) -> Sequence[int]:
    """How a tensor lies in memory, such as channels last: kernels and the order of sums depend on it."""
    return tensor.stride() if tensor.is_contiguous() else torch.empty_like(tensor, device="meta").stride()


def records(sheet: Sheet, pages: Pages | None, copied: bool) -> RecordDict:
    """The records that a sheet tells of; their tensors `copied`, or in the memory itself, which may change later."""
    content = RecordDict()
    for name, (kind, held) in sheet.items():
        if kind != "arrays":
            content[name] = ConfigRecord(held) if kind == "config" else MetricRecord(held)
            continue
        assert pages is not None
        tensors = {key: pages.tensor(place) for key, place in held.items()}
        content[name] = wire.by_reference({k: t.clone() for k, t in tensors.items()} if copied else tensors)
    return content


class Channel:
    """One end of a connection between two processes, for words and for memory to look at."""

    def __init__(self, end: socket.socket) -> None:
        self.end = end
        self._shown: dict[str, Pages] = {}  # by us, by what we call it
        self.seen: dict[str, Pages] = {}  # shown to us

    def send(self, words: Words, **shown: Pages) -> None:
        """Say `words`, about memory that the other end may see from now on. Raises ConnectionError if it is gone."""
        new = {name: pages for name, pages in shown.items() if self._shown.get(name) is not pages}
        self._shown |= new
        text = json.dumps([words, [[name, pages.size] for name, pages in new.items()]]).encode()
        data, sent = LENGTH.pack(len(text)) + text, 0
        if new:
            files = numbers("i", [pages.file for pages in new.values()])
            # As socket.send_fds, which passes over its flags: SIGPIPE would end a whole script.
            sent = self.end.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, files)], socket.MSG_NOSIGNAL)
        self.end.sendall(data[sent:] if sent else data, socket.MSG_NOSIGNAL)

    def receive(self) -> Words:
        """What the other end says next. Raises EOFError or ConnectionError if it is gone."""
        head, files, *_ = socket.recv_fds(self.end, LENGTH.size, MOST_FILES)
        (length,) = LENGTH.unpack(head + self._exactly(LENGTH.size - len(head)))
        words, new = json.loads(self._exactly(length))
        for (name, size), file in zip(new, files, strict=True):
            self.seen[name] = Pages(size, file)
            self.seen[name].close()
        return dict(words)

    def close(self) -> None:
        """The other end finds that nobody is here any more."""
        self.end.close()

    def _exactly(self, count: int) -> bytes:
        parts = []
        while count:
            part = self.end.recv(count)
            if not part:
                raise EOFError
            parts.append(part)
            count -= len(part)
        return b"".join(parts)
