"""Painted images of a test: none replaces another."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import HOOKS
from mmengine.visualization import Visualizer

from mmclarity.cli.show import set_up_show

NAMES = 'clip_1/0001.png', 'clip_2/0001.png', 'clip_2/0002.png'


class Images(list):
    """A data set that knows its images only."""

    get_data_info = list.__getitem__


@pytest.fixture
def painted(tmp_path):
    """Paints images of these names by the hook of a config; the files below its folder."""

    def paint(names):
        for number, name in enumerate(names):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            cv2.imwrite(str(tmp_path / name), np.full((9, 16, 3), 40 * number, np.uint8))
        infos = [dict(img_path=f'{tmp_path}/{name}') for name in names]
        cfg = Config(dict(default_hooks=dict(visualization=dict(type='DetVisualizationHook'))))
        set_up_show(cfg, False, 'shown', 0)
        Visualizer.get_instance(f'painting_{tmp_path.name}')
        hook = HOOKS.build(cfg.default_hooks.visualization)
        hook._visualizer = SimpleNamespace(
            add_datasample=lambda _, image, out_file, **more: cv2.imwrite(out_file, image)
        )
        loader = SimpleNamespace(dataset=Images(infos))
        runner = SimpleNamespace(work_dir=str(tmp_path), timestamp='now', test_dataloader=loader)
        hook.before_test(runner)
        samples = [DetDataSample(metainfo=info) for info in infos]
        for place in range(0, len(samples), 2):  # in batches
            hook.after_test_iter(runner, place, {}, samples[place : place + 2])
        root = tmp_path / 'now/shown'
        files = sorted(root.rglob('*.png'))
        return {file.relative_to(root).as_posix(): cv2.imread(str(file))[0, 0, 0] for file in files}

    return paint


def test_images_of_one_name_in_several_folders_are_all_there(painted):
    """mmdet's hook leaves two files of three."""
    assert painted(NAMES) == dict(zip(NAMES, (0, 40, 80)))


def test_names_that_occur_once_stand_side_by_side_as_before(painted):
    assert list(painted(['clip_1/a.png', 'clip_2/b.png', 'c.png'])) == ['a.png', 'b.png', 'c.png']
