"""Partitions: what every scheme promises, and what each one adds."""

import dataclasses
import os
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from fedunlearn.data.partition import (
    PARTITIONERS,
    DirichletSettings,
    IidSettings,
    PartitionScheme,
    PathologicalSettings,
    ShardsSettings,
    SizeSkewedSettings,
    _shares,
    counts,
    split,
)
from fedunlearn.errors import RequestError
from fedunlearn.randomness import numpy_stream
from fedunlearn.settings import registry
from fedunlearn.settings.config import Choice
from fedunlearn.settings.schema import parse

REPOSITORY = Path(__file__).parents[2]
LABELS = numpy_stream(0, "labels").integers(0, 10, 1437)
EVERY: list[tuple[str, Any]] = [
    ("iid", IidSettings()),
    ("dirichlet", DirichletSettings()),
    ("dirichlet", DirichletSettings(clients=7, alpha=1.0, min_samples=20, self_balancing=True)),
    ("pathological", PathologicalSettings()),
    ("shards", ShardsSettings()),
    ("size_skewed", SizeSkewedSettings()),
    ("size_skewed", SizeSkewedSettings(growth="square")),
    ("size_skewed", SizeSkewedSettings(clients=5, growth="exponential")),
]


def deal(name: str, settings: Any, labels: np.ndarray = LABELS, seed: int = 0) -> list[np.ndarray]:
    return split(Choice(name, settings), labels, seed)


def test_every_scheme_has_a_yaml_with_its_own_defaults() -> None:
    folder = REPOSITORY / "conf" / "partition"
    assert {path.stem for path in folder.glob("*.yaml")} == set(PARTITIONERS)
    for name, scheme in PARTITIONERS.items():
        values: Any = OmegaConf.to_container(OmegaConf.load(folder / f"{name}.yaml"))
        assert values.pop("name") == name
        assert values.keys() == {field.name for field in dataclasses.fields(scheme.settings)}
        assert parse(scheme.settings, values, "partition") == scheme.settings()


