"""Small tools on runs, configs and data sets: curves, print_config, get_flops, browse_dataset."""

import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from torch import nn

from mmclarity.engine.complexity import complexity_of, complexity_of_network
from mmclarity.engine.config import load_config
from mmclarity.errors import UsageError
from tests.running import run
from tools.analysis_tools import browse_dataset, curves, get_flops, print_config


def log(folder, *entries):
    file = folder / 'vis_data/scalars.json'
    file.parent.mkdir(parents=True)
    file.write_text(''.join(json.dumps(entry) + '\n' for entry in entries) + '{"cut off')
    return folder


@pytest.fixture
def work(tmp_path):
    """A run of two parts: the second repeats the second epoch."""
    folder = tmp_path / 'run'
    log(
        folder / '20260101_000000',
        dict(lr=0.1, loss=4.0, epoch=1, iter=10, step=10),
        {'bdd/mAP': 0.1, 'step': 1},
        dict(lr=0.1, loss=9.0, epoch=2, iter=20, step=20),
    )
    log(
        folder / '20260102_000000',
        dict(lr=0.1, loss=2.0, epoch=2, iter=20, step=20),
        {'bdd/mAP': 0.3, 'rsa/layer': 0.5, 'step': 2},
    )
    return folder


def test_a_resumed_run_is_one_curve_and_validation_stands_at_iterations(work):
    points = curves.read_run(work)
    np.testing.assert_array_equal(points['loss'], [[10, 20], [4, 2]])
    np.testing.assert_array_equal(points['bdd/mAP'], [[10, 20], [0.1, 0.3]])
    assert 'lr' not in points
    assert curves.chosen_keys([points], None) == ['loss', 'bdd/mAP', 'rsa/layer']
    assert curves.chosen_keys([points], ['rsa/*']) == ['rsa/layer']
    with pytest.raises(UsageError, match='no run has it; there are bdd/mAP, loss'):
        curves.chosen_keys([points], ['PSNR'])


def steps(first, last, **more):
    return [dict(loss=10.0 * it, iter=it, epoch=1, **more) for it in range(first, last + 1, 50)]


def test_a_run_begun_anew_in_its_folder_begins_anew(tmp_path):
    log(tmp_path / '1', *steps(50, 300), {'bdd/mAP': 0.9, 'step': 1})
    log(tmp_path / '2', *steps(50, 100), {'bdd/mAP': 0.1, 'step': 1})
    points = curves.read_run(tmp_path)
    assert points['loss'][0].tolist() == [50, 100]
    assert [array.tolist() for array in points['bdd/mAP']] == [[100], [0.1]]


def test_a_resumed_run_leaves_nothing_behind_that_it_did_not_reach_again(tmp_path):
    log(tmp_path / '1', *steps(50, 300))
    log(tmp_path / '2', *steps(150, 200))
    assert curves.read_run(tmp_path)['loss'][0].tolist() == [50, 100, 150, 200]


def test_validations_of_a_training_by_iterations_stand_where_they_were(tmp_path):
    """mmengine writes of each that it is of epoch 0, and of an endless sampler all of them are."""
    entries = []
    for it in (5, 10, 15, 20):
        entries.append(dict(loss=1.0 / it, iter=it, step=it))
        if it in (10, 20):
            entries.append({'sem/psnr': 20.0 + it, 'sem/ssim': 0.5, 'step': 0})
    log(tmp_path / 'run/1', {'rsa/layer': 0.1, 'step': 0}, *entries)
    log(tmp_path / 'run/2', dict(loss=0.1, iter=25, step=25), {'sem/psnr': 45.0, 'step': 25})
    points = curves.read_run(tmp_path / 'run')
    assert [array.tolist() for array in points['sem/psnr']] == [[10, 20, 25], [30, 40, 45]]
    assert points['rsa/layer'][0].tolist() == [0]
    assert curves.chosen_keys([points], None) == ['loss', 'sem/psnr', 'sem/ssim', 'rsa/layer']
    assert curves.chosen_keys([points], ['*PSNR']) == ['sem/psnr']


def test_one_loss_that_is_no_number_does_not_end_the_curve():
    values = np.array([1.0, np.nan, 3.0, 5.0, np.inf, 7.0])
    np.testing.assert_array_equal(curves.smoothed(values, 2), [1, np.nan, 3, 4, np.inf, 7])


def test_curves_are_drawn_over_one_another(work, tmp_path, capsys):
    other = log(tmp_path / 'other/20260101_000000', dict(loss=3.0, epoch=1, iter=10, step=10))
    runs = {'a': curves.read_run(work), 'b': curves.read_run(other.parent)}
    figure = curves.draw(runs, ['loss', 'bdd/mAP'], 1)
    first, second = figure.axes[:2]
    np.testing.assert_array_equal(first.lines[0].get_ydata(), [4, 2])
    np.testing.assert_array_equal(first.lines[1].get_ydata(), [3])
    assert len(second.lines[1].get_ydata()) == 0  # b has no AP, and keeps its colour
    out = tmp_path / 'c.png'
    assert curves.main([str(work), str(other.parent), '--out', str(out)]) == 0
    assert cv2.imread(str(out)).std() > 5
    assert curves.main([str(tmp_path)]) == 2
    assert 'no log in it' in capsys.readouterr().err
    assert curves.main([str(work), '--list']) == 0
    assert 'bdd/mAP  2 points, last 0.3' in capsys.readouterr().out


