"""Work side by side: in its order, no more at a time than there are threads."""

from __future__ import annotations

import threading
from functools import partial

import pytest
import torch

from mmclarity.utils.cpus import side_by_side


@pytest.fixture(params=[1, 2, 4])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_results_in_the_order_of_the_work_and_few_ahead(threads):
    asked, taken = [], []

    def work():
        for number in range(12):
            asked.append(number)
            # what has been asked for is at most so far ahead of what was taken
            assert number - len(taken) <= threads
            yield partial(pow, number, 2)

    for square in side_by_side(work()):
        taken.append(square)
    assert taken == [number**2 for number in range(12)] and asked == list(range(12))
    assert list(side_by_side([])) == []


def test_no_more_at_once_than_memory_is_meant_for(monkeypatch):
    monkeypatch.setattr(torch, 'get_num_threads', lambda: 128)
    asked, taken = [], 0
    for _ in side_by_side(partial(asked.append, 0) for _ in range(40)):
        taken += 1
    asked.clear()
    results = side_by_side(partial(asked.append, number) for number in range(40))
    next(results)
    results.close()
    assert taken == 40 and len(asked) <= 9


def test_as_many_at_once_as_there_are_threads(threads):
    together = threading.Barrier(threads)
    assert len(list(side_by_side([partial(together.wait, 60)] * (2 * threads)))) == 2 * threads


def test_an_error_is_raised_in_its_turn_and_the_rest_is_left(threads):
    begun = []

    def work(number):
        begun.append(number)
        if number == 3:
            raise ValueError('of the fourth')
        return number

    results = side_by_side(partial(work, number) for number in range(100))
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match='of the fourth'):
        next(results)
    assert max(begun) <= 3 + threads
    assert threading.active_count() < 20


def test_whoever_stops_taking_waits_for_what_has_begun_only(threads):
    begun = []
    results = side_by_side(partial(begun.append, number) for number in range(100))
    next(results)
    results.close()
    assert len(begun) <= threads + 1