@pytest.mark.parametrize(("name", "settings"), EVERY)
def test_parts_are_sorted_disjoint_and_reproducible(name: str, settings: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parts = deal(name, settings)
    dealt = np.concatenate(parts)
    assert len(parts) == settings.clients and min(map(len, parts)) > 0
    assert all(part.dtype == np.int64 and (np.diff(part) > 0).all() for part in parts)
    assert len(np.unique(dealt)) == len(dealt)
    # 20 shards of 71 samples; everything else is dealt out whole
    assert len(dealt) == (1420 if name == "shards" else 1437)
    again, other = deal(name, settings), deal(name, settings, seed=1)
    assert all(np.array_equal(a, b) for a, b in zip(parts, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(parts, other, strict=True))


@pytest.mark.parametrize(("name", "settings"), EVERY)
def test_samples_are_shuffled_before_they_are_dealt(name: str, settings: Any) -> None:
    # one class only: a scheme that dealt in the order of the file would hand out runs of neighbours
    if name == "pathological":
        settings = dataclasses.replace(settings, classes_per_client=1)
    parts = deal(name, settings, np.zeros(1437, dtype=np.int64))
    longest = max(parts, key=len)
    assert longest[-1] - longest[0] > 1.5 * len(longest)


@given(
    samples=st.integers(1, 200),
    clients=st.integers(1, 12),
    classes=st.integers(1, 5),
    name=st.sampled_from(sorted(PARTITIONERS)),
    seed=st.integers(0, 3),
)
@settings(max_examples=60)
def test_a_partition_is_right_or_refused(samples: int, clients: int, classes: int, name: str, seed: int) -> None:
    labels = numpy_stream(seed, "labels").integers(0, classes, samples)
    try:
        parts = deal(name, PARTITIONERS[name].settings(clients=clients), labels, seed)
    except RequestError as error:
        assert "\n" not in str(error)
        return
    dealt = np.concatenate(parts)
    assert len(parts) == clients and min(map(len, parts)) > 0 and len(np.unique(dealt)) == len(dealt)
    if name in ("iid", "dirichlet", "size_skewed"):
        assert len(dealt) == samples


def test_iid_shares_are_equal() -> None:
    assert sorted(map(len, deal("iid", IidSettings(10)))) == [143] * 3 + [144] * 7
    assert list(map(len, deal("iid", IidSettings(4), np.zeros(4, dtype=np.int64)))) == [1] * 4


def test_small_alpha_is_few_classes_and_large_alpha_is_iid() -> None:
    skewed = counts(deal("dirichlet", DirichletSettings(alpha=0.1)), LABELS, 10)
    even = counts(deal("dirichlet", DirichletSettings(alpha=1e4)), LABELS, 10)
    assert (skewed == 0).mean() > 0.3 and (even == 0).sum() == 0
    assert even.max() < 1.3 * 14.37 and skewed.max() > 5 * 14.37


def test_the_proportions_depend_on_the_seed() -> None:
    sizes = [[len(part) for part in deal("dirichlet", DirichletSettings(), seed=seed)] for seed in (0, 1)]
    assert sizes[0] != sizes[1]


def test_dirichlet_honours_min_samples() -> None:
    assert min(map(len, deal("dirichlet", DirichletSettings(alpha=0.3)))) < 60
    assert min(map(len, deal("dirichlet", DirichletSettings(alpha=0.3, min_samples=60)))) >= 60


def test_self_balancing_stops_clients_from_growing() -> None:
    free = max(map(len, deal("dirichlet", DirichletSettings(alpha=0.3, self_balancing=False))))
    assert max(map(len, deal("dirichlet", DirichletSettings(alpha=0.3, self_balancing=True)))) < free


@pytest.mark.parametrize(("clients", "each"), [(10, 2), (30, 3), (10, 10)])
def test_pathological_clients_hold_exactly_that_many_classes(clients: int, each: int) -> None:
    parts = deal("pathological", PathologicalSettings(clients, each))
    table = counts(parts, LABELS, 10)
    assert ((table > 0).sum(axis=1) == each).all()
    assert (table[np.arange(clients), np.arange(clients) % 10] > 0).all()  # the first class in turn
    assert table.sum() == len(LABELS)


def test_pathological_leaves_out_classes_that_have_no_client() -> None:
    assert counts(deal("pathological", PathologicalSettings(3, 1)), LABELS, 10).any(axis=0).sum() == 3


def test_shards_are_consecutive_in_class_order() -> None:
    labels = np.repeat(np.arange(10), 20)
    table = counts(deal("shards", ShardsSettings(10, 2), labels), labels, 10)
    # 20 shards of 10 samples: a class fills exactly two shards
    assert set(np.unique(table)) <= {0, 10, 20} and (table.sum(axis=1) == 20).all() and (table.sum(axis=0) == 20).all()
    assert len(deal("shards", ShardsSettings(clients=3, shards_per_client=1), np.zeros(4, dtype=np.int64))) == 3


@pytest.mark.parametrize(
    ("growth", "sizes"),
    [
        ("linear", [60, 120, 180, 240]),  # 600 * i / 10
        ("square", [20, 80, 180, 320]),  # 600 * i² / 30
        ("exponential", [19, 52, 142, 387]),  # 600 * e^i / 84.79 = 19.2, 52.3, 142.1, 386.3; the rest goes to the last
    ],
)
def test_sizes_grow_as_asked(growth: Any, sizes: list[int]) -> None:
    parts = deal("size_skewed", SizeSkewedSettings(4, growth), np.zeros(600, dtype=np.int64))
    assert list(map(len, parts)) == sizes


def test_counts_by_hand() -> None:
    table = counts([np.array([0, 1, 3]), np.array([], dtype=np.int64), np.array([2])], np.array([1, 1, 0, 2]), 4)
    assert table.tolist() == [[0, 2, 1, 0], [0, 0, 0, 0], [1, 0, 0, 0]] and table.dtype == np.int64


@pytest.mark.parametrize("name", sorted(PARTITIONERS))
@pytest.mark.parametrize("clients", [1438, 10_000, 10**12])
def test_more_clients_than_samples_is_refused_at_once(name: str, clients: int) -> None:
    start = time.perf_counter()
    with pytest.raises(RequestError, match=rf"partition\.clients={clients} is more than the 1437 training samples"):
        deal(name, PARTITIONERS[name].settings(clients=clients))
    assert time.perf_counter() - start < 0.5


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("dirichlet", DirichletSettings(10, min_samples=144), "min_samples=144 for 10 clients needs 1440"),
        ("dirichlet", DirichletSettings(10, alpha=0.05, min_samples=140), "raise partition.alpha"),
        ("dirichlet", DirichletSettings(10, alpha=1e-300), "partition.alpha=1e-300"),
        ("dirichlet", DirichletSettings(10, alpha=1e308), "partition.alpha=1e+308"),
        ("dirichlet", DirichletSettings(10, alpha=1e308, self_balancing=True), "partition.alpha=1e+308"),
        ("pathological", PathologicalSettings(10, 11), "classes_per_client=11 is more than the 10 classes"),
        ("pathological", PathologicalSettings(1000, 2), "lower partition.clients or partition.classes_per_client"),
        ("shards", ShardsSettings(100, 15), "makes 1500 shards, more than the 1437"),
        ("size_skewed", SizeSkewedSettings(100), "choose a slower growth"),
        ("size_skewed", SizeSkewedSettings(1000, "exponential"), "choose a slower growth"),  # exp(1000) overflows
    ],
)
def test_impossible_partitions_say_what_to_change(name: str, settings: Any, words: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(RequestError) as error:
            deal(name, settings)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_unknown_scheme_suggests_the_nearest() -> None:
    with pytest.raises(RequestError, match="did you mean dirichlet"):
        deal("dirichlett", IidSettings())


@pytest.mark.parametrize("parts", [[[0, 1, 2], []], [[0, 1, 2]], [[0, 1], [1, 2]]])
def test_schemes_of_others_are_checked(parts: list[list[int]], monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    class Careless:
        """Has an empty partition, too few, or some that overlap."""

        num_partitions = len(parts)
        dataset: datasets.Dataset

        def load_partition(self, client: int) -> datasets.Dataset:
            return self.dataset.select(parts[client])

    scheme = PartitionScheme("careless", IidSettings, lambda settings, labels, seed: Careless())  # type: ignore
    monkeypatch.setattr(registry, "find", lambda kind, name: scheme)
    with pytest.raises(RequestError, match="the careless partition cannot deal"):
        deal("careless", IidSettings(2), np.zeros(3, dtype=np.int64))


def test_nothing_is_cached_or_fetched(tmp_path: Path) -> None:
    program = (
        "import socket, numpy as np\n"
        "def refuse(*args): raise SystemExit('network')\n"
        "socket.socket.connect = refuse\n"
        "from fedunlearn.settings.config import Choice\n"
        "from fedunlearn.data.partition import ShardsSettings, split\n"
        "print(len(split(Choice('shards', ShardsSettings()), np.arange(100) % 10, 0)))\n"
    )
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "XDG_"))}
    environment |= {"HOME": str(tmp_path), "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "10\n"), done.stderr
    assert "%|" not in done.stderr  # no progress bars either
    assert not list(tmp_path.rglob("*huggingface*"))


def made(name: str, settings: Any) -> Any:
    import datasets

    partitioner = PARTITIONERS[name].make(settings, LABELS, 5)
    partitioner.dataset = datasets.Dataset.from_dict({"label": LABELS, "index": np.arange(len(LABELS))})
    return partitioner


@pytest.mark.parametrize(("name", "settings"), EVERY)
def test_all_at_once_is_what_the_partitioner_loads_one_by_one(name: str, settings: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        partitioner = made(name, settings)
        at_once = list(_shares(partitioner, partitioner.num_partitions))
        assert len(at_once) == settings.clients
        for client, share in enumerate(at_once):
            assert sorted(share) == sorted(partitioner.load_partition(client)["index"])


def test_iid_shares_are_those_of_flwr_datasets() -> None:
    from datasets import Dataset
    from flwr_datasets.partitioner import IidPartitioner

    theirs = IidPartitioner(10)
    theirs.dataset = Dataset.from_dict({"index": np.arange(len(LABELS))})
    for client, share in enumerate(_shares(made("iid", IidSettings(10)), 10)):
        assert share.tolist() == theirs.load_partition(client)["index"][:]


@pytest.mark.parametrize(("name", "settings"), EVERY)
def test_no_table_is_made_for_a_client(name: str, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from datasets import Dataset

    made: list[object] = []
    select = Dataset.select
    monkeypatch.setattr(Dataset, "select", lambda *given, **more: made.append(given) or select(*given, **more))
    deal(name, settings)
    assert len(made) <= 1  # shards are cut from a sorted copy


def test_who_loads_in_a_way_of_its_own_is_asked_for_every_client() -> None:
    from datasets import Dataset
    from flwr_datasets.partitioner import SizePartitioner

    class Reversed(SizePartitioner):
        def load_partition(self, partition_id: int) -> Any:
            return super().load_partition(1 - partition_id)

    partitioner = Reversed([2, 3])
    partitioner.dataset = Dataset.from_dict({"index": [10, 11, 12, 13, 14]})
    assert [share.tolist() for share in _shares(partitioner, partitioner.num_partitions)] == [[12, 13, 14], [10, 11]]