def test_a_printed_config_is_a_config(tmp_path, capsys):
    given = ['frcnn_murky.py', '--cfg-options', 'train_cfg.max_epochs=3']
    assert print_config.main(given) == 0
    (tmp_path / 'again.py').write_text(capsys.readouterr().out)
    again = Config.fromfile(tmp_path / 'again.py')
    assert again.train_cfg.max_epochs == 3 and again.model.type == 'FasterRCNN'
    assert print_config.main(['lambda_frcnn_murky.py', '--diff', 'frcnn_murky.py']) == 0
    said = capsys.readouterr().out
    assert '+' in said and 'RegionLambda' in said and 'AnchorGenerator' not in said
    assert print_config.main(['frcnn_murky.py', '--diff', 'frcnn_murky.py']) == 0
    assert 'the two say the same' in capsys.readouterr().out


def test_operations_of_a_known_network(monkeypatch):
    """A convolution of 3x3 from 3 to 8 channels, 216 multiply-adds a pixel, and one of 1x1."""
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.Conv2d(8, 1, 1))
    monkeypatch.setattr(
        'mmclarity.engine.complexity.MODELS', SimpleNamespace(build=lambda cfg: network)
    )
    found = complexity_of(Config(dict(model=dict(type='X'))), (32, 64))
    assert found['all'] == (3 * 8 * 9 + 8 + 1, 32 * 64 * (216 + 8))
    assert found['0'] == (216, 32 * 64 * 216)


def test_operations_of_a_detector(capsys):
    assert get_flops.main(['lambda_frcnn_murky.py', '--shape', '192', '320']) == 0
    lines = capsys.readouterr().out.splitlines()
    found = {line.split()[0]: float(line.split()[3]) for line in lines[2:]}
    parts = [found[name] for name in ('backbone', 'neck', 'rpn_head', 'roi_head')]
    assert all(part > 0 for part in parts)
    assert sum(parts) == pytest.approx(found['all'], abs=0.01)


def test_operations_are_the_same_each_time():
    """What a second look takes depends on the first one's weights, which are random."""
    cfg, found = load_config('two_looks_frcnn_bdd100k_fine.py'), []
    for seed in (0, 1):
        torch.manual_seed(seed)
        state = torch.get_rng_state()
        found.append(complexity_of(cfg, (270, 480)))
        assert torch.equal(torch.get_rng_state(), state)
    assert found[0] == found[1]


@pytest.mark.parametrize('name', ['queryinst/queryinst', 'sparse_rcnn/sparse-rcnn'])
def test_operations_of_learned_proposals(name, tmp_path):
    """Random weights moved them out of the image, and mmdet could not paste their masks there."""
    config = tmp_path / 'config.py'
    config.write_text(f"_base_ = 'mmdet::{name}_r50_fpn_1x_coco.py'\n")
    found = complexity_of(load_config(str(config)), (64, 96))
    parts = [found[part] for part in ('backbone', 'neck', 'rpn_head', 'roi_head')]
    # pasting masks into the image belongs to no part
    assert [sum(n) for n in zip(*parts, strict=True)] == pytest.approx(list(found['all']), rel=1e-3)
    assert parts[3][1] > 6 * 100 * 7 * 7 * 2 * 64 * 256  # six stages, a hundred proposals each


class Attention(nn.Module):
    """Eight queries of twelve numbers, ten keys, values of six."""

    def forward(self, image):
        q, k, v = (
            image.flatten()[: n * d].view(1, 1, n, d) for n, d in ((8, 12), (10, 12), (10, 6))
        )
        return nn.functional.scaled_dot_product_attention(q, k, v)


def test_products_of_attention_count():
    assert complexity_of_network(Attention(), torch.rand(1, 1, 16, 16)) == (0, 8 * 10 * (12 + 6))


def test_masks_count_for_as_many_as_the_test_settings_allow():
    cfg = load_config('frcnn_murky.py')
    pooled = dict(cfg.model.roi_head.bbox_roi_extractor)
    pooled['roi_layer'] = dict(pooled['roi_layer'], output_size=14)
    channels = pooled['out_channels']
    plain = complexity_of(cfg, (64, 96))['roi_head'][1]
    cfg.model.roi_head.mask_roi_extractor = pooled
    cfg.model.roi_head.mask_head = dict(
        type='FCNMaskHead', num_convs=1, in_channels=channels, conv_out_channels=8, num_classes=10
    )
    cfg.model.test_cfg.rcnn.update(max_per_img=7, mask_thr_binary=0.5)
    masked = complexity_of(cfg, (64, 96))['roi_head'][1]
    layers = 14**2 * channels * 8 * 9, 14**2 * 8 * 8 * 4, 28**2 * 8 * 10
    # what is pasted into the image comes on top
    assert 7 * sum(layers) <= masked - plain <= 7 * (sum(layers) + 4 * 64 * 96)


