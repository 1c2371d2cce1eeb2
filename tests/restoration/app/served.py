"""A page that is served, and what its users ask of it, for tests."""

from __future__ import annotations

import http.client
import json
import time
from pathlib import Path
from urllib.parse import quote

import numpy as np
import tifffile

from mmclarity.synthetic.phantom import PhantomSettings, make_phantom

LIMIT = 300_000
HEADER = {'X-Mmclarity': 'page'}


def noisy(path: Path, dtype: str = 'uint8', seed: int = 0) -> Path:
    """Discs under noise; 16 bit as microscopes write it: 12 bits, calibrated."""
    clean = make_phantom(PhantomSettings(160, median_radius=9), seed).image
    image = clean + np.random.default_rng(seed).normal(0, 0.08, clean.shape)
    factor = 250 if dtype == 'uint8' else 3000
    pixels = (image * factor).clip(0, 255 if dtype == 'uint8' else 4095).astype(dtype)
    tifffile.imwrite(path, pixels, resolution=(1e7, 1e7), resolutionunit='CENTIMETER')
    return path


def coloured(path: Path, seed: int = 0) -> Path:
    """A picture of which each colour is one of its own."""
    planes = [tifffile.imread(noisy(path, seed=seed + i)) for i in range(3)]
    tifffile.imwrite(path, np.stack(planes, -1), photometric='rgb')
    return path


def ask(port: int, method: str, path: str, body=None, headers=None) -> tuple[int, dict, bytes]:
    connection = http.client.HTTPConnection('127.0.0.1', port, timeout=300)
    connection.request(method, path, body, headers or {})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, dict(answer.getheaders()), content


def upload(port: int, path: Path, name: str | None = None, doubts: int = 0) -> dict:
    address = f'/api/jobs?name={quote(name or path.name)}&doubts={doubts}'
    status, _, content = ask(port, 'POST', address, path.read_bytes(), HEADER)
    assert status == 201, content
    return json.loads(content)


def finished(port: int, token: str) -> dict:
    end = time.monotonic() + 600
    while time.monotonic() < end:
        job = json.loads(ask(port, 'GET', f'/api/jobs/{token}')[2])
        if job['state'] not in ('waiting', 'working'):
            return job
        time.sleep(0.1)
    raise AssertionError('never finished')
