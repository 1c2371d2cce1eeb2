"""The page in the browser: what comes from outside and is refused."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmclarity.cli import restore as tool
from mmclarity.restoration.app.jobs import (
    RefusedUpload,
    Workshop,
    safe_name,
)
from mmclarity.restoration.app.watched import WatchedRestorer
from tests.restoration.app.served import HEADER, LIMIT, ask, finished, noisy, upload

pytest.importorskip('starlette', reason='the page needs mmclarity[app]')
pytest.importorskip('uvicorn', reason='the page needs mmclarity[app]')

from mmclarity.restoration.app import server


@pytest.mark.parametrize(
    ('given', 'kept'),
    [
        ('../../../etc/cron.d/evil.tif', 'evil.tif'),
        ('C:\\Users\\me\\scan 1.TIF', 'scan 1.TIF'),
        ('/absolute.png', 'absolute.png'),
        ('a\x00b\n\u202ec.tif', 'abc.tif'),
        ('<img src=x>.tif', 'img src=x.tif'),
        ('é' * 300 + '.bmp', 'é' * 120 + '.bmp'),
    ],
)
def test_names_are_names(given, kept):
    assert safe_name(given) == kept


@pytest.mark.parametrize('name', ['', '.tif', '..', 'a.exe', 'a.tif/', 'a.tif.sh', 'noending'])
def test_names_that_are_not_of_images(name):
    with pytest.raises(RefusedUpload, match='not one of'):
        safe_name(name)


def test_no_path_from_outside_reaches_the_disk(port, tmp_path):
    source = noisy(tmp_path / 'x.tif')
    job = finished(port, upload(port, source, '../../../../tmp/mmclarity_escaped.tif')['token'])
    assert job['state'] == 'done' and job['name'] == 'mmclarity_escaped.tif'
    assert not Path('/tmp/mmclarity_escaped.tif').exists()
    for path in (
        '/../../etc/passwd',
        '/%2e%2e/%2e%2e/etc/passwd',
        '/page.html/../jobs.py',
        '/static/page.js',
        '/jobs.py',
        f'/api/jobs/{job["token"]}/0/..%2fsource.png',
        f'/api/jobs/{job["token"]}%2f..%2fx/result',
        '/api/jobs/..%2f..%2fetc/result',
        f'/api/jobs/{"a" * 22}/result',
        f'/api/jobs/{job["token"]}/-1/before.png',
    ):
        status, _, content = ask(port, 'GET', path)
        assert status == 404 and b'root:' not in content, path


def test_oversize_empty_and_not_an_image(port, tmp_path):
    body = b'0' * (LIMIT + 1)
    status, _, content = ask(port, 'POST', '/api/jobs?name=a.tif', body, HEADER)
    assert status == 413 and 'larger than 300 kB' in json.loads(content)['error']

    def chunks() -> Iterator[bytes]:  # no length is told
        for _ in range(8):
            yield b'0' * 65536

    connection = http.client.HTTPConnection('127.0.0.1', port, timeout=300)
    connection.request('POST', '/api/jobs?name=a.tif', chunks(), HEADER, encode_chunked=True)
    assert connection.getresponse().status == 413
    connection.close()
    status, _, content = ask(port, 'POST', '/api/jobs?name=a.tif', b'', HEADER)
    assert status == 400 and 'is empty' in json.loads(content)['error']
    status, _, content = ask(port, 'POST', '/api/jobs?name=a.exe', b'MZ', HEADER)
    assert status == 415
    (tmp_path / 'a.tif').write_text('not an image')
    job = finished(port, upload(port, tmp_path / 'a.tif')['token'])
    assert job['state'] == 'failed' and 'TIFF' in job['error'] and '/' not in job['error']
    assert ask(port, 'GET', f'/api/jobs/{job["token"]}/result')[0] == 404


def test_other_pages_and_other_names_are_kept_out(port, tmp_path):
    # a page elsewhere may post without asking, but not with this header
    assert ask(port, 'POST', '/api/jobs?name=a.tif', b'x')[0] == 403
    here, gone = upload(port, noisy(tmp_path / 'a.tif'))['token'], 'a' * 22
    for method, beyond in (('DELETE', ''), ('POST', '/channel/0')):
        status, _, content = ask(port, method, f'/api/jobs/{here}{beyond}')
        assert status == 403 and 'x-mmclarity is missing' in json.loads(content)['error']
        status, _, content = ask(port, method, f'/api/jobs/{gone}{beyond}', headers=HEADER)
        assert status == 404 and 'not here any more' in json.loads(content)['error']
    assert ask(port, 'GET', f'/api/jobs/{gone}')[0] == 404
    assert ask(port, 'GET', f'/api/jobs/{here}')[0] == 200  # nothing was done to it
    for host in ('evil.example', f'evil.example:{port}', '127.0.0.1.evil.example', ''):
        assert ask(port, 'GET', '/', headers={'Host': host})[0] == 421
    for host in ('localhost', f'127.0.0.1:{port}', '[::1]:9'):
        assert ask(port, 'GET', '/', headers={'Host': host})[0] == 200
    _, headers, _ = ask(port, 'GET', '/')
    assert "default-src 'none'" in headers['content-security-policy']
    assert 'access-control-allow-origin' not in headers


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--serve', 'a.tif'], 'takes no IN'),
        (['--serve', '--adapt'], 'adapt first'),
        (['--serve', '--port', '70000'], '0 to 65535'),
        (['--serve', '--upload-limit', '0'], 'at least 1 MB'),
    ],
)
def test_what_does_not_go_together(arguments, message, capsys):
    assert tool.main(arguments) == 2
    assert message in capsys.readouterr().err


def test_without_its_libraries_the_remedy_is_told(monkeypatch, capsys):
    monkeypatch.setattr('mmclarity.cli.serve.find_spec', lambda name: None)
    assert tool.main(['--serve']) == 2
    assert 'pip install "mmclarity[app]"' in capsys.readouterr().err


def test_a_port_that_is_taken(port, tmp_path, capsys):
    workshop = Workshop(WatchedRestorer(), LIMIT)
    with pytest.raises(ValueError, match='choose another --port'):
        server.serve(workshop, '127.0.0.1', port)
    assert not workshop.folder.exists()


def test_interrupted_as_soon_as_the_address_is_told_it_leaves_nothing():
    """Ctrl-C, before there is a server that hears it."""
    workshop = Workshop(WatchedRestorer(), LIMIT)

    def interrupt(address: str) -> None:
        raise KeyboardInterrupt

    server.serve(workshop, '127.0.0.1', 0, interrupt)
    assert not workshop.folder.exists()
