"""napari: the work without it, the manifest, and the widget where napari is installed."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from safetensors.torch import load_file, save_file

from mmclarity.cli import restore as tool
from mmclarity.errors import UsageError
from mmclarity.restoration import Restorer
from mmclarity.restoration.general.weights import WEIGHTS
from mmclarity.restoration.inference import doubts
from mmclarity.restoration.napari_plugin.planes import Cancelled, restore_planes, sample

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / 'projects/mmclarity/restoration/napari_plugin'
NAPARI = importlib.util.find_spec('napari') is not None
needs_napari = pytest.mark.skipif(
    not NAPARI, reason='napari is not installed: pip install "napari[pyqt6]"'
)


@pytest.fixture(scope='module')
def restorer() -> Restorer:
    return Restorer(tile=256)


def noisy(*shape: int, dtype: str = 'uint8') -> np.ndarray:
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[: shape[-2], : shape[-1]]
    discs = (rows % 40 - 20) ** 2 + (columns % 36 - 18) ** 2 < 11**2
    return (60 + 100 * discs + random.normal(0, 15, shape)).clip(0, 255).astype(dtype)


def endless() -> np.ndarray:
    """A stack that takes minutes: nothing that stops the work comes too late."""
    return np.broadcast_to(noisy(300, 300), (2000, 300, 300))


@pytest.mark.parametrize('dtype', ['uint8', 'uint16', 'int16', 'float32', 'float64', 'int32'])
def test_planes_are_what_the_restorer_makes_of_each(restorer, dtype):
    stack = noisy(2, 3, 72, 80, dtype=dtype)
    shares = []
    restored = restore_planes(restorer, stack, progress=shares.append)
    assert restored.data.shape == stack.shape
    assert restored.data.dtype == (dtype if dtype in ('uint8', 'uint16', 'int16') else 'float32')
    assert shares[-1] == 1 and shares == sorted(shares) and len(shares) == 6
    plane = stack[1, 2].astype(restored.data.dtype)
    low, high = (0, np.iinfo(dtype).max) if dtype[0] == 'u' else (plane.min(), plane.max())
    alone = Restorer(tile=256)(plane) * (float(high) - float(low)) + float(low)
    assert np.abs(restored.data[1, 2] - alone).max() <= 0.51 + 1e-6 * abs(float(high))
    assert any('noise is' in line for line in restored.said)


@pytest.fixture
def marks(monkeypatch):
    """A rule that marks; that of the network that ships marks nothing."""
    rule = replace(doubts.shipped_rule(), mark=0.005)
    monkeypatch.setattr(doubts, 'shipped_rule', lambda: rule)


def test_doubtful_particles_know_their_plane(restorer, marks):
    image = sample()[0][0]
    restored = restore_planes(restorer, np.stack([image, np.full_like(image, 90)]), doubts=True)
    assert restored.particles.shape[1] == 3 and len(restored.particles) == len(restored.sizes) > 0
    assert set(restored.particles[:, 0]) == {0}  # an even plane has none
    assert any('of the others would be wrong' in line for line in restored.said)
    assert (restored.particles[:, 1:] <= 512).all() and (restored.sizes > 0).all()


def test_stopped_and_refused(restorer):
    with pytest.raises(Cancelled):
        restore_planes(restorer, noisy(64, 64), stopped=lambda: True)
    for data in (np.zeros(5), np.zeros((0, 4)), np.zeros((4, 4), complex)):
        with pytest.raises(UsageError, match='two or more axes'):
            restore_planes(restorer, data)


def test_the_manifest_names_what_is_there():
    """Without napari and npe2: every name leads to a class or function."""
    text = (FOLDER / 'napari.yaml').read_text()
    names = re.findall(r'python_name: (\S+):(\w+)', text)
    assert len(names) == 2
    for module, attribute in names:
        path = ROOT / 'projects' / (module.replace('.', '/') + '.py')
        defined = {getattr(node, 'name', None) for node in ast.parse(path.read_text()).body}
        assert attribute in defined
    commands = set(re.findall(r'id: (\S+)', text))
    assert set(re.findall(r'- command: (\S+)', text)) == commands
    assert text.startswith('name: mmclarity\n')
    setup = (ROOT / 'setup.py').read_text()
    assert "'mmclarity = mmclarity.restoration.napari_plugin:napari.yaml'" in setup


@pytest.mark.skipif(importlib.util.find_spec('npe2') is None, reason='npe2 is not installed')
def test_the_manifest_is_valid():
    from npe2 import PluginManifest

    manifest = PluginManifest.from_file(FOLDER / 'napari.yaml')
    assert manifest.name == 'mmclarity'
    assert [w.display_name for w in manifest.contributions.widgets] == ['Restore micrograph']
    if NAPARI:
        manifest.validate_imports()


@pytest.mark.skipif(NAPARI, reason='napari is installed')
def test_without_napari_the_remedy_is_told():
    with pytest.raises(ModuleNotFoundError, match=r'mmclarity\[napari\]'):
        import mmclarity.restoration.napari_plugin.widget  # noqa: F401


@pytest.fixture
def viewer(monkeypatch):
    """napari without its canvas: Qt's offscreen platform has no OpenGL."""
    monkeypatch.setenv('QT_QPA_PLATFORM', os.environ.get('QT_QPA_PLATFORM', 'offscreen'))
    from napari.components import ViewerModel
    from qtpy.QtWidgets import QApplication

    application = QApplication.instance() or QApplication([])
    yield ViewerModel()
    application.processEvents()


