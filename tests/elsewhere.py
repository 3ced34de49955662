"""A device that is not there: tensors that count as being on a GPU, while all that is computed with them is real.

Inside `entered()`, what is asked for on DEVICE is made in the memory of this machine and remembered as being elsewhere:
its `device` says so, all that comes of it is there, too, and an operation on tensors of both places raises RuntimeError
as PyTorch does. So whole rounds run, backward passes and vectorised steps included, and a tensor that was left on the
wrong device is an error where it is used. PyTorch's own fake tensors do the same without numbers: they stop at the
first result whose shape depends on values, and cannot go backward.

Not seen are kernels that only a GPU has, and what is asked of `torch.cuda` itself.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

DEVICE, CPU = torch.device("cuda", 0), torch.device("cpu")
MANY = 100_000  # memories remembered, before those that are gone are struck off

aten = torch.ops.aten
COPIES = {aten.copy_.default}  # from anywhere to anywhere
# The values to be picked and to be put must be in one place; positions may also be on the CPU.
PICKS = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default}
_there: dict[int, StorageWeakRef] = {}
_within = threading.local()


def is_there(tensor: Tensor) -> bool:
    """Does it count as being on DEVICE?"""
    known = _there.get(_address(tensor))
    return known is not None and not known.expired()


@contextmanager
def entered(monkeypatch: Any = None) -> Iterator[None]:
    """In this thread and, with pytest's `monkeypatch`, in all that are started meanwhile."""
    if monkeypatch is not None:
        run = threading.Thread.run

        def run_there(thread: threading.Thread) -> None:
            with entered():
                run(thread)

        monkeypatch.setattr(threading.Thread, "run", run_there)
    with _Named(), _Kept():
        yield


class _Kept(TorchDispatchMode):
    """What is done to numbers, below gradients and vectorisation: in one place, and what comes of it stays there."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = _found(Tensor, args, kwargs)
        elsewhere = any(map(is_there, given))
        if func in COPIES or not (elsewhere or (not given and _inheriting())):
            return func(*args, **kwargs)
        if _found(torch.Generator, args, kwargs):
            raise RuntimeError(f"{func}: a generator on the CPU cannot fill a tensor on {DEVICE}")
        together = [args[0], *args[2:3]] if func in PICKS else given
        if any(each.dim() and not is_there(each) for each in together):
            raise RuntimeError(f"{func}: expected all tensors to be on the same device, but one is on the CPU")
        made = func(*args, **kwargs)
        for tensor in _found(Tensor, made):
            _mark(tensor)
        return made


class _Named(TorchFunctionMode):
    """What is said of places: which one a tensor is in, and where to make or move one."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in ASKED:
            return ASKED[func](args[0]) if is_there(args[0]) else func(*args, **kwargs)
        if func in MOVES:
            return _moved(func, args, kwargs)
        if func in READS and is_there(args[0]):
            raise TypeError(f"can't convert {DEVICE} device type tensor to numpy")
        if kwargs.get("device") is not None:
            return _made(func, args, kwargs, torch.device(kwargs["device"]))
        if any(map(is_there, _found(Tensor, args, kwargs))):
            with _heirs():
                return func(*args, **kwargs)
        return func(*args, **kwargs)


ASKED: dict[Any, Callable[[Tensor], Any]] = {
    Tensor.device.__get__: lambda tensor: DEVICE,  # type: ignore[attr-defined]
    Tensor.is_cuda.__get__: lambda tensor: True,  # type: ignore[attr-defined]
}
MOVES = {Tensor.to, Tensor.cpu, Tensor.cuda}
READS = {Tensor.numpy, Tensor.__array__}


def _found(kind: type, *given: Any) -> list[Any]:
    """What there is of a kind in arguments or results, however deep in tuples, lists and dictionaries."""
    found = []
    for each in given:
        if isinstance(each, kind):
            found.append(each)
        elif isinstance(each, tuple | list):
            found += _found(kind, *each)
        elif isinstance(each, dict):
            found += _found(kind, *each.values())
    return found


def _moved(func: Any, args: Any, kwargs: Any) -> Tensor:
    """`to`, `cpu` and `cuda`: the same tensor where it is to be, or a copy there."""
    tensor, *rest = args
    wanted = [_place(word) for word in (*rest, kwargs.get("device"), kwargs.get("other")) if _place(word) is not None]
    there = is_there(tensor) if not wanted else wanted[0].type == DEVICE.type
    if func is not Tensor.to:
        there, moved = func is Tensor.cuda, tensor
    elif wanted and wanted[0].type not in (CPU.type, DEVICE.type):
        return func(*args, **kwargs)
    else:
        words = [_without_place(word) for word in rest]
        named = {name: _without_place(word) for name, word in kwargs.items()}
        moved = func(tensor, *words, **named)
    return moved if is_there(moved) == there else _copied(moved, there)


def _made(func: Any, args: Any, kwargs: Any, wanted: torch.device) -> Any:
    """Whatever takes a `device`."""
    if wanted.type not in (CPU.type, DEVICE.type):
        return func(*args, **kwargs)
    there = wanted.type == DEVICE.type
    if there and kwargs.get("generator") is not None:
        raise RuntimeError(f"{func}: a generator on the CPU cannot fill a tensor on {DEVICE}")
    made = func(*args, **{**kwargs, "device": CPU})
    if not isinstance(made, Tensor) or is_there(made) == there:
        return made
    old = any(_address(each) == _address(made) for each in _found(Tensor, args))
    return _copied(made, there) if old else _mark(made, there)


def _copied(tensor: Tensor, there: bool) -> Tensor:
    return _mark(tensor.clone(), there)


def _mark(tensor: Tensor, there: bool = True) -> Tensor:
    memory = _memory(tensor)
    if memory is None or tensor.device.type != CPU.type:
        return tensor
    if there:
        _there[memory._cdata] = StorageWeakRef(memory)
        if len(_there) > MANY:
            for gone in [name for name, known in _there.items() if known.expired()]:
                del _there[gone]
    else:
        _there.pop(memory._cdata, None)
    return tensor


def _memory(tensor: Tensor) -> torch.UntypedStorage | None:
    """Where its numbers are; None where it has none of its own, as in a sparse tensor."""
    while torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        tensor = torch._C._functorch.get_unwrapped(tensor)
    try:
        return tensor.untyped_storage()
    except (NotImplementedError, RuntimeError):
        return None


def _address(tensor: Tensor) -> int:
    memory = _memory(tensor)
    return 0 if memory is None else memory._cdata


def _inheriting() -> bool:
    """Are we inside a function of PyTorch that was given something from elsewhere? What it makes by itself is there."""
    return getattr(_within, "depth", 0) > 0


@contextmanager
def _heirs() -> Iterator[None]:
    _within.depth = getattr(_within, "depth", 0) + 1
    try:
        yield
    finally:
        _within.depth -= 1


def _place(word: Any) -> torch.device | None:
    """The place that an argument of `to` names, if it names one."""
    if isinstance(word, Tensor):
        return DEVICE if is_there(word) else word.device
    if isinstance(word, str | torch.device):
        return torch.device(word)
    return None


def _without_place(word: Any) -> Any:
    """The same argument, for a machine that has a CPU alone."""
    return CPU if isinstance(word, str | torch.device) else word