def test_operations_of_pix2pix_are_those_that_torch_counts():
    from mmagic.registry import MODELS as MAGIC
    from torch.utils.flop_counter import FlopCounterMode

    cfg = load_config('pix2pix_sem.py')
    found = complexity_of(cfg, (100, 130))['all']
    network = MAGIC.build(dict(cfg.model, _scope_='mmagic')).generators['high'].eval()
    assert found[0] == sum(parameter.numel() for parameter in network.parameters())
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 1, 128, 256))
    assert found[1] == pytest.approx(counter.get_total_flops() / 2, rel=0.02)  # and its norms


def test_pairs_stand_side_by_side():
    sample = SimpleNamespace(gt_img=torch.full((1, 4, 6), 200.0))
    pixels = browse_dataset._pair(dict(inputs=torch.full((1, 4, 6), 50.0), data_samples=sample))
    assert pixels.shape == (4, 16, 3)
    assert (pixels[:, :6] == 50).all() and (pixels[:, 10:] == 200).all()


def test_boxes_of_the_embedded_scenes_are_drawn(tmp_path, capsys):
    made = run(tmp_path, 'dataset_generators/make_murky.py', 'data', '--train', 3, '--val', 1)
    assert made.returncode == 0, made.stderr
    given = ['frcnn_murky.py', '--out', str(tmp_path / 'seen'), '--count', '2']
    assert browse_dataset.main([*given, '--cfg-options', f'data_root={tmp_path}/data/']) == 0
    files = sorted((tmp_path / 'seen').iterdir())
    assert [file.name[:7] for file in files] == ['000000_', '000002_']
    image = cv2.imread(str(files[0]))
    plain = next((tmp_path / 'data').rglob(f'{files[0].stem[7:]}.jpg'))
    assert np.abs(image[:192, :320].astype(int) - cv2.imread(str(plain))).max() > 60  # drawn lines
    assert browse_dataset.main([*given, '--cfg-options', 'data_root=nowhere/']) == 2
    assert 'data root not found' in capsys.readouterr().err


def test_boxes_of_a_test_stand_on_the_resized_picture(tmp_path):
    """In a test mmdet leaves the boxes as in the file; the picture is twice as large here."""
    cv2.imwrite(str(tmp_path / 'a.png'), np.full((60, 100, 3), 90, np.uint8))
    outline = [10, 5, 50, 5, 50, 45, 10, 45]
    labels = dict(
        images=[dict(id=1, file_name='a.png', width=100, height=60)],
        categories=[dict(id=1, name='fish')],
        annotations=[
            dict(
                id=1,
                image_id=1,
                category_id=1,
                bbox=[10, 5, 40, 40],
                area=1600,
                iscrowd=0,
                segmentation=[outline],
            )
        ],
    )
    (tmp_path / 'val.json').write_text(json.dumps(labels))
    config = tmp_path / 'mine.py'
    config.write_text(f"""
default_scope = 'mmdet'
custom_imports = dict(imports=['mmclarity.detection'])
data = dict(
    type='CocoDataset',
    data_root={str(tmp_path)!r},
    ann_file='val.json',
    data_prefix=dict(img=''),
    metainfo=dict(classes=('fish',)),
    test_mode=True,
    pipeline=[
        dict(type='LoadImageFromFile'),
        dict(type='Resize', scale=(200, 120), keep_ratio=True),
        dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
        dict(type='PackDetInputs'),
    ],
)
val_dataloader = dict(dataset=data)
""")
    given = [str(config), '--split', 'val', '--out', str(tmp_path / 'seen')]
    assert browse_dataset.main(given) == 0
    image = cv2.imread(str(tmp_path / 'seen/000000_a.png')).astype(int)
    assert image.shape[:2] == (120, 200)
    drawn = (np.abs(image - 90) > 8).any(2)
    rows, columns = np.nonzero(drawn)
    found = columns.min(), rows.min(), columns.max(), rows.max()
    np.testing.assert_allclose(found, (20, 10, 100, 90), atol=3)
    assert drawn[60:88, 30:98].mean() > 0.9  # the mask


def test_pictures_of_classes_have_the_name_of_theirs(tmp_path):
    for place, name in enumerate(('fish', 'shark')):
        (tmp_path / 'data/val' / name).mkdir(parents=True)
        colour = np.full((70, 70, 3), (200, 100, 10 + place), np.uint8)  # BGR
        cv2.imwrite(str(tmp_path / 'data/val' / name / 'x.png'), colour)
    given = ['alexnet_surfaces_rsa.py', '--split', 'val', '--out', str(tmp_path / 'seen')]
    assert browse_dataset.main([*given, '--cfg-options', f'data_root={tmp_path}/data/']) == 0
    files = sorted((tmp_path / 'seen').iterdir())
    assert [file.name for file in files] == ['000000_fish.png', '000001_shark.png']
    assert cv2.imread(str(files[1]))[30, 30].tolist() == [200, 100, 11]
