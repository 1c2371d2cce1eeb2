"""The jobs behind the page: their ends, their files and their previews."""

from __future__ import annotations

import threading
import time
from unittest.mock import Mock

import cv2
import numpy as np
import pytest
import tifffile

from mmclarity.restoration.app.jobs import Job, Workshop
from mmclarity.restoration.app.previews import save_previews
from mmclarity.restoration.app.watched import WatchedRestorer
from mmclarity.restoration.inference.restorer import Restorer
from mmclarity.restoration.inference.uncertainty import shown_range
from tests.restoration.app.served import LIMIT, noisy

pytest.importorskip('starlette', reason='the page needs mmclarity[app]')
pytest.importorskip('uvicorn', reason='the page needs mmclarity[app]')


def ended(job: Job) -> Job:
    """The job when its worker has done with it."""
    end = time.monotonic() + 600
    while job.state in ('waiting', 'working'):
        assert time.monotonic() < end
        time.sleep(0.02)
    return job


def test_what_serve_was_told_stays_with_the_box(tmp_path):
    # of 1.5 times: the box gives what sharpen=1.5 does, and unticked the network's own edges
    source = noisy(tmp_path / 'a.tif')
    (tmp_path / 'work').mkdir()
    workshop = Workshop(WatchedRestorer(sharpen=1.5), LIMIT, tmp_path / 'work')
    job = workshop.new('a.tif', doubts=False)
    job.source.write_bytes(source.read_bytes())
    workshop.start(job)
    assert ended(job).error == ''
    for amount, file in ((0.0, job.result), (1.5, job.sharp)):
        Restorer(sharpen=amount).restore_file(source, tmp_path / f'{amount}.tif')
        assert file.read_bytes() == (tmp_path / f'{amount}.tif').read_bytes()
    workshop.close()


def test_who_sees_that_a_job_is_done_sees_how_long_it_took(tmp_path, monkeypatch):
    """The page asks no more then."""

    def slow() -> float:
        time.sleep(0.3)
        return time.monotonic()

    monkeypatch.setattr('mmclarity.restoration.app.jobs.time', Mock(time=time.time, monotonic=slow))
    (tmp_path / 'work').mkdir()
    workshop = Workshop(WatchedRestorer(), LIMIT, tmp_path / 'work')
    job = workshop.new('a.tif', doubts=False)
    job.source.write_bytes(noisy(tmp_path / 'a.tif').read_bytes())
    workshop.start(job)
    assert ended(job).told()['seconds'] > 0
    workshop.close()


def test_a_network_of_ones_own_has_no_sharpened_picture(tmp_path, monkeypatch):
    (tmp_path / 'work').mkdir()
    restorer = WatchedRestorer()
    workshop = Workshop(restorer, LIMIT, tmp_path / 'work')
    monkeypatch.setattr(WatchedRestorer, '_sharpened', lambda self, restored, job: restored)
    job = workshop.new('a.tif', doubts=False)
    job.source.write_bytes(noisy(tmp_path / 'a.tif').read_bytes())
    workshop.start(job)
    told = ended(job).told()
    assert told['state'] == 'done' and told['sharp'] is None and not told['pages'][0]['sharp']
    assert sorted(path.name for path in job.folder.iterdir()) == [
        '0_after.png', '0_before.png', 'result.tif', 'source.tif',
    ]  # fmt: skip
    workshop.close()


def test_a_job_is_cancelled_at_its_next_tile(tmp_path):
    begun, removed = threading.Event(), threading.Event()

    class Waiting(WatchedRestorer):
        def restore_file(self, *places, progress, **options):
            def told(done, total):
                progress(done, total)
                begun.set()
                removed.wait(600)

            return super().restore_file(*places, progress=told, **options)

    workshop = Workshop(Waiting(tile=256, dtype='float32'), 10**8, tmp_path / 'work')
    (tmp_path / 'work').mkdir()
    tifffile.imwrite(
        tmp_path / 'a.tif', np.random.default_rng(0).integers(0, 255, (1500, 1500), np.uint8)
    )
    job = workshop.new('a.tif', doubts=True)
    job.source.write_bytes((tmp_path / 'a.tif').read_bytes())
    workshop.start(job)
    assert begun.wait(600)
    first = job.progress
    workshop.remove(job)
    removed.set()
    ended(job)
    workshop.close()
    assert job.state == 'cancelled' and first < job.progress < 0.1 and job.result is None
    assert not (tmp_path / 'work').exists()


def test_results_are_deleted_in_time_though_nobody_comes_again(tmp_path, monkeypatch):
    monkeypatch.setattr('mmclarity.restoration.app.jobs.SWEEP_SECONDS', 0.05)
    (tmp_path / 'work').mkdir()
    workshop = Workshop(WatchedRestorer(), LIMIT, tmp_path / 'work')
    job = workshop.new('a.tif', doubts=False)
    job.source.write_bytes(noisy(tmp_path / 'a.tif').read_bytes())
    workshop.start(job)
    assert ended(job).error == ''
    time.sleep(0.3)
    assert workshop.find(job.token) is job and job.result.is_file()
    job.ended -= 4 * 3600
    end = time.monotonic() + 300
    while job.folder.exists():
        assert time.monotonic() < end
        time.sleep(0.02)
    assert workshop.find(job.token) is None
    workshop.close()


def test_previews_are_scaled_sensibly(tmp_path):
    ramp = np.linspace(0.01, 0.06, 3000 * 64, dtype=np.float32).reshape(64, 3000)
    low, high = shown_range(ramp)
    assert low == pytest.approx(0.01, abs=1e-3) and high == pytest.approx(0.06, abs=1e-3)
    width, height, scale = save_previews(tmp_path, 0, ramp, ramp)
    assert (width, height) == (2400, 51) and scale == 0.8
    shown = cv2.imread(str(tmp_path / '0_after.png'), cv2.IMREAD_UNCHANGED)
    assert shown.min() < 3 and shown.max() > 252 and 120 < shown.mean() < 135
    assert shown_range(np.zeros((5, 5), np.float32)) == (0.0, 1.0)
