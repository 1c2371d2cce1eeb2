"""Where configs are looked for: the current folder, the repository, or what a wheel has of it."""

import re
from pathlib import Path

import pytest

from mmclarity.engine.config import find_config, load_config, resolve_data_roots
from mmclarity.errors import UsageError
from mmclarity.utils.places import REPO, tool


def test_shipped_configs_are_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_config('configs/frcnn_murky.py') == REPO / 'configs' / 'frcnn_murky.py'
    assert find_config('frcnn_murky.py') == REPO / 'configs' / 'frcnn_murky.py'
    with pytest.raises(UsageError, match=r'Did you mean frcnn_murky\.py\?$'):
        find_config('frcnn_milky.py')
    with pytest.raises(UsageError, match=r'Did you mean ssim_unet_sem\.py or mse_unet_sem\.py'):
        find_config('ssim_unet_sem')  # without its ending
    with pytest.raises(UsageError, match=r'Did you mean context_frcnn_murky\.py or context_'):
        find_config('context_frcnn')
    with pytest.raises(UsageError, match=r'configs holds \d+ others\.$'):
        find_config('of_somebody_else.py')
    with pytest.raises(UsageError, match='is a folder'):
        find_config(str(tmp_path))


def test_copied_without_its_configs_it_says_so(tmp_path, monkeypatch):
    """Places beside site-packages were told, and files there that happen to be called so, read."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'python/configs').mkdir(parents=True)
    (tmp_path / 'python/configs/mine.py').touch()
    monkeypatch.setattr('mmclarity.utils.places.REPO', tmp_path / 'python')
    with pytest.raises(UsageError, match=r'\(looked at mine\.py\)\. .* are in its repository'):
        find_config('mine.py')
    (tmp_path / 'mine.py').touch()
    assert find_config('mine.py') == Path('mine.py')


def test_an_installation_has_its_own_configs(tmp_path, monkeypatch):
    """A wheel has them where OpenMMLab's wheels do; a base of them is named by its path."""
    monkeypatch.chdir(tmp_path)
    installed = tmp_path / 'site/mmclarity/.mim'
    (installed / 'configs').mkdir(parents=True)
    (installed / 'configs/frcnn_murky.py').write_text('a = 1')
    monkeypatch.setattr('mmclarity.utils.places.REPO', tmp_path / 'python')
    monkeypatch.setattr('mmclarity.utils.places.INSTALLED', installed)
    for name in ('frcnn_murky.py', 'configs/frcnn_murky.py', 'mmclarity::frcnn_murky.py'):
        assert find_config(name) == installed / 'configs/frcnn_murky.py'
    with pytest.raises(UsageError, match=r'Did you mean frcnn_murky\.py\?$'):
        find_config('frcnn_milky.py')
    assert tool('train.py') == str(installed / 'tools/train.py')
    (tmp_path / 'mine.py').write_text("_base_ = './frcnn_murky.py'")
    with pytest.raises(UsageError, match="mmclarity's own is 'mmclarity::frcnn_murky.py'$"):
        load_config('mine.py')
    (tmp_path / 'mine.py').write_text("_base_ = 'mmclarity::frcnn_murky.py'")
    assert load_config('mine.py').a == 1
    (tmp_path / 'mine.py').write_text("_base_ = 'mmclarity::frcnn_milky.py'")
    with pytest.raises(UsageError, match=r'is not there; did you mean frcnn_murky\.py\?$'):
        load_config('mine.py')
    with pytest.raises(UsageError, match=r'Did you mean frcnn_murky\.py\?$'):
        find_config('mmclarity::frcnn_milky.py')


def test_how_the_embedded_data_are_made_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr('mmclarity.utils.places.REPO', tmp_path)
    for name in ('frcnn_murky', 'mse_unet_phantom', 'alexnet_surfaces_rsa'):
        cfg = load_config(str(REPO / f'configs/{name}.py'))
        with pytest.raises(UsageError, match=r'Make it \(python \S+ data/') as told:
            resolve_data_roots(cfg, ('train_dataloader',))
        tool = re.search(r'python (\S+)', str(told.value))[1]
        assert (REPO / tool).is_file(), tool
