import numpy as np
import torch
from flwr.app import Array

from fedunlearn.federation import wire

STATE = {"w": torch.randn(2, 3), "n": torch.tensor(7), "flags": torch.tensor([1, 0], dtype=torch.uint8)}


def test_by_reference_copies_nothing():
    record = wire.by_reference(STATE)
    assert wire.unpack(record, torch.device("cpu"))["w"] is STATE["w"]


def test_both_ways_of_packing_carry_the_same_values_and_bytes():
    reference, copied = wire.by_reference(STATE), wire.as_bytes(STATE)
    for name, value in STATE.items():
        assert torch.equal(wire.unpack(copied, torch.device("cpu"))[name], value)
        assert reference[name].data == copied[name].data == Array(value.numpy()).data
        assert np.array_equal(reference[name].numpy(), value.numpy())


def test_payload_counts_elements_times_width():
    assert wire.payload(wire.by_reference(STATE)) == wire.payload(wire.as_bytes(STATE)) == 6 * 4 + 8 + 2