def wait(condition, seconds: float = 600) -> None:
    from qtpy.QtWidgets import QApplication

    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, 'never'
        QApplication.processEvents()
        time.sleep(0.01)


@needs_napari
def test_the_widget_restores_a_stack_and_keeps_its_scale(viewer):
    from mmclarity.restoration.napari_plugin.widget import RestoreWidget

    stack = noisy(2, 96, 100, dtype='uint16')
    viewer.add_image(
        stack, name='scan', scale=(50, 2, 2), translate=(0, 7, 9), metadata={'kV': 15},
        contrast_limits=(0, 260),
    )  # fmt: skip
    viewer.layers['scan'].units = ('nm', 'nm', 'nm')
    widget = RestoreWidget(viewer)
    assert widget.layers.currentText() == 'scan' and widget.start.isEnabled()
    values = []
    widget.progressed.connect(values.append)
    widget.start.click()
    assert widget.cancel.isEnabled() and not widget.start.isEnabled()
    wait(lambda: widget.worker is None)
    restored = viewer.layers['scan restored']
    assert restored.data.dtype == np.uint16 and restored.data.shape == stack.shape
    np.testing.assert_array_equal(restored.scale, (50, 2, 2))
    np.testing.assert_array_equal(restored.translate, (0, 7, 9))
    assert restored.metadata['kV'] == 15 and 'noise is' in ' '.join(restored.metadata['mmclarity'])
    assert [str(unit) for unit in restored.units] == ['nanometer'] * 3
    assert tuple(restored.contrast_limits) == (0, 260) and values[-1] == 1
    assert restored.data.astype(float).std() < stack.astype(float).std()  # less noise
    assert 'noise is' in widget.said.text() and widget.start.isEnabled()


@needs_napari
def test_a_layer_that_was_renamed_and_moved_is_found(viewer):
    from mmclarity.restoration.napari_plugin.widget import RestoreWidget

    turned = np.array([[0.8, -0.6, 3], [0.6, 0.8, 4], [0, 0, 1]])
    viewer.add_image(noisy(64, 64), name='other')
    viewer.add_image(noisy(72, 80), name='scan', affine=turned)
    widget = RestoreWidget(viewer)
    widget.layers.setCurrentText('scan')
    viewer.layers['scan'].name = 'Präparat 5,5 nm'
    assert widget.layers.currentText() == 'Präparat 5,5 nm'
    viewer.layers.move(1, 0)
    widget.start.click()
    wait(lambda: widget.worker is None)
    restored = viewer.layers['Präparat 5,5 nm restored']
    assert restored.data.shape == (72, 80)
    np.testing.assert_allclose(np.asarray(restored.affine), turned)
    del viewer.layers['Präparat 5,5 nm']
    assert [widget.layers.itemText(i) for i in range(widget.layers.count())] == [
        'other', 'Präparat 5,5 nm restored',
    ]  # fmt: skip


@needs_napari
def test_a_window_that_is_closed_ends_the_work(viewer):
    # A thread that sent a signal of the deleted widget ended the process by a segmentation fault.
    from qtpy.QtCore import QEvent
    from qtpy.QtWidgets import QApplication

    from mmclarity.restoration.napari_plugin.widget import RestoreWidget

    widget = RestoreWidget(viewer)
    viewer.add_image(endless(), name='long')
    widget.start.click()
    wait(lambda: widget.bar.value() > 0)
    worker, now = widget.worker, widget._now
    widget.deleteLater()
    QApplication.sendPostedEvents(widget, QEvent.Type.DeferredDelete)
    assert now.stopped
    wait(lambda: not worker.is_running)
    assert now.share < 0.5 and len(viewer.layers) == 1


