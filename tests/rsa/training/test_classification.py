from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import DATASETS, METRICS, MODELS
from PIL import Image

import mmclarity.rsa.training  # noqa: F401  (registers)
from mmclarity.rsa.models.networks import preprocessing
from mmclarity.synthetic.surfaces import PARTS, SURFACES, crops, make_surfaces, photograph


def test_small_alexnet_has_torchvisions_layers():
    from torchvision.models import alexnet

    small = MODELS.build(dict(type='SmallAlexNet', width=0.1, num_classes=3))
    names = [name for name, _ in alexnet().named_modules()]
    assert [name for name, _ in small.named_modules()] == names
    assert small.eval()(torch.rand(2, 3, 64, 64)).shape == (2, 3)


def test_classifier_modes():
    model = MODELS.build(
        dict(
            type='TorchvisionClassifier',
            num_classes=4,
            network=dict(type='SmallAlexNet', width=0.1),
        )
    ).eval()
    data = dict(inputs=[torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8)] * 2, labels=[1, 3])
    batch = model.data_preprocessor(data)
    assert batch['inputs'].dtype == torch.float32 and batch['labels'].tolist() == [1, 3]
    scores = model(**batch)
    loss = model(**batch, mode='loss')['loss']
    torch.testing.assert_close(loss, -scores.log_softmax(1)[[0, 1], [1, 3]].mean())
    predicted = model.val_step(data)
    assert [int(p['label']) for p in predicted] == [1, 3]
    torch.testing.assert_close(predicted[1]['scores'], scores[1])
    with pytest.raises(ValueError, match='alexnett'):
        MODELS.build(dict(type='TorchvisionClassifier', network='alexnett'))


def test_preprocessing_is_understood_by_the_analysis():
    mean, std, bgr = preprocessing(
        MODELS.build(dict(type='RGBPreprocessor', mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6)))
    )
    assert mean == pytest.approx((0.1, 0.2, 0.3)) and std == pytest.approx((0.4, 0.5, 0.6))
    assert bgr is False


def test_image_folder(tmp_path):
    for name, value in (('cat', 10), ('dog', 200)):
        (tmp_path / 'val' / name).mkdir(parents=True)
        Image.new('RGB', (90, 70), (value,) * 3).save(tmp_path / 'val' / name / 'a.png')
    data = DATASETS.build(
        dict(
            type='ImageFolderDataset', data_root=str(tmp_path), split='val', crop_size=32, resize=40
        )
    )
    assert len(data) == 2 and data.metainfo['classes'] == ('cat', 'dog')
    item = data[1]
    assert item['labels'] == 1 and item['inputs'].shape == (3, 32, 32)
    assert item['inputs'].dtype == torch.uint8 and (item['inputs'] == 200).all()
    with pytest.raises(FileNotFoundError, match='train'):
        DATASETS.build(dict(type='ImageFolderDataset', data_root=str(tmp_path), split='train'))


def test_top_k():
    metric = METRICS.build(dict(type='TopKAccuracy', topk=(1, 2)))
    scores = torch.tensor([[3.0, 2, 1], [1, 3, 2], [1, 2, 3]])
    metric.process(None, [dict(scores=s, label=0) for s in scores])
    assert metric.evaluate(3) == {
        'accuracy/top1': pytest.approx(100 / 3),
        'accuracy/top2': pytest.approx(100 / 3),
    }
    with pytest.raises(ValueError, match='topk'):
        METRICS.build(dict(type='TopKAccuracy', topk=(0,)))


@pytest.mark.parametrize('surface', SURFACES)
def test_parts_of_a_photograph_are_disjoint_and_large_enough(surface):
    image = photograph(surface)
    assert image.dtype == np.uint8 and image.std() > 20
    edges = [share for part in PARTS.values() for share in part]
    assert edges == sorted(edges) and edges[0] == 0 and edges[-1] == 1
    for part in PARTS:
        found = crops(surface, part, 2, np.random.default_rng(0))
        assert all(crop.shape == (64, 64) and crop.std() > 20 for crop in found)


def test_the_same_seed_gives_the_same_files(tmp_path):
    for name in ('a', 'b'):
        make_surfaces(tmp_path / name, train=1, val=1, stimuli=2, seed=3)
    files = sorted(
        p.relative_to(tmp_path / 'a')
        for p in (tmp_path / 'a').rglob('*')
        if p.suffix in ('.png', '.csv')
    )
    assert len(files) == 8 * 2 + 16 + 1
    for file in files:
        assert (tmp_path / 'a' / file).read_bytes() == (tmp_path / 'b' / file).read_bytes()
    with np.load(tmp_path / 'a' / 'v1.npz') as found:
        assert found['simple'].shape[0] == found['complex'].shape[0] == len(found['ids']) == 16


@pytest.mark.parametrize('name', ['alexnet_imagenet_rsa', 'alexnet_surfaces_rsa'])
def test_layers_of_the_configs_exist(name):
    from mmengine.config import Config

    from mmclarity.rsa.models.recorder import resolve_layers

    cfg = Config.fromfile(Path(__file__).resolve().parents[3] / 'configs' / f'{name}.py')
    model = MODELS.build(cfg.model)
    assert len(resolve_layers(model, cfg.custom_hooks[1].layers)) == 7
