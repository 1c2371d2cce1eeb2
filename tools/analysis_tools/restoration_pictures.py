"""Make the pictures of restoration in the documentation anew, with the network that ships.

    python tools/analysis_tools/restoration_pictures.py pair
    python tools/analysis_tools/restoration_pictures.py page
    xvfb-run -a python tools/analysis_tools/restoration_pictures.py napari

pair     docs/images/sem_phantom.jpg: the first pair of make_sem_phantom.py, restored and counted by
         restoration_report.py
page     docs/images/restore_page.png: `mmclarity-restore --serve` with two simulated scans, in
         Chromium (apt install chromium); needs mmclarity[app]
napari   docs/images/napari.jpg: napari's window, the sample above its restoration; needs
         mmclarity[napari] and napari[pyqt6], and xvfb where there is no display

Look at each before you commit it. JPEG files are as good as they can be in what they may weigh; a
PNG file that weighs more than that is not written.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # the tests' browser, the demo's micrograph

from demo.sem_micrograph import make_micrograph  # noqa: E402
from mmclarity.cli.main import finish  # noqa: E402
from mmclarity.errors import UsageError  # noqa: E402
from mmclarity.utils.files import write_bytes  # noqa: E402

# Bytes of a picture, at most.
LIMITS = {'sem_phantom.jpg': 157_000, 'restore_page.png': 300_000, 'napari.jpg': 117_000}
PAIR_WIDTH, PAGE_SIZE, WINDOW_SIZE = 1440, (1240, 800), (1100, 700)
# Seconds that a restoration may take on a machine that does other things as well.
PATIENCE = 900


def tool(*words: object) -> None:
    """Runs a script of the repository."""
    subprocess.run([sys.executable, *map(str, words)], cwd=ROOT, check=True)


def pair(folder: Path) -> tuple[str, bytes]:
    """A simulated pair: noisy, restored, reference, and what was counted."""
    tool('tools/dataset_generators/make_sem_phantom.py', folder / 'data', '--train', 1, '--val', 1)
    tool(
        'tools/analysis_tools/restoration_report.py',
        *('--data', 'configs/ssim_unet_phantom.py', '--general', 'restored=', '--limit', 1),
        *('--out', folder / 'report', '--cfg-options'),
        f'test_dataloader.dataset.data_root={folder}/data/',
    )
    drawn = cv2.imread(str(folder / 'report/pictures.png'))
    size = PAIR_WIDTH, round(PAIR_WIDTH * drawn.shape[0] / drawn.shape[1])
    drawn = cv2.resize(drawn, size, interpolation=cv2.INTER_AREA)
    return 'sem_phantom.jpg', jpeg(drawn, LIMITS['sem_phantom.jpg'])


def page(folder: Path) -> tuple[str, bytes]:
    """The page in the browser, half way through its slider, edges sharpened."""
    from tests.browser import CHROMIUM, Browser

    if CHROMIUM is None:
        raise UsageError('there is no Chromium to open the page in: apt install chromium')
    scans = [folder / 'particles_fast_scan.tif', folder / 'grid_square_07.tif']
    for seed, scan in enumerate(scans, 3):
        make_micrograph(scan, (768, 896), seed)
    command = ['tools/restore.py', '--serve', '--sharpen', '--no-browser', '--port', '0']
    server = subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,  # where the address is told
        text=True,
    )
    try:
        address = next(word for line in server.stdout for word in line.split() if '://' in word)
        browser = Browser(folder / 'profile', PAGE_SIZE)
        try:
            browser.visit(address)
            browser.wait('settings.limit < Infinity')
            browser.choose_files('#files', *scans)
            over = '[...jobs.values()].every(j => ["done", "failed"].includes(j.state))'
            browser.wait(f'jobs.size === 2 && {over}', PATIENCE)
            browser.wait('["before", "after"].every(i => document.getElementById(i).naturalWidth)')
            time.sleep(1)  # what fades in has done so
            return 'restore_page.png', browser.picture()
        finally:
            browser.close()
    finally:
        server.terminate()
        server.wait(30)


def napari(folder: Path) -> tuple[str, bytes]:
    """The window of napari with the plugin, the sample and its restoration one above the other."""
    import napari
    from napari.settings import get_settings
    from qtpy.QtWidgets import QApplication

    get_settings().application.ipy_interactive = False
    viewer = napari.Viewer(show=True)
    try:
        viewer.window.resize(*WINDOW_SIZE)
        viewer.open_sample('mmclarity', 'noisy')
        _, widget = viewer.window.add_plugin_dock_widget('mmclarity')
        widget.doubts.setChecked(True)
        widget.start.click()
        end = time.monotonic() + PATIENCE
        while widget.worker is not None or len(viewer.layers) < 2:
            if time.monotonic() > end:
                raise UsageError(f'nothing was restored in {PATIENCE} s: {widget.said.text()}')
            QApplication.processEvents()
            time.sleep(0.02)
        grid = viewer.canvas.grid
        grid.shape, grid.stride, grid.enabled = (2, 1), 1, True
        viewer.reset_view()
        for _ in range(20):
            QApplication.processEvents()
        shown = viewer.screenshot(canvas_only=False, flash=False)
    finally:
        viewer.close()
    shown = cv2.cvtColor(shown[..., :3], cv2.COLOR_RGB2BGR)
    return 'napari.jpg', jpeg(shown, LIMITS['napari.jpg'])


def jpeg(image: np.ndarray, limit: int) -> bytes:
    """A picture as a file of so many bytes at most."""
    for quality in range(95, 40, -1):
        content = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        if len(content) <= limit:
            break
    return content.tobytes()


PICTURES: dict[str, Callable[[Path], tuple[str, bytes]]] = dict(pair=pair, page=page, napari=napari)


def run(args: argparse.Namespace) -> None:
    """Makes what was asked for."""
    for kind in args.kinds:
        with tempfile.TemporaryDirectory() as folder:
            name, content = PICTURES[kind](Path(folder))
        if len(content) > LIMITS[name]:
            raise UsageError(f'{name}: has {len(content)} bytes, more than {LIMITS[name]}')
        write_bytes(args.out / name, content, overwrite=True)
        print(f'{args.out / name}: {len(content)} bytes')


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tool; returns its exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('kinds', nargs='+', choices=PICTURES)
    parser.add_argument('--out', type=Path, default=ROOT / 'docs/images')
    return finish(run, parser.parse_args(argv), 'restoration_pictures.py')


if __name__ == '__main__':
    sys.exit(main())