@needs_napari
def test_cancel_colour_and_doubt(viewer, marks):
    from mmclarity.restoration.napari_plugin.widget import RestoreWidget

    widget = RestoreWidget(viewer)
    assert not widget.start.isEnabled()
    viewer.add_image(endless(), name='long')
    widget.start.click()
    wait(lambda: widget.bar.value() > 0)
    widget.cancel.click()
    wait(lambda: widget.worker is None)
    assert 'stopped' in widget.said.text() and len(viewer.layers) == 1
    viewer.add_image(np.zeros((20, 20, 3), np.uint8), name='colour', rgb=True)
    widget.layers.setCurrentText('colour')
    widget.start.click()
    assert 'colour image' in widget.said.text() and widget.worker is None
    (data, attributes, _), = sample()  # fmt: skip
    viewer.add_image(data, **attributes)
    widget.layers.setCurrentText('noisy micrograph')
    widget.doubts.setChecked(True)
    widget.start.click()
    wait(lambda: widget.worker is None)
    points = viewer.layers['noisy micrograph doubtful']
    assert len(points.data) > 0 and tuple(points.scale) == (2, 2)
    viewer.add_image(np.full((30, 30), np.nan, np.float32), name='nan')
    widget.layers.setCurrentText('nan')
    widget.start.click()
    wait(lambda: widget.worker is None)
    assert 'failed' in widget.said.text() and 'NaN' in widget.said.text()


@pytest.fixture
def own(tmp_path) -> Path:
    """Weights as mmclarity-adapt --clean writes them, that know levels of slow scans."""
    path = tmp_path / 'own.safetensors'
    save_file(load_file(WEIGHTS), path, metadata=dict(caution='2.0', levels='0.5 0.1'))
    return path


def tools(tmp_path: Path, image: np.ndarray, *options: str) -> np.ndarray:
    """What the command line makes of an image."""
    tifffile.imwrite(tmp_path / 'in.tif', image)
    files = [str(tmp_path / name) for name in ('in.tif', 'out.tif')]
    assert tool.main([*files, '--overwrite', '--quiet', *options]) == 0
    return tifffile.imread(tmp_path / 'out.tif')


@pytest.mark.parametrize('dtype', ['uint8', 'uint16'])
@pytest.mark.parametrize('slow', [False, True])
def test_with_own_weights_planes_are_what_the_tool_writes(own, tmp_path, dtype, slow):
    image = noisy(96, 100, dtype=dtype)
    restored = restore_planes(Restorer(checkpoint=own, slow_levels=slow), image)
    options = ['--checkpoint', str(own), *(['--slow-levels'] if slow else [])]
    np.testing.assert_array_equal(restored.data, tools(tmp_path, image, *options))
    assert restored.said[0] == 'restored with own.safetensors'
    assert ('grey levels are those of a slow scan' in restored.said) is slow
    assert restored.levels.wanted is slow


