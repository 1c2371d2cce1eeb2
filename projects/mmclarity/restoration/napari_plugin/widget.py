"""The widget: choose a layer, restore it, stop it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mmclarity.errors import said

try:
    from napari.layers import Image
    from napari.qt.threading import create_worker
    from qtpy.QtCore import Qt, QTimer, Signal
    from qtpy.QtWidgets import (
        QCheckBox,
        QComboBox,
        QDoubleSpinBox,
        QFileDialog,
        QFormLayout,
        QHBoxLayout,
        QLabel,
        QProgressBar,
        QPushButton,
        QVBoxLayout,
        QWidget,
    )
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f'the napari plugin needs {error.name}: pip install "mmclarity[napari]" "napari[pyqt6]"'
    ) from error

from ..inference.slow_levels import SlowLevels
from .planes import Cancelled, Restored, restore_planes, restored_layers

if TYPE_CHECKING:
    from napari import Viewer

    from ..inference.restorer import Restorer

__all__ = ['RestoreWidget']

_TITLE = 'Restore micrograph (mmclarity)'  # as napari makes it of napari.yaml
_TICK = 50  # milliseconds between looks at how far the work is
_SHIPPED, _OTHER = 'of the package', 'choose weights …'
_BUTTONS = 120  # pixels: close, hide and float, and napari's font, which is set later


@dataclass
class _Work:
    """What the widget and the thread that works share.

    The thread touches nothing of Qt: when napari, or the dock alone, is closed meanwhile, the
    widget is gone, and a signal of it that the thread sent would end napari.
    """

    share: float = 0.0
    stopped: bool = False

    def tell(self, share: float) -> None:
        """Called by the thread."""
        self.share = share

    def stop(self, *_: object) -> None:
        """Ends the work after the tile it is at."""
        self.stopped = True


class RestoreWidget(QWidget):  # type: ignore[misc]
    """Restores an image layer, plane by plane, and adds the result as a layer of its own.

    Args:
        napari_viewer: given by napari under this name.
    """

    progressed = Signal(float)

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__()
        self.viewer, self.worker, self._now = napari_viewer, None, _Work()
        self._restorers: dict[Path | None, Restorer] = {}  # by their weights
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._tick)
        self.layers = QComboBox()
        self.network = QComboBox()
        self.network.addItem(_SHIPPED, None)
        self.network.addItem(_OTHER)
        self.network.setToolTip('Weights that mmclarity-adapt made of your own images')
        self._chosen = 0
        self.strength = QDoubleSpinBox()
        self.strength.setRange(0.1, 10)
        self.strength.setSingleStep(0.1)
        self.strength.setValue(1)
        self.strength.setToolTip('Above 1 more noise is taken away, below 1 less')
        self.sharp = QCheckBox('sharpen edges')
        self.sharp.setToolTip('As narrow as in a slow scan, for a little fidelity')
        self.slow = QCheckBox('grey levels of a slow scan')
        self.slow.setToolTip('Known to weights that mmclarity-adapt --clean made with pairs')
        self.slow.setEnabled(False)
        self.doubts = QCheckBox('estimate wrong particles')
        self.doubts.setToolTip('Judges every particle by eight looks, not two: four times the time')
        self.start = QPushButton('Restore')
        self.cancel = QPushButton('Cancel')
        self.cancel.setEnabled(False)
        self.bar = QProgressBar()
        self.bar.setRange(0, 1000)
        self.bar.setVisible(False)
        self.said = QLabel('The network measures the noise of each image by itself.')
        self.said.setWordWrap(True)
        self._arrange()
        self.start.clicked.connect(self.restore)
        self.cancel.clicked.connect(self.stop)
        self.network.activated.connect(self._choose_network)
        self.progressed.connect(lambda share: self.bar.setValue(round(1000 * share)))
        events = self.viewer.layers.events
        for name in ('inserted', 'removed', 'renamed'):  # the last one is of newer napari
            if hasattr(events, name):
                getattr(events, name).connect(self._list_layers)
        self._list_layers()

    def _arrange(self) -> None:
        form, buttons, column = QFormLayout(), QHBoxLayout(), QVBoxLayout(self)
        form.addRow('image', self.layers)
        form.addRow('network', self.network)
        form.addRow('strength', self.strength)
        form.addRow(self.sharp)
        form.addRow(self.slow)
        form.addRow(self.doubts)
        buttons.addWidget(self.start)
        buttons.addWidget(self.cancel)
        column.addLayout(form)
        column.addLayout(buttons)
        column.addWidget(self.bar)
        column.addWidget(self.said)
        column.addStretch()
        # A dock is as narrow as its widget allows, and would cut the title.
        self.setMinimumWidth(self.fontMetrics().horizontalAdvance(_TITLE) + _BUTTONS)

    def _list_layers(self, event: object = None) -> None:
        chosen = self.layers.currentData()
        self.layers.clear()
        for layer in self.viewer.layers:
            if isinstance(layer, Image):
                self.layers.addItem(layer.name, layer)
                if layer is chosen:
                    self.layers.setCurrentIndex(self.layers.count() - 1)
        self.start.setEnabled(self.layers.count() > 0 and self.worker is None)

    def _choose_network(self, index: int) -> None:
        if index < self.network.count() - 1:
            self._take_network(index)
            return
        self.network.setCurrentIndex(self._chosen)
        name, _ = QFileDialog.getOpenFileName(
            self, 'Weights of mmclarity-adapt', '', 'Weights (*.safetensors)'
        )
        if name:
            self.use_weights(name)

    def use_weights(self, path: str | Path) -> bool:
        """Restores with weights of ``mmclarity-adapt`` from now on.

        Args:
            path: ``.safetensors``. Where they cannot be used, the widget says why, and goes on with
                those of before.

        Returns:
            Whether they are used.
        """
        from ..inference.restorer import Restorer

        path = Path(path)
        try:
            self._restorers[path] = Restorer(checkpoint=path)  # anew: the file may be another one
        except (ValueError, OSError) as error:
            self.said.setText(f'not used: {said(error)}')
            return False
        listed = [self.network.itemData(i) for i in range(self.network.count())]
        if path in listed:
            index = listed.index(path)
        else:
            index = len(listed) - 1
            self.network.insertItem(index, path.name, path)
            self.network.setItemData(index, str(path), Qt.ItemDataRole.ToolTipRole)
        self._take_network(index)
        return True

    def _take_network(self, index: int) -> None:
        self._chosen = index
        self.network.setCurrentIndex(index)
        path = self.network.currentData()
        knows = path is not None and all(
            model.manner.levels for model in self._restorers[path].models
        )
        self.slow.setEnabled(knows)
        self.slow.setChecked(self.slow.isChecked() and knows)
        self.said.setText(f'{self.network.currentText()}: is used from now on')

    def restore(self) -> None:
        """Starts the work; the window goes on answering meanwhile."""
        layer = self.layers.currentData()
        if self.worker is not None or layer is None:
            return
        if layer.rgb:
            self.said.setText(f'{layer.name} is a colour image: split its channels first')
            return
        self._now = _Work()
        self.destroyed.connect(self._now.stop)  # nobody would see the result
        self.worker = create_worker(
            self._work,
            layer,
            self._now,
            self.network.currentData(),
            self.strength.value(),
            self.doubts.isChecked(),
            self.sharp.isChecked(),
            self.slow.isChecked(),
        )
        self.worker.returned.connect(self._add)
        self.worker.finished.connect(self._end)
        self.said.setText(f'{layer.name}: restoring …')
        self.bar.setValue(0)
        self._set_busy(True)
        self._timer.start(_TICK)
        self.worker.start()

    def _tick(self) -> None:
        self.progressed.emit(self._now.share)

    def stop(self) -> None:
        """Stops the work after the tile it is at."""
        self._now.stop()
        self.said.setText('stopping …')

    def _work(
        self,
        layer: Image,
        now: _Work,
        weights: Path | None,
        strength: float,
        doubts: bool,
        sharpen: bool,
        slow: bool,
    ) -> tuple[Image, Restored] | str:
        from ..inference.restorer import Restorer

        restorer = self._restorers.get(weights) or self._restorers.setdefault(weights, Restorer())
        restorer.strength, restorer.sharpen = strength, float(sharpen)
        restorer.levels = (
            SlowLevels.known_to(restorer.models, restorer.weights) if slow else SlowLevels()
        )
        data = layer.data[0] if layer.multiscale else layer.data
        try:
            return layer, restore_planes(restorer, data, doubts, now.tell, lambda: now.stopped)
        except Cancelled:
            return 'stopped; nothing was added'
        except (ValueError, RuntimeError, MemoryError) as error:
            # said in the widget; what is our own fault goes on to napari, which shows where
            return f'failed: {str(error) or type(error).__name__}'

    def _add(self, result: tuple[Image, Restored] | str) -> None:
        if isinstance(result, str):
            self.said.setText(result)
            return
        layer, restored = result
        for data, attributes, kind in restored_layers(layer, restored):
            getattr(self.viewer, f'add_{kind}')(data, **attributes)
        self.said.setText('\n'.join(restored.said))

    def _end(self) -> None:
        self.worker = None
        self._timer.stop()
        self._tick()
        self._set_busy(False)

    def _set_busy(self, busy: bool) -> None:
        self.start.setEnabled(not busy and self.layers.count() > 0)
        self.cancel.setEnabled(busy)
        self.bar.setVisible(busy)
