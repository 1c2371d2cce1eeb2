"""The page's list in Chromium: folders that are dropped, reloads, tabs that were closed."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import tifffile

from tests.browser import Browser, needs_chromium
from tests.restoration.app.served import HEADER, ask, coloured, noisy

pytest.importorskip('starlette', reason='the page needs mmclarity[app]')
pytest.importorskip('uvicorn', reason='the page needs mmclarity[app]')

NAMES = '[...document.querySelectorAll("#list .name")].map(e => e.textContent)'
ALERTS = 'document.getElementById("alerts").innerText'
DONE = 'jobs.size && [...jobs.values()].every(j => j.state === "done")'


def drop(browser: Browser, *paths: Path) -> None:
    data = dict(items=[], files=[str(path) for path in paths], dragOperationsMask=1)
    for kind in ('dragEnter', 'dragOver', 'drop'):
        browser.send('Input.dispatchDragEvent', type=kind, x=150, y=200, data=data)


def gone(port: int, token: str) -> None:
    end = time.monotonic() + 90
    while ask(port, 'GET', f'/api/jobs/{token}')[0] != 404:
        assert time.monotonic() < end
        time.sleep(0.05)


@needs_chromium
def test_folders_are_dropped_and_the_list_outlives_the_tab(port, tmp_path):
    session = tmp_path / 'session'
    (session / 'below').mkdir(parents=True)
    (tmp_path / 'empty').mkdir()
    for place in ('session/b.tif', 'session/a.TIF', 'session/below/deep.tif', 'single.tif'):
        noisy(tmp_path / place)
    for name in ('notes.txt', '._a.tif', 'Thumbs.db'):
        (session / name).write_text('no image')
    browser = Browser(tmp_path / 'profile')
    try:
        browser.visit(f'http://127.0.0.1:{port}/')
        browser.wait('settings.limit < Infinity')
        browser.run('document.getElementById("doubts").checked = false')
        drop(browser, session, tmp_path / 'empty', tmp_path / 'single.tif')
        browser.wait('jobs.size === 3')
        browser.wait(f'{ALERTS}.includes("empty: holds no images")')
        assert 'session: folders in it are left out (1)' in browser.run(ALERTS)
        browser.wait(DONE, 600)
        names = browser.run(NAMES)
        assert sorted(names) == ['a.TIF', 'b.tif', 'single.tif']
        assert names.index('a.TIF') < names.index('b.tif')
        browser.wait('kept().length === 3')
        tokens = browser.run('[...jobs.values()].map(j => j.token)')
        # reloaded, the list is there; what was removed is not
        browser.click('.item:nth-child(2) .close')
        browser.visit(f'http://127.0.0.1:{port}/page.html')
        browser.wait('jobs.size === 2')
        kept = [token for i, token in enumerate(tokens) if i != 1]
        assert browser.run('[...jobs.values()].map(j => j.token)') == kept
        gone(port, tokens[1])  # though the page was left at once
        assert browser.run('document.getElementById("stage").hidden') is False
        address = browser.run('document.getElementById("download").getAttribute("href")')
        assert ask(port, 'GET', f'/{address}')[0] == 200
        # what the server has forgotten is forgotten, without a word
        assert ask(port, 'DELETE', f'/api/jobs/{kept[0]}', headers=HEADER)[0] == 200
        browser.visit(f'http://127.0.0.1:{port}/')
        browser.wait('jobs.size === 1 && kept().length === 1')
        assert browser.run(ALERTS) == '' and browser.complaints == []
    finally:
        browser.close()


@needs_chromium
def test_work_goes_on_under_a_page_that_was_reloaded(port, gate, tmp_path):
    browser = Browser(tmp_path / 'profile')
    try:
        browser.visit(f'http://127.0.0.1:{port}/')
        browser.wait('settings.limit < Infinity')
        browser.run('document.getElementById("doubts").checked = false')
        drop(browser, *(noisy(tmp_path / f'{i}.tif', seed=i) for i in range(3)))
        browser.wait('kept().length === 3')
        # three answers that are lost on the way are no end
        browser.run(
            'window.usual = window.fetch; window.lost = 0;'
            'window.fetch = (...a) => ++lost < 4 ? Promise.reject(new TypeError()) : usual(...a)'
        )
        browser.wait('lost > 4')  # the work waits: the page goes on asking
        assert browser.run('[...jobs.values()].every(j => j.state !== "failed")')
        browser.visit(f'http://127.0.0.1:{port}/page.html')
        browser.wait('jobs.size === 3')
        gate.set()
        browser.wait(DONE, 600)  # each is watched to its end
        assert sorted(browser.run(NAMES)) == ['0.tif', '1.tif', '2.tif']
        assert browser.complaints == []
    finally:
        browser.close()


@needs_chromium
def test_what_is_removed_does_not_come_back_with_a_late_answer(port, gate, tmp_path):
    browser = Browser(tmp_path / 'profile')
    try:
        browser.visit(f'http://127.0.0.1:{port}/')
        browser.wait('settings.limit < Infinity')
        browser.run(
            'window.usual = window.fetch; window.asked = window.read = 0;'
            'window.late = new Promise(go => { window.go = go; });'
            'window.fetch = async (...a) => {'
            '  const answer = await usual(...a); asked++; await late;'
            '  return { ok: answer.ok, json: async () => {'
            '  const found = await answer.json(); setTimeout(() => read++); return found; } }; }'
        )
        drop(browser, noisy(tmp_path / 'a.tif'))
        browser.wait('asked > 0')
        browser.click('.item .close')
        assert browser.run('document.querySelectorAll(".item").length') == 0
        browser.run('go()')
        browser.wait('read > 0')
        assert browser.run('document.querySelectorAll(".item").length') == 0
        assert browser.run(ALERTS) == '' and browser.complaints == []
    finally:
        browser.close()


@needs_chromium
def test_a_reloaded_list_is_in_its_order_whichever_answer_is_first(port, tmp_path):
    browser = Browser(tmp_path / 'profile')
    try:
        browser.visit(f'http://127.0.0.1:{port}/')
        browser.wait('settings.limit < Infinity')
        browser.run('document.getElementById("doubts").checked = false')
        drop(browser, *(noisy(tmp_path / f'{i}.tif', seed=i) for i in range(2)))
        browser.wait(f'jobs.size === 2 && {DONE}', 600)
        browser.run(
            'window.tokens = kept(); document.getElementById("list").replaceChildren();'
            'jobs.clear(); current = null; window.usual = window.fetch;'
            'window.fetch = async (...a) => { const answer = await usual(...a);'
            '  if (a[0].endsWith(tokens[0])) await new Promise(go => setTimeout(go, 300));'
            '  return answer; }; takeUp(tokens)'
        )
        browser.wait('jobs.size === 2')
        assert browser.run(NAMES) == ['0.tif', '1.tif']
        assert browser.run('document.getElementById("title").textContent') == '0.tif'
        assert browser.complaints == []
    finally:
        browser.close()


@needs_chromium
def test_of_coloured_images_the_colour_is_asked_for_once(port, tmp_path):
    browser = Browser(tmp_path / 'profile')
    asking = '[...document.querySelectorAll(".choice:not([hidden])")].length'
    try:
        browser.visit(f'http://127.0.0.1:{port}/')
        browser.wait('settings.limit < Infinity')
        browser.run('document.getElementById("doubts").checked = false')
        drop(browser, coloured(tmp_path / 'a.tif'), noisy(tmp_path / 'b.tif'))
        drop(browser, coloured(tmp_path / 'c.tif', seed=5))
        browser.wait(f'jobs.size === 3 && {asking} === 2', 600)
        assert 'which of its colours' in browser.run('document.getElementById("list").innerText')
        assert browser.run(ALERTS) == ''
        # the question outlives the tab
        browser.visit(f'http://127.0.0.1:{port}/page.html')
        browser.wait(f'jobs.size === 3 && {asking} === 2', 60)
        browser.click('.choice:not([hidden]) button:nth-child(2)')
        browser.wait(DONE, 600)
        assert browser.run(asking) == 0
        report = browser.run('[...jobs.values()].find(j => j.name === "c.tif").report.join()')
        assert 'channel 1 is taken' in report
        assert browser.complaints == []
    finally:
        browser.close()


@needs_chromium
def test_texts_of_the_microscope_go_along_with_their_images(port, tmp_path):
    folder = tmp_path / 'session'
    folder.mkdir()
    text = '[SemImageFile]\nInstructName=S-4800\nDataSize=160x160\nPixelSize=24.8\n'
    for place, name in ((folder, 'a.TIF'), (folder, 'b.tif'), (tmp_path, 'c.tif')):
        pixels = tifffile.imread(noisy(place / name))
        tifffile.imwrite(place / name, pixels)  # without tags
    for path in (folder / 'a.txt', folder / 'notes.txt', tmp_path / 'c.TXT', tmp_path / 'd.txt'):
        path.write_text(text)
    browser = Browser(tmp_path / 'profile')
    sizes = '[...jobs.values()].map(j => [j.name, j.pixel_size])'
    try:
        browser.visit(f'http://127.0.0.1:{port}/')
        browser.wait('settings.limit < Infinity')
        browser.run('document.getElementById("doubts").checked = false')
        drop(browser, folder)
        browser.wait('jobs.size === 2')
        browser.choose_files('#files', tmp_path / 'c.TXT', tmp_path / 'c.tif', tmp_path / 'd.txt')
        # what belongs to no image is refused aloud, but for notes in a folder
        browser.wait(f'{ALERTS}.includes("d.txt: is not one of")')
        browser.wait('jobs.size === 4 && [...jobs.values()].every(j => j.pages || j.error)', 60)
        browser.wait('[...jobs.values()].filter(j => j.state === "done").length === 3', 600)
        found = dict(browser.run(sizes))
        assert found['a.TIF'] == found['c.tif'] == pytest.approx(24.8e-9)
        assert found['b.tif'] is None and set(found) == {'a.TIF', 'b.tif', 'c.tif', 'd.txt'}
        assert browser.complaints == []
    finally:
        browser.close()