@needs_napari
def test_weights_of_ones_own_are_chosen(viewer, own, tmp_path, monkeypatch):
    from mmclarity.restoration.napari_plugin import widget as module

    image = noisy(96, 100)
    viewer.add_image(image, name='scan', contrast_limits=(0, 255))
    widget = module.RestoreWidget(viewer)

    def restored() -> np.ndarray:
        widget.start.click()
        wait(lambda: widget.worker is None)
        return viewer.layers[-1].data

    def choose(name: str) -> None:
        answer = staticmethod(lambda *_: (name, ''))
        monkeypatch.setattr(module.QFileDialog, 'getOpenFileName', answer)
        last = widget.network.count() - 1
        widget.network.setCurrentIndex(last)
        widget.network.activated.emit(last)

    assert not widget.slow.isEnabled()
    plain = restored()
    np.testing.assert_array_equal(plain, tools(tmp_path, image))
    for name, why in (('', ''), ('none.safetensors', 'no such file'), ('bad.pth', 'its config')):
        (tmp_path / 'bad.pth').write_bytes(b'no weights')
        choose(name and str(tmp_path / name))
        assert why in widget.said.text() and widget.network.currentText() == 'of the package'
    choose(str(own))
    assert widget.network.currentText() == 'own.safetensors' and widget.slow.isEnabled()
    arguments = ['--checkpoint', str(own)]
    assert not np.array_equal(restored(), plain)  # their second look is more careful
    np.testing.assert_array_equal(viewer.layers[-1].data, tools(tmp_path, image, *arguments))
    assert viewer.layers[-1].metadata['mmclarity'][0] == 'restored with own.safetensors'
    widget.slow.setChecked(True)
    widget.sharp.setChecked(True)
    arguments += ['--slow-levels', '--sharpen']
    np.testing.assert_array_equal(restored(), tools(tmp_path, image, *arguments))
    limits = (0 - 0.1 * 255) / 0.5, (255 - 0.1 * 255) / 0.5  # as bright as before
    assert tuple(viewer.layers[-1].contrast_limits) == pytest.approx(limits)
    choose(str(own))  # once more: not listed twice
    assert widget.network.count() == 3 and widget.slow.isChecked()
    widget.network.setCurrentIndex(0)
    widget.network.activated.emit(0)
    assert not widget.slow.isEnabled() and not widget.slow.isChecked()
    widget.sharp.setChecked(False)
    np.testing.assert_array_equal(restored(), plain)


@pytest.mark.parametrize(('dtype', 'white'), [('float32', ''), ('int16', ''), ('uint16', ' 4095')])
def test_what_has_no_levels_of_slow_scans_is_told_in_words_of_the_widget(own, dtype, white):
    save_file(load_file(WEIGHTS), own, metadata=dict(caution='2.0', levels=f'0.5 0.1{white}'))
    restorer = Restorer(checkpoint=own, slow_levels=True)
    with pytest.raises(UsageError, match="take the tick off 'grey levels of a slow scan'") as told:
        restore_planes(restorer, noisy(96, 100, dtype=dtype))
    assert '--slow-levels' not in str(told.value)


@needs_napari
def test_levels_of_slow_scans_are_refused_where_black_and_white_are_not_known(viewer, own):
    from mmclarity.restoration.napari_plugin.widget import RestoreWidget

    viewer.add_image(noisy(96, 100, dtype='float32'), name='scan')
    widget = RestoreWidget(viewer)
    assert widget.use_weights(own)
    widget.slow.setChecked(True)
    widget.start.click()
    wait(lambda: widget.worker is None)
    assert 'no black and white of its own' in widget.said.text() and len(viewer.layers) == 1


@needs_napari
@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get('DISPLAY'), reason='no display: xvfb-run -a pytest')
def test_on_a_canvas(tmp_path, marks):
    """The whole window: what a user sees before and after, drawn by OpenGL."""
    import napari
    from napari.settings import get_settings

    get_settings().application.ipy_interactive = False
    viewer = napari.Viewer(show=True)
    try:
        viewer.window.resize(1100, 700)
        viewer.open_sample('mmclarity', 'noisy')
        _, widget = viewer.window.add_plugin_dock_widget('mmclarity')
        before = viewer.screenshot(canvas_only=True, flash=False).astype(float)
        widget.doubts.setChecked(True)
        widget.start.click()
        wait(lambda: widget.worker is None)
        wait(lambda: len(viewer.layers) == 3)
        viewer.layers[-1].visible = False
        after = viewer.screenshot(canvas_only=True, flash=False).astype(float)
        viewer.layers[-1].visible = True
        marked = viewer.screenshot(canvas_only=True, flash=False).astype(float)
        whole = viewer.screenshot(str(tmp_path / 'napari.png'), canvas_only=False, flash=False)
    finally:
        viewer.close()
    grain = [np.abs(np.diff(image[..., 0], axis=1)).mean() for image in (before, after)]
    assert grain[0] > 2 * grain[1] > 0  # the noise is gone, and something is drawn
    reddish = (marked[..., 0] - marked[..., 1] > 100).sum()
    assert reddish > 20 and (after[..., 0] - after[..., 1] > 100).sum() == 0
    assert whole.shape[:2] == (700, 1100)


def test_a_plane_that_cannot_be_restored_is_named(restorer):
    stack = noisy(2, 2, 72, 80, dtype='float32')
    stack[1, 0, 5, 6] = np.nan
    with pytest.raises(UsageError, match='plane 1, 0: the image: 1 pixels .* NaN'):
        restore_planes(restorer, stack)
