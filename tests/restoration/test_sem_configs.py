"""Every SEM config builds, and trains a step on data of its own layout."""

import json
from pathlib import Path

import pytest
import tifffile
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

from mmclarity.engine.config import load_config
from mmclarity.restoration.degradation import SimulateLowCostSEM
from mmclarity.synthetic.phantom import PhantomSettings, make_phantom

REPO = Path(__file__).resolve().parents[2]
NAMES = sorted(path.stem for path in (REPO / 'configs').glob('*_sem.py')) + sorted(
    path.stem for path in (REPO / 'configs').glob('*_phantom.py')
)


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp('sem')
    for index, stem in enumerate(('001', '036')):
        clean = make_phantom(PhantomSettings(size=96), index).image * 255
        low = SimulateLowCostSEM(seed=0).transform(dict(gt=clean))['img']
        for folder, image in (
            ('sem_pairs/high', clean),
            ('sem_pairs/low', low),
            ('sem_superalloy', clean),
            ('train/high', clean),
            ('val/high', clean),
            ('val/low', low),
        ):
            (root / folder).mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(root / folder / f'{stem}.tif', image.astype('uint8'))
    return root


def test_the_four_networks_have_a_config_of_each_kind():
    for kind in ('sem', 'phantom'):
        assert {
            f'{name}_{kind}' for name in ('mse_unet', 'ssim_unet', 'pix2pix', 'composite_unet')
        } <= set(NAMES)
    assert 'sharp_unet_sem' in NAMES


@pytest.mark.parametrize('name', NAMES)
def test_trains_and_validates(name, data, tmp_path):
    small = {
        'train_cfg.max_iters': 2,
        'train_cfg.val_interval': 2,
        'data_root': f'{data}/',
        'train_dataloader.batch_size': 1,
        'default_hooks.logger.interval': 1,
    }
    if 'pix2pix' in name:
        small |= {'model.generator.base_channels': 4, 'model.discriminator.base_channels': 4}
    else:
        small |= {'model.generator.base_channels': 4}
    cfg = load_config(str(REPO / f'configs/{name}.py'), small)
    cfg.work_dir, cfg.launcher = str(tmp_path), 'none'
    cfg.experiment_name = f'{name}_{tmp_path.name}'
    cfg.visualizer.name = cfg.experiment_name
    with DefaultScope.overwrite_default_scope('mmagic'):
        runner = Runner.from_cfg(cfg)
        runner.train()
    scalars = runner.message_hub.log_scalars
    found = {
        key.split('/', 1)[1]: value.current()
        for key, value in scalars.items()
        if key.startswith('val/')
    }
    assert 0 < found['sem/ssim'] < 1 and found['sem/frc'] >= 2
    assert {'sem/fabricated', 'sem/missed', 'sem/edge_width'} <= set(found)
    assert (tmp_path / 'iter_2.pth').is_file()
    (written,) = tmp_path.glob('*/vis_data/scalars.json')
    lines = [json.loads(line) for line in written.read_text().splitlines()]
    assert [line['step'] for line in lines if 'sem/ssim' in line] == [2]
