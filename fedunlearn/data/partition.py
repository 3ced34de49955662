"""How the training samples are dealt to clients, with the partitioners of flwr-datasets.

Several of them deal a dataset out in the order it has, so the samples are shuffled first, in a stream of the run's
seed. flwr-datasets takes long to import, so it is imported where it is used.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fedunlearn.errors import RequestError
from fedunlearn.randomness import derive, numpy_stream
from fedunlearn.settings import registry
from fedunlearn.settings.config import Choice
from fedunlearn.settings.schema import Count, Positive, plain

if TYPE_CHECKING:
    from flwr_datasets.partitioner import Partitioner


@dataclass(frozen=True)
class PartitionScheme:
    """A registered way of dealing samples out.

    `settings` is a dataclass with a field `clients`. `make(settings, labels, seed)` returns a partitioner that reads
    the column `label` and has no dataset yet; `seed` has 32 bits. Its ValueErrors, then or later, become one sentence
    that ends with `advice`.
    """

    name: str
    settings: type
    make: Callable[[Any, np.ndarray, int], Partitioner]
    advice: str = "lower partition.clients"
    about: str = ""  # for those who read conf/


@dataclass(frozen=True)
class IidSettings:
    """Equal shares of the shuffled samples; sizes differ by one at most."""

    clients: Count = 10  # number of clients


@dataclass(frozen=True)
class DirichletSettings:
    """Each class is dealt in proportions drawn from a symmetric Dirichlet distribution (Yurochkin et al. 2019)."""

    clients: Count = 10  # number of clients
    alpha: Positive = 0.3  # concentration: small is one class per client, large is iid
    min_samples: Count = 1  # draw again (ten times at most) until every client has this many
    # true: a client that has more than the average gets nothing of the classes that follow
    self_balancing: bool = False


@dataclass(frozen=True)
class PathologicalSettings:
    """Each client holds exactly this many classes, the first one in turn, the others drawn (Li et al. 2022).

    With fewer clients than classes, a class may have no client; its samples are then left out.
    """

    clients: Count = 10  # number of clients
    classes_per_client: Count = 2  # number of different classes that a client holds


@dataclass(frozen=True)
class ShardsSettings:
    """The samples sorted by class are cut into equal shards, dealt at random (McMahan et al. 2017).

    The remainder of the division, fewer samples than there are shards, is left out.
    """

    clients: Count = 10  # number of clients
    shards_per_client: Count = 2  # number of shards that a client gets


@dataclass(frozen=True)
class SizeSkewedSettings:
    """Client i of 1..n gets a random share in proportion to i, i² or exp(i)."""

    clients: Count = 10  # number of clients
    growth: Literal["linear", "square", "exponential"] = "linear"  # how the share grows with the client's number


def split(chosen: Choice, labels: np.ndarray, seed: int) -> list[np.ndarray]:
    """The samples of each client: sorted int64 index arrays into `labels`, disjoint, none empty.

    Together they cover all samples, but for what `PathologicalSettings` and `ShardsSettings` say they leave out.
    Raises RequestError for a partition that is impossible.
    """
    scheme: PartitionScheme = registry.find("partitioner", chosen.name)
    clients = chosen.settings.clients
    if clients > len(labels):
        raise RequestError(f"partition.clients={clients} is more than the {len(labels)} training samples there are")
    try:
        partitioner = scheme.make(chosen.settings, labels, derive(seed, "partition") % 2**32)
        parts = _deal(partitioner, labels, numpy_stream(seed, "partition", "order").permutation(len(labels)))
    except RequestError:
        raise
    except ValueError as error:
        raise _impossible(scheme, chosen, labels) from error
    dealt = np.bincount(np.concatenate(parts), minlength=len(labels))
    if len(parts) != clients or not all(map(len, parts)) or dealt.max() > 1:
        raise _impossible(scheme, chosen, labels)
    return parts


def counts(parts: list[np.ndarray], labels: np.ndarray, classes: int) -> np.ndarray:
    """How many samples of each class each client holds: int64 [clients, classes]."""
    return np.stack([np.bincount(labels[part], minlength=classes) for part in parts])


def _deal(partitioner: Partitioner, labels: np.ndarray, order: np.ndarray) -> list[np.ndarray]:
    import datasets

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of new attempts and classes left out: documented, or followed by an error
        partitioner.dataset = datasets.Dataset.from_dict({"label": labels[order], "index": order})
        return [np.sort(share) for share in _shares(partitioner, partitioner.num_partitions)]


def _shares(partitioner: Partitioner, clients: int) -> Iterator[np.ndarray]:
    """What each of the clients gets.

    `load_partition` makes a table for every client, in milliseconds: minutes for 10,000 of them. Most partitioners
    of flwr-datasets keep the list that it selects by, which says the same at once (a test compares the two).
    """
    theirs = type(partitioner).load_partition.__module__.startswith("flwr_datasets.")
    if theirs and (chosen := getattr(partitioner, "_partition_id_to_indices", None)):
        index = np.asarray(partitioner.dataset["index"][:], dtype=np.int64)  # some sort their dataset
        yield from (index[np.asarray(chosen[client], dtype=np.int64)] for client in range(clients))
    else:
        yield from (np.asarray(partitioner.load_partition(client)["index"][:], np.int64) for client in range(clients))


def _impossible(scheme: PartitionScheme, chosen: Choice, labels: np.ndarray) -> RequestError:
    settings = ", ".join(f"partition.{key}={value}" for key, value in plain(chosen.settings).items())
    return RequestError(
        f"the {scheme.name} partition cannot deal {len(labels)} training samples of {len(np.unique(labels))} classes "
        f"with {settings}: {scheme.advice}"
    )


def _make_iid(settings: IidSettings, labels: np.ndarray, seed: int) -> Partitioner:
    from flwr_datasets.partitioner import SizePartitioner

    each, left = divmod(len(labels), settings.clients)  # the shares of its IidPartitioner, which deals one by one
    return SizePartitioner([each + (client < left) for client in range(settings.clients)])


def _make_dirichlet(settings: DirichletSettings, labels: np.ndarray, seed: int) -> Partitioner:
    from flwr_datasets.partitioner import DirichletPartitioner

    needed = settings.clients * settings.min_samples
    if needed > len(labels):
        raise RequestError(
            f"partition.min_samples={settings.min_samples} for {settings.clients} clients needs {needed} training "
            f"samples, but there are {len(labels)}"
        )
    return DirichletPartitioner(
        settings.clients, "label", settings.alpha, settings.min_samples, settings.self_balancing, seed=seed
    )


def _make_pathological(settings: PathologicalSettings, labels: np.ndarray, seed: int) -> Partitioner:
    from flwr_datasets.partitioner import PathologicalPartitioner

    classes = len(np.unique(labels))
    if settings.classes_per_client > classes:
        raise RequestError(
            f"partition.classes_per_client={settings.classes_per_client} is more than the {classes} classes there are"
        )
    return PathologicalPartitioner(
        settings.clients, "label", settings.classes_per_client, "first-deterministic", seed=seed
    )


def _make_shards(settings: ShardsSettings, labels: np.ndarray, seed: int) -> Partitioner:
    from flwr_datasets.partitioner import ShardPartitioner

    shards = settings.clients * settings.shards_per_client
    if shards > len(labels):
        raise RequestError(
            f"partition.shards_per_client={settings.shards_per_client} for {settings.clients} clients makes {shards} "
            f"shards, more than the {len(labels)} training samples there are"
        )
    return ShardPartitioner(settings.clients, "label", settings.shards_per_client, seed=seed)


def _make_size_skewed(settings: SizeSkewedSettings, labels: np.ndarray, seed: int) -> Partitioner:
    from flwr_datasets.partitioner import ExponentialPartitioner, LinearPartitioner, SquarePartitioner

    grown = {"linear": LinearPartitioner, "square": SquarePartitioner, "exponential": ExponentialPartitioner}
    return grown[settings.growth](settings.clients)


PARTITIONERS: dict[str, PartitionScheme] = {
    scheme.name: scheme
    for scheme in (
        PartitionScheme("iid", IidSettings, _make_iid, about="equal shares of the shuffled samples"),
        PartitionScheme(
            "dirichlet",
            DirichletSettings,
            _make_dirichlet,
            "lower partition.clients or partition.min_samples, or raise partition.alpha",
            about="every class dealt in proportions drawn from a Dirichlet distribution",
        ),
        PartitionScheme(
            "pathological",
            PathologicalSettings,
            _make_pathological,
            "lower partition.clients or partition.classes_per_client",
            about="every client holds a few classes only",
        ),
        PartitionScheme(
            "shards",
            ShardsSettings,
            _make_shards,
            "lower partition.clients or partition.shards_per_client",
            about="the samples sorted by class, cut into equal shards that are dealt at random",
        ),
        PartitionScheme(
            "size_skewed",
            SizeSkewedSettings,
            _make_size_skewed,
            "lower partition.clients or choose a slower growth",
            about="random shares whose size grows with the client's number",
        ),
    )
}
