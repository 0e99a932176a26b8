from threading import Thread

import numpy as np
import pytest

from otto_gpu.device import Device

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'otto_gpu[embeddings]'")

from otto_gpu.embeddings.table import Table, training  # noqa: E402

CPU = Device("cpu", "test")


def table(n=10, dim=3, lr=0.1) -> Table:
    return Table(n, dim, lr, 1.0, 5, torch.device("cpu"))


def test_only_the_named_rows_move():
    t = table()
    before = t.weight.detach().numpy().copy()
    for named in ([1, 4, 4], [4, 7]):
        rows, copy, [places] = t.take(torch.tensor(named))
        assert rows.tolist() == sorted(set(named))
        assert torch.equal(copy[places], t.weight.detach()[named])
        copy[places].sum().backward()
        t.step(rows, copy, 0.0)
    moved = (t.weight.detach().numpy() != before).any(axis=1)
    assert np.flatnonzero(moved).tolist() == [1, 4, 7]
    kept = t.vectors(8)
    assert kept.shape == (8, 3)
    assert np.flatnonzero(kept.any(axis=1)).tolist() == [1, 4, 7]


def test_steps_are_those_of_adam():
    """Of a row that every batch names, against PyTorch's dense Adam."""
    t, dense = table(1), torch.nn.Parameter(table(1).weight.detach().clone())
    adam = torch.optim.Adam([dense], lr=0.1)
    for k in range(5):
        rows, copy, [places] = t.take(torch.tensor([0, 0]))
        (copy[places] ** 2).sum().backward()
        t.step(rows, copy, k / 5)
        adam.zero_grad()
        (2 * dense**2).sum().backward()
        adam.param_groups[0]["lr"] = 0.1 * (1 - k / 5)
        adam.step()
    torch.testing.assert_close(t.weight.detach(), dense.detach())


def test_the_first_numbers_hang_on_the_seed_alone():
    one, two = (Table(4, 3, 0.1, 1.0, seed, torch.device("cpu")).weight for seed in (5, 6))
    assert torch.equal(one, table(4).weight)
    assert not torch.equal(one, two)


def test_what_was_set_before_comes_back():
    threads = torch.get_num_threads()
    with pytest.raises(KeyError), training(CPU, threads + 1) as place:
        assert place.type == "cpu"
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.get_num_threads() == threads + 1
        raise KeyError
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.get_num_threads() == threads


def test_two_that_train_at_once_leave_things_as_they_were():
    def train():
        with training(CPU, 1):
            pass
        inside.append(torch.are_deterministic_algorithms_enabled())

    inside = []
    with training(CPU, 1):
        other = Thread(target=train)
        other.start()
        other.join()
    assert inside == [True]
    assert not torch.are_deterministic_algorithms_enabled()
