"""The page in the browser: over HTTP, and by clicks in Chromium."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from mmclarity.cli import restore as tool
from mmclarity.restoration.io.sidecars import find_sidecar
from tests.browser import Browser, needs_chromium
from tests.restoration.app.served import HEADER, LIMIT, ask, coloured, finished, noisy, upload

pytest.importorskip('starlette', reason='the page needs mmclarity[app]')
pytest.importorskip('uvicorn', reason='the page needs mmclarity[app]')


@pytest.mark.parametrize('dtype', ['uint8', 'uint16'])
def test_the_download_is_what_the_tool_writes(port, tmp_path, dtype):
    source = noisy(tmp_path / 'scan.tif', dtype)
    assert tool.main([str(source), str(tmp_path / 'tool.tif'), '--quiet']) == 0
    job = finished(port, upload(port, source, doubts=1)['token'])
    assert job['state'] == 'done' and job['error'] == ''
    status, headers, content = ask(port, 'GET', f'/api/jobs/{job["token"]}/result')
    assert status == 200 and content == (tmp_path / 'tool.tif').read_bytes()
    assert headers['content-disposition'].endswith("UTF-8''scan_restored.tif")
    # plain words, without a place on this disk
    assert any(line.startswith('noise is ') for line in job['report'])
    assert str(tmp_path.parent) not in str(job) and 'source' not in str(job)
    assert job['pixel_size'] == pytest.approx(1e-9) and 0.01 < job['sigma'] < 0.5
    page = job['pages'][0]
    assert page['full'] == [160, 160] and len(page['particles']) > 3
    assert page['doubtful'] == sum(p[3] for p in page['particles'])
    for kind in ('before', 'after'):
        status, _, png = ask(port, 'GET', f'/api/jobs/{job["token"]}/0/{kind}.png')
        assert status == 200 and png[:4] == b'\x89PNG'


def test_a_chosen_colour_is_what_the_tool_restores(port, tmp_path):
    source = coloured(tmp_path / 'scan.tif')
    command = [str(source), str(tmp_path / 'tool.tif'), '--quiet', '--channel', '2']
    assert tool.main(command) == 0
    assert tool.main([*command[:1], str(tmp_path / 'sharp.tif'), *command[2:], '--sharpen']) == 0
    job = finished(port, upload(port, source)['token'])
    assert job['state'] == 'failed' and job['channels'] == 3
    assert job['error'] == 'a colour image: which of its colours?'
    address = f'/api/jobs/{job["token"]}'
    for channel in (3, 17):
        status, _, content = ask(port, 'POST', f'{address}/channel/{channel}', headers=HEADER)
        assert status == 409 and 'scan.tif' in json.loads(content)['error']
    assert ask(port, 'POST', f'{address}/channel/2')[0] == 403  # of another page
    assert ask(port, 'POST', f'/api/jobs/{"a" * 22}/channel/2', headers=HEADER)[0] == 404
    status, _, content = ask(port, 'POST', f'{address}/channel/2', headers=HEADER)
    assert status == 200 and json.loads(content)['channels'] == 0
    job = finished(port, job['token'])
    assert job['state'] == 'done' and job['error'] == '' and len(job['pages']) == 1
    assert any('channel 2 is taken' in line for line in job['report'])
    for name, query in (('tool.tif', ''), ('sharp.tif', '?sharp=1')):
        found = ask(port, 'GET', f'{address}/result{query}')[2]
        assert found == (tmp_path / name).read_bytes()
    assert ask(port, 'POST', f'{address}/channel/1', headers=HEADER)[0] == 409  # it is done


def test_pages_that_were_written_as_colours_are_told_how_to_be_written(port, tmp_path):
    planes = np.stack([tifffile.imread(noisy(tmp_path / 'a.tif', seed=i)) for i in range(3)])
    tifffile.imwrite(tmp_path / 'a.tif', planes, photometric='rgb', planarconfig='separate')
    job = finished(port, upload(port, tmp_path / 'a.tif')['token'])
    assert job['channels'] == 3
    assert re.search(r"colours\? If these are pages of a stack.*'minisblack'\)$", job['error'])


def test_the_text_file_beside_an_image_goes_along(port, tmp_path):
    """Of Hitachi, which tells the size of a pixel there alone."""
    source = noisy(tmp_path / 'scan.tif')
    tifffile.imwrite(source, tifffile.imread(source))  # without tags
    text = b'[SemImageFile]\r\nInstructName=S-4800\r\nDataSize=160x160\r\nPixelSize=24.8\r\n'
    (tmp_path / 'scan.txt').write_bytes(text)
    assert tool.main([str(source), str(tmp_path / 'tool.tif'), '--quiet']) == 0
    address = '/api/jobs?name=scan.tif&doubts=0'
    body = text + source.read_bytes()
    status, _, content = ask(port, 'POST', f'{address}&beside=txt-{len(text)}', body, HEADER)
    assert status == 201
    job = finished(port, json.loads(content)['token'])
    assert job['state'] == 'done' and job['vendor'] == 'Hitachi'
    assert job['pixel_size'] == pytest.approx(24.8e-9)
    result = ask(port, 'GET', f'/api/jobs/{job["token"]}/result')[2]
    assert result == (tmp_path / 'tool.tif').read_bytes()
    # without it, the same picture tells nothing
    alone = finished(port, upload(port, source)['token'])
    assert alone['vendor'] is None and alone['pixel_size'] is None
    # one of another image is doubted, by the name that the user knows
    other = text.replace(b'160x160', b'90x90')
    body = other + source.read_bytes()
    content = ask(port, 'POST', f'{address}&beside=txt-{len(other)}', body, HEADER)[2]
    job = finished(port, json.loads(content)['token'])
    assert job['state'] == 'done' and 'source' not in str(job['warnings'] + job['report'])
    for beside, size in (('txt-0x9', 9), ('exe-9', 9), ('txt-9999999', 9), ('../a-9', 9)):
        status, _, content = ask(port, 'POST', f'{address}&beside={beside}', b'0' * size, HEADER)
        assert status == 400 and 'is no text file' in json.loads(content)['error']
    status, _, content = ask(port, 'POST', f'{address}&beside=txt-9', b'0' * 9, HEADER)
    assert status == 400 and 'is empty' in json.loads(content)['error']


def test_the_page_is_told_which_texts_the_tools_look_for(port, tmp_path):
    """Names and size stand in one place: each name that is told is found beside an image."""
    told = json.loads(ask(port, 'GET', '/api/settings')[2])['texts']
    assert len(told['names']) == len(set(told['names'])) == 3
    image = tmp_path / 'a.tif'
    for name in told['names']:
        text = tmp_path / name.format(stem='a', kind='tif')
        assert text.suffix in told['suffixes']
        head = '[SemImageFile]\nInstructName=S-4800\n'
        text.write_text(head.ljust(told['limit']))
        assert find_sidecar(image)[0] == text
        text.write_text(head.ljust(told['limit'] + 1))
        assert find_sidecar(image) is None
        beside = f'{text.suffix[1:]}-{told["limit"] + 1}'
        content = ask(port, 'POST', f'/api/jobs?name=a.tif&beside={beside}', b'', HEADER)[2]
        assert 'is no text file' in json.loads(content)['error']
        text.unlink()


def test_the_sharpened_download_is_what_the_tool_writes(port, tmp_path):
    source = noisy(tmp_path / 'scan.tif', 'uint16')
    for name, options in (('plain.tif', []), ('sharp.tif', ['--sharpen'])):
        assert tool.main([str(source), str(tmp_path / name), '--quiet', *options]) == 0
    job = finished(port, upload(port, source, doubts=1)['token'])
    address = f'/api/jobs/{job["token"]}'
    plain = ask(port, 'GET', f'{address}/result')[2]
    status, headers, sharp = ask(port, 'GET', f'{address}/result?sharp=1')
    assert status == 200 and plain == (tmp_path / 'plain.tif').read_bytes()
    assert sharp == (tmp_path / 'sharp.tif').read_bytes() != plain
    assert job['sharp'] == 'scan_restored_sharp.tif'
    assert headers['content-disposition'].endswith("UTF-8''scan_restored_sharp.tif")
    # both pictures in one scale of grey: they differ at edges, not in their mean
    pngs = [ask(port, 'GET', f'{address}/0/{kind}.png')[2] for kind in ('after', 'sharp')]
    after, sharp = (cv2.imdecode(np.frombuffer(png, np.uint8), 0).astype(int) for png in pngs)
    assert abs(after.mean() - sharp.mean()) < 2 and np.abs(after - sharp).max() > 8


def test_a_downloaded_ome_file_names_itself(port, tmp_path):
    """Otherwise readers that go by the name would show the noisy original beside it."""
    pixels = tifffile.imread(noisy(tmp_path / 'a.tif'))
    tifffile.imwrite(tmp_path / 'plain.ome.tif', pixels, metadata=dict(axes='YX'))
    with tifffile.TiffFile(tmp_path / 'plain.ome.tif') as tiff:
        xml = tiff.ome_metadata
    start = xml.index('<TiffData')
    told = '<TiffData IFD="0"><UUID FileName="scan.ome.tif">urn:uuid:1</UUID></TiffData>'
    xml = xml[:start] + told + xml[xml.index('/>', start) + 2 :]
    source = tmp_path / 'scan.ome.tif'
    tifffile.imwrite(source, pixels, description=xml, metadata=None)
    job = finished(port, upload(port, source)['token'])
    for query, name in (('', 'scan_restored.ome.tif'), ('?sharp=1', 'scan_restored_sharp.ome.tif')):
        content = ask(port, 'GET', f'/api/jobs/{job["token"]}/result{query}')[2]
        with tifffile.TiffFile(io.BytesIO(content)) as tiff:
            assert f'FileName="{name}"' in tiff.ome_metadata
            assert tiff.asarray().shape == pixels.shape


def test_every_page_of_a_stack_is_sharpened(port, tmp_path):
    frames = [tifffile.imread(noisy(tmp_path / 'a.tif', seed=seed)) for seed in range(3)]
    tifffile.imwrite(tmp_path / 's.tif', np.stack(frames), photometric='minisblack')
    options = [str(tmp_path / 's.tif'), str(tmp_path / 't.tif'), '--quiet', '--sharpen']
    assert tool.main(options) == 0
    job = finished(port, upload(port, tmp_path / 's.tif')['token'])
    address = f'/api/jobs/{job["token"]}'
    sharp = ask(port, 'GET', f'{address}/result?sharp=1')[2]
    assert sharp == (tmp_path / 't.tif').read_bytes()
    assert ask(port, 'GET', f'{address}/2/sharp.png')[0] == 200


def test_a_stack_has_its_pages(port, tmp_path):
    frames = np.random.default_rng(0).integers(20, 220, (3, 64, 80), dtype=np.uint8)
    tifffile.imwrite(tmp_path / 's.tif', frames, photometric='minisblack')
    job = finished(port, upload(port, tmp_path / 's.tif')['token'])
    assert (job['state'], job['page_count'], len(job['pages'])) == ('done', 3, 3)
    assert ask(port, 'GET', f'/api/jobs/{job["token"]}/2/after.png')[0] == 200
    assert ask(port, 'GET', f'/api/jobs/{job["token"]}/3/after.png')[0] == 404


def test_two_users_at_once_see_their_own(port, tmp_path):
    jobs = []

    def user(seed: int) -> None:
        folder = tmp_path / str(seed)
        folder.mkdir()
        source = noisy(folder / 'same_name.tif', seed=seed)
        tokens = [upload(port, source)['token'] for _ in range(2)]
        jobs.extend((seed, finished(port, token)) for token in tokens)

    users = [threading.Thread(target=user, args=(seed,)) for seed in (1, 2)]
    for thread in users:
        thread.start()
    for thread in users:
        thread.join()
    results = {1: set(), 2: set()}
    for seed, job in jobs:
        assert job['state'] == 'done'
        results[seed].add(ask(port, 'GET', f'/api/jobs/{job["token"]}/result')[2])
    assert len(jobs) == 4 and [len(r) for r in results.values()] == [1, 1]
    assert not results[1] & results[2]


def test_removed_is_gone(port, tmp_path):
    token = finished(port, upload(port, noisy(tmp_path / 'a.tif'))['token'])['token']
    assert ask(port, 'DELETE', f'/api/jobs/{token}')[0] == 403
    assert ask(port, 'DELETE', f'/api/jobs/{token}', headers=HEADER)[0] == 200
    for address in (f'/api/jobs/{token}', f'/api/jobs/{token}/result'):
        assert ask(port, 'GET', address)[0] == 404


@needs_chromium
def test_in_a_browser(port, tmp_path):
    first, second = noisy(tmp_path / 'scan.tif', 'uint16'), noisy(tmp_path / 'b.tif', seed=3)
    (tmp_path / 'bad.tif').write_text('no image')
    (tmp_path / 'large.tif').write_bytes(b'0' * (LIMIT + 1))
    browser = Browser(tmp_path / 'profile')
    try:
        browser.visit(f'http://127.0.0.1:{port}/')
        browser.wait('settings.limit < Infinity')
        files = [first, second, tmp_path / 'bad.tif', tmp_path / 'large.tif']
        browser.choose_files('#files', *files)
        alerts = 'document.getElementById("alerts").innerText'
        assert 'large.tif: is larger than 300 kB' in browser.run(alerts)  # at once; gone after 20 s
        browser.wait(f'{alerts}.includes("bad.tif: ")', 600)
        over = '[...jobs.values()].every(j => ["done", "failed"].includes(j.state))'
        browser.wait(f'jobs.size === 3 && {over}', 600)
        assert browser.run('document.getElementById("title").textContent') == 'scan.tif'
        browser.wait('["before", "after"].every(i => document.getElementById(i).naturalWidth)')
        # the slider, by the mouse and by keys
        cut = 'getComputedStyle(document.getElementById("before")).clipPath'
        halfway = browser.run(cut)
        browser.click('#slider')
        browser.run('document.getElementById("slider").focus()')
        browser.run(
            'document.getElementById("slider").value = 20;'
            'document.getElementById("slider").dispatchEvent(new Event("input"))'
        )
        assert browser.run(cut) != halfway and '80%' in browser.run(cut)
        # marks go and come
        circles = 'document.querySelectorAll("#overlay circle").length'
        browser.click('#all')
        every = browser.run(circles)
        assert every == browser.run('current.pages[0].particles.length') > 0
        browser.click('#all')
        assert browser.run(circles) == browser.run('current.pages[0].doubtful') == 0
        assert browser.run('document.getElementById("markbox").hidden')
        assert '0 doubtful' not in browser.run('document.body.innerText')
        lines = browser.run('document.getElementById("lines").innerText')
        assert 'Noise is ' in lines and '160 × 160 pixels' in lines
        assert 'would be wrong' in lines and 'none is marked' in lines
        # what the button fetches is what the server has
        address = browser.run('document.getElementById("download").getAttribute("href")')
        assert browser.run('document.getElementById("download").download') == 'scan_restored.tif'
        content = ask(port, 'GET', f'/{address}')[2]
        (tmp_path / 'd.tif').write_bytes(content)
        assert tool.main([str(first), str(tmp_path / 'tool.tif'), '--quiet']) == 0
        assert content == (tmp_path / 'tool.tif').read_bytes()
        # sharpened at a tick, without another restoration, and back
        shown = 'document.getElementById("after").src.split("/").pop()'
        assert browser.run(shown) == 'after.png'
        browser.click('#sharp')
        assert browser.run(shown) == 'sharp.png'
        browser.wait('document.getElementById("after").complete')
        assert browser.run('document.getElementById("after").naturalWidth') == 160
        tag = 'document.getElementById("righttag").innerText'
        assert browser.run(tag) == 'restored, sharpened'
        fits = '(v => v.scrollHeight <= v.clientHeight)(document.getElementById("view"))'
        assert browser.run(fits)  # the words below take no room from the picture
        download = 'document.getElementById("download")'
        assert browser.run(f'{download}.innerText') == 'Download sharpened image'
        assert browser.run(f'{download}.download') == 'scan_restored_sharp.tif'
        address = browser.run(f'{download}.getAttribute("href")')
        options = [str(first), str(tmp_path / 'sharp.tif'), '--quiet', '--sharpen']
        assert tool.main(options) == 0
        assert ask(port, 'GET', f'/{address}')[2] == (tmp_path / 'sharp.tif').read_bytes()
        browser.click('#sharp')
        assert browser.run(shown) == 'after.png' and browser.run(tag) == 'restored'
        assert browser.run(f'{download}.getAttribute("href")').endswith('/result')
        # another image, and removing it
        browser.click('.item:nth-child(2) .name')
        assert browser.run('document.getElementById("title").textContent') == 'b.tif'
        browser.click('.item:nth-child(2) .close')
        browser.wait('jobs.size === 2')
        assert browser.run('document.getElementById("title").textContent') == 'scan.tif'
        unnamed = (
            '[...document.querySelectorAll("button, input, img, progress")].filter(e => !('
            'e.ariaLabel || e.innerText || (e.labels && e.labels.length) || e.hasAttribute("alt")))'
            '.map(e => e.outerHTML)'
        )
        assert browser.run(unnamed) == []  # everything has a name for those who do not see it
        assert browser.complaints == []
    finally:
        browser.close()


@pytest.mark.parametrize(
    ('end', 'options'), [(signal.SIGINT, []), (signal.SIGTERM, ['--sharpen']), (signal.SIGHUP, [])]
)
def test_the_command_serves_and_ends(tmp_path, end, options):
    script = Path(__file__).parents[3] / 'tools/restore.py'
    process = subprocess.Popen(
        [sys.executable, script, '--serve', '--no-browser', '--port', '0', *options],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, 'TMPDIR': str(tmp_path)},
    )
    line = process.stderr.readline()
    port = int(re.search(r'http://127\.0\.0\.1:(\d+)/', line)[1])
    assert ask(port, 'GET', '/')[0] == 200 and len(list(tmp_path.glob('mmclarity-*'))) == 1
    told = json.loads(ask(port, 'GET', '/api/settings')[2])
    assert told['sharpen'] is bool(options)  # how the page's box stands at first
    process.send_signal(end)
    rest = process.communicate(timeout=300)[1]
    assert process.returncode == 0 and 'Traceback' not in rest
    assert not list(tmp_path.glob('mmclarity-*'))
