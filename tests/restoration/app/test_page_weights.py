"""The page with weights of one's own, and with options of reading: as on the command line."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from safetensors.torch import load_file, save_file

from mmclarity.cli import restore as tool
from mmclarity.restoration.app.jobs import Job, Workshop
from mmclarity.restoration.general.weights import WEIGHTS
from tests.restoration.app.served import coloured, noisy

pytest.importorskip('starlette', reason='the page needs mmclarity[app]')
pytest.importorskip('uvicorn', reason='the page needs mmclarity[app]')

from mmclarity.restoration.app import server


@pytest.fixture(scope='module')
def own(tmp_path_factory) -> Path:
    """Weights as mmclarity-adapt --clean writes them, that know levels of slow scans."""
    path = tmp_path_factory.mktemp('weights') / 'own.safetensors'
    told = dict(network='GeneralUNet', caution='2.0', levels='0.5 0.1')
    save_file(load_file(WEIGHTS), path, metadata=told)
    return path


@pytest.fixture
def page(monkeypatch):
    """``page(arguments, work)`` starts the command and calls ``work(workshop)`` when it serves."""
    monkeypatch.setattr('mmclarity.cli.serve.signal.signal', lambda *_: None)

    def start(arguments: list[str], work) -> None:
        def serve(workshop: Workshop, *_) -> None:
            try:
                work(workshop)
            finally:
                workshop.close()

        monkeypatch.setattr(server, 'serve', serve)
        assert tool.main(['--serve', '--no-browser', *arguments]) == 0

    return start


def settings(workshop: Workshop) -> dict:
    """What the page is told before anything is uploaded."""
    return json.loads(asyncio.run(server._Routes(workshop).settings(None)).body)


def done(workshop: Workshop, source: Path) -> Job:
    job = workshop.new(source.name, doubts=False)
    job.source.write_bytes(source.read_bytes())
    workshop.start(job)
    end = time.monotonic() + 600
    while job.state in ('waiting', 'working'):
        assert time.monotonic() < end
        time.sleep(0.02)
    return job


def tools(source: Path, *arguments: str) -> bytes:
    """What the command line writes."""
    out = source.with_name('tool.tif')
    assert tool.main([str(source), str(out), '--quiet', '--overwrite', *arguments]) == 0
    return out.read_bytes()


@pytest.mark.parametrize('options', [[], ['--slow-levels']])
def test_own_weights_are_used_and_named(page, own, tmp_path, options):
    source = noisy(tmp_path / 'scan.tif')
    arguments = ['--checkpoint', str(own), *options]

    def work(workshop: Workshop) -> None:
        told = settings(workshop)
        assert told['weights'] == ['own.safetensors'] and str(own.parent) not in str(told)
        assert told['slow_levels'] is bool(options)
        job = done(workshop, source)
        assert job.error == ''
        assert job.result.read_bytes() == tools(source, *arguments) != tools(source)
        assert job.sharp.read_bytes() == tools(source, '--sharpen', *arguments)
        # before and after are shown in the same levels, or one of them would be dark
        pictures = [
            cv2.imread(str(job.folder / f'0_{kind}.png'), 0) for kind in ('before', 'after')
        ]
        means = [picture.mean() for picture in pictures]
        assert means[0] == pytest.approx(means[1], abs=6)

    page(arguments, work)


def test_those_of_the_package_are_not_named(page):
    def work(workshop: Workshop) -> None:
        told = settings(workshop)
        assert told['weights'] == [] and told['slow_levels'] is False

    page([], work)


def test_what_has_no_levels_of_its_own_is_refused(page, own, tmp_path):
    source = tmp_path / 'scan.tif'
    tifffile.imwrite(source, tifffile.imread(noisy(source)).astype(np.float32))

    def work(workshop: Workshop) -> None:
        job = done(workshop, source)
        assert job.state == 'failed' and 'give --data-range' in job.error

    page(['--checkpoint', str(own), '--slow-levels'], work)

    def ranged(workshop: Workshop) -> None:
        job = done(workshop, source)
        arguments = ('--checkpoint', str(own), '--slow-levels', '--data-range', '255')
        assert job.error == '' and job.result.read_bytes() == tools(source, *arguments)

    page(['--checkpoint', str(own), '--slow-levels', '--data-range', '255'], ranged)


def test_options_of_reading_hold_for_every_file(page, tmp_path):
    """They were taken, and left aside."""
    grey, colours = noisy(tmp_path / 'scan.tif'), coloured(tmp_path / 'colours.tif')

    def work(workshop: Workshop) -> None:
        job = done(workshop, grey)
        assert job.state == 'failed' and 'outside 0 to data_range=100' in job.error

    page(['--data-range', '100'], work)

    def of_one_colour(workshop: Workshop) -> None:
        job = done(workshop, colours)
        assert job.error == '' and job.result.read_bytes() == tools(colours, '--channel', '1')

    page(['--channel', '1', '--crop', 'none'], of_one_colour)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--slow-levels'], 'the weights of the package: the grey levels of slow scans are known'),
        (['--combine'], 'no use for --combine'),
        (['--recursive', '--workers', '2'], 'no use for --recursive, --workers'),
        (['--checkpoint', '{folder}/none.safetensors'], 'none.safetensors: no such file'),
        (['--checkpoint', '{folder}/bad.safetensors'], 'bad.safetensors: can not be read'),
        (['--checkpoint', '{folder}/bad.pth'], 'a checkpoint its config'),
    ],
)
def test_what_the_page_cannot_use_is_refused_before_it_opens(
    options, message, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr('mmclarity.cli.serve.signal.signal', lambda *_: None)
    monkeypatch.setattr(server, 'serve', lambda workshop, *_: workshop.close())
    for ending in ('pth', 'safetensors'):
        (tmp_path / f'bad.{ending}').write_bytes(b'no weights')
    options = [option.format(folder=tmp_path) for option in options]
    assert tool.main(['--serve', '--no-browser', '--port', '0', *options]) == 2
    assert message in capsys.readouterr().err
