"""The documentation's pictures of restoration: as heavy as they may be."""

from __future__ import annotations

import cv2
import numpy as np

from tools.analysis_tools import restoration_pictures as pictures


def test_those_that_ship_are_no_heavier_than_they_may_be():
    for name, limit in pictures.LIMITS.items():
        assert 0 < (pictures.ROOT / 'docs/images' / name).stat().st_size <= limit


def test_a_jpeg_is_as_good_as_fits():
    image = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
    small, large = (pictures.jpeg(image, limit) for limit in (20_000, 10**6))
    assert 15_000 < len(small) <= 20_000 < len(large)
    assert cv2.imdecode(np.frombuffer(small, np.uint8), cv2.IMREAD_COLOR).shape == image.shape


def test_what_is_too_heavy_is_not_written(tmp_path, monkeypatch, capsys):
    heavy = bytes(pictures.LIMITS['restore_page.png'] + 1)
    monkeypatch.setitem(pictures.PICTURES, 'page', lambda folder: ('restore_page.png', heavy))
    assert pictures.main(['page', '--out', str(tmp_path)]) == 2
    assert 'restore_page.png: has 300001 bytes, more than 300000' in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    monkeypatch.setitem(pictures.PICTURES, 'page', lambda folder: ('restore_page.png', heavy[1:]))
    assert pictures.main(['page', '--out', str(tmp_path)]) == 0
    assert (tmp_path / 'restore_page.png').stat().st_size == 300_000
