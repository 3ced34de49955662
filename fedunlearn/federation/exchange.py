"""What server and clients send each other of a model in a round, and how it is averaged. Here: all of it."""

from __future__ import annotations

from flwr.app import RecordDict
from torch import Tensor, device

from fedunlearn.federation.replies import Sent
from fedunlearn.federation.totals import Total
from fedunlearn.models.flat import Layout

Tensors = dict[str, Tensor]


class Exchange:
    """Whole models, in vectors, go out and come back. `sent`: what the replies of the round are held against."""

    def __init__(self, layout: Layout, device: device) -> None:
        self.layout, self._device = layout, device
        self.sent = Sent(layout, {}, {}, 0.0)

    def outgoing(self, number: int, model: Tensors) -> dict[str, Tensors]:
        """The records of the messages of round `number`, in which clients start from `model`."""
        vectors = self.layout.vectors(model, self._device)
        self.sent = Sent.of(vectors, self.layout)
        return {"model": vectors}

    def summands(self, reply: Tensors) -> Tensors:
        """What to add up of a client's reply."""
        return reply

    def model_of(self, reply: Tensors) -> Tensors:
        """The model that the client of this reply has, by names."""
        return self.layout.views(reply)

    def average(self, total: Total) -> Tensors:
        """The global model that the replies make, by names."""
        return self.layout.views(total.mean(self.sent.vectors))

    def payload(self, content: RecordDict) -> int:
        """Bytes of the model in a message or a reply."""
        return self.layout.payload if "model" in content else 0

    def held(self, client: int) -> int:
        """Bytes of a message of the round that the client has from before, and that need not be sent."""
        return 0
