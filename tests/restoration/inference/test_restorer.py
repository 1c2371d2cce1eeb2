"""Restorer: models, files and folders."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from mmengine.config import Config

import mmclarity.restoration  # noqa: F401, registers the models
from mmclarity.errors import UsageError
from mmclarity.restoration.inference.planning import EDGE_TOLERANCE
from mmclarity.restoration.inference.restorer import Restorer, build_restorer, network_stride
from mmclarity.restoration.io.micrograph import SEMImageError, from_array, read_sem
from mmclarity.restoration.models import restore_batch
from tests.real_data import DATA, needs

PAIRS = DATA / 'sem_pairs'
UNET = dict(
    type='BaseEditModel',
    generator=dict(type='SEMUNet', base_channels=4, depth=2),
    pixel_loss=dict(type='MSELoss'),
    data_preprocessor=dict(type='DataPreprocessor', mean=[0.0], std=[255.0]),
)
PIX2PIX = dict(
    type='SEMPix2Pix',
    data_preprocessor=dict(type='DataPreprocessor', mean=[127.5], std=[127.5]),
    generator=dict(
        type='UnetGenerator',
        in_channels=1,
        out_channels=1,
        num_down=5,
        base_channels=4,
        norm_cfg=dict(type='IN', affine=True),
        use_dropout=False,
    ),
    discriminator=dict(type='PatchDiscriminator', in_channels=2, base_channels=4, num_conv=2),
    default_domain='high',
    reachable_domains=['high'],
    related_domains=['high', 'low'],
    loss_config=dict(pixel_loss_weight=100.0),
)


def save(path: Path, model: dict = UNET, seed: int = 0, **more: object) -> Path:
    """A checkpoint of random weights that change an image visibly but not wildly."""
    from mmagic.registry import MODELS
    from mmengine.registry import DefaultScope

    torch.manual_seed(seed)
    with DefaultScope.overwrite_default_scope('mmagic'):
        built = MODELS.build(Config(dict(model=model)).model)
    for parameter in built.parameters():
        parameter.data.normal_(0, 0.2)
    torch.save(dict(meta={}, state_dict=built.state_dict(), **more), path)
    return path


@pytest.fixture
def config() -> Config:
    return Config(dict(model=UNET))


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    return save(tmp_path / 'weights.pth')


def micrograph(shape=(70, 90), dtype='uint8') -> np.ndarray:
    top = np.iinfo(dtype).max
    return np.random.default_rng(0).integers(1, top, shape).astype(dtype)


def test_array_file_and_model_agree(tmp_path, config, checkpoint):
    restorer = Restorer(config, checkpoint, dtype='float32')
    pixels = micrograph()
    expected = restore_batch(
        build_restorer(config, checkpoint), torch.from_numpy(pixels / 255).float()[None, None]
    )[0, 0].numpy()
    result = restorer(pixels)
    assert result.dtype == np.float32 and result.shape == pixels.shape
    np.testing.assert_allclose(result, expected, atol=1e-5)
    np.testing.assert_allclose(restorer(pixels / 255, data_range=1), expected, atol=1e-5)
    np.testing.assert_allclose(restorer(from_array(pixels)), expected, atol=1e-5)
    tifffile.imwrite(tmp_path / 'a.tif', pixels)
    told = []
    assert restorer.restore_file(
        tmp_path / 'a.tif', tmp_path / 'b.tif', progress=lambda *a: told.append(a)
    ) == [tmp_path / 'b.tif']
    np.testing.assert_array_equal(tifffile.imread(tmp_path / 'b.tif'), np.rint(expected * 255))
    assert told == [(1, 1)]


def test_tiles_equal_the_whole_image_and_bfloat16_is_near(config, checkpoint):
    pixels = micrograph((150, 170))
    whole = Restorer(config, checkpoint, dtype='float32')(pixels)
    tiled = Restorer(config, checkpoint, tile=96, dtype='float32')(pixels)
    np.testing.assert_allclose(tiled, whole, atol=EDGE_TOLERANCE)
    # twice the radius that the network sees: nothing of a tile's false edge is left
    radius = build_restorer(config, checkpoint).generator.receptive_radius
    exact = Restorer(config, checkpoint, 'cpu', 112, 2 * radius, 3, 'float32')
    assert 2 * radius <= 56
    np.testing.assert_allclose(exact(pixels), whole, atol=1e-5)
    coarse = Restorer(config, checkpoint, dtype='bfloat16')(pixels)
    assert coarse.dtype == np.float32
    assert 0 < np.abs(coarse - whole).max() < 0.05


def test_the_overlap_is_measured_at_the_first_image_that_needs_tiles(
    config, checkpoint, monkeypatch
):
    calls = []

    def measured(function, align):
        calls.append(align)
        return 24

    monkeypatch.setattr('mmclarity.restoration.inference.restorer.measured_overlap', measured)
    restorer = Restorer(config, checkpoint, tile=256, dtype='float32')
    before = restorer.tiling['overlap']
    restorer(micrograph((200, 256 + before)))
    assert not calls and restorer.tiling['overlap'] == before > 24
    image = micrograph((100, 257 + before))
    restorer(image)
    restorer(image)
    assert calls == [4] and restorer.tiling['overlap'] == 24
    chosen = Restorer(config, checkpoint, tile=256, overlap=20, dtype='float32')
    chosen(image)
    assert calls == [4] and chosen.tiling['overlap'] == 20


def test_any_size(config, checkpoint):
    restorer = Restorer(config, checkpoint, tile=32, overlap=8)
    for shape in ((1, 1), (1, 50), (33, 2), (31, 65)):
        assert restorer(micrograph(shape)).shape == shape


def test_pix2pix(tmp_path):
    restorer = Restorer(
        Config(dict(model=PIX2PIX)), save(tmp_path / 'p.pth', PIX2PIX), tile=64, overlap=16
    )
    assert network_stride(restorer.models[0]) == 32
    result = restorer(micrograph((100, 130)))
    assert result.shape == (100, 130) and 0 <= result.min() < result.max() <= 1


def test_moving_average_of_the_weights_is_what_gets_used(tmp_path, config):
    """mmengine's EMAHook swaps: state_dict is the average, ema_state_dict what was trained."""
    average, trained = save(tmp_path / 'average.pth', seed=1), save(tmp_path / 't.pth', seed=2)
    both = torch.load(average, weights_only=True)
    both['ema_state_dict'] = {
        f'module.{k}': v for k, v in torch.load(trained, weights_only=True)['state_dict'].items()
    }
    torch.save(both, tmp_path / 'both.pth')
    pixels = micrograph()
    np.testing.assert_array_equal(
        Restorer(config, tmp_path / 'both.pth')(pixels), Restorer(config, average)(pixels)
    )


def test_wrong_models_and_options(tmp_path, config, checkpoint):
    with pytest.raises(UsageError, match='checkpoint not found'):
        Restorer(config, tmp_path / 'no.pth')
    other = Config(dict(model={**UNET, 'generator': dict(type='SEMUNet', base_channels=8)}))
    with pytest.raises(UsageError, match='of another model'):
        Restorer(other, checkpoint)
    with pytest.raises(UsageError, match='has no model'):
        Restorer(Config(dict(a=1)), checkpoint)
    with pytest.raises(UsageError, match='config not found'):
        Restorer('no_such_config.py', checkpoint)
    (tmp_path / 'cut.pth').write_bytes(checkpoint.read_bytes()[:500])
    with pytest.raises(UsageError, match='cut.pth'):
        Restorer(config, tmp_path / 'cut.pth')
    with pytest.raises(ValueError, match='dtype must be'):
        Restorer(config, checkpoint, dtype='int8')
    with pytest.raises(ValueError, match='at least one checkpoint'):
        Restorer(config, [])
    with pytest.raises(ValueError, match='overlap must be 0 to a tile, 64, got 65'):
        Restorer(config, checkpoint, tile=64, overlap=65)
    with pytest.raises(ValueError, match='batch_size'):
        Restorer(config, checkpoint, batch_size=0)


def test_wrong_arrays(config, checkpoint):
    restorer = Restorer(config, checkpoint)
    bad = np.ones((9, 9), np.float32)
    bad[2, 3] = np.inf
    for pixels, options, message in [
        (np.ones((9, 9)), {}, 'give data_range'),
        (bad, dict(data_range=1), 'row 2, column 3'),
        (np.ones((9, 9, 3), np.uint8), {}, r'\(H, W\)'),
        (np.full((9, 9), 2.0), dict(data_range=1), 'outside 0 to'),
    ]:
        with pytest.raises(SEMImageError, match=message):
            restorer(pixels, **options)
    with pytest.raises(ValueError, match='read_sem'):
        restorer(from_array(micrograph()), data_range=255)


def test_images_unlike_those_of_training_are_told_once(tmp_path, checkpoint):
    config = Config(dict(model=UNET, restoration=dict(bit_depth=8, pixel_size=5e-9)))
    restorer = Restorer(config, checkpoint)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        restorer(from_array(micrograph(), pixel_size=6e-9))
    deep = from_array(micrograph(dtype='uint16'))
    with pytest.warns(UserWarning, match='16 bits per pixel.*trained on 8') as told:
        first = restorer(deep)
        second = restorer(deep)
    assert len(told) == 1
    np.testing.assert_array_equal(first, second)
    # by its own range, not stretched
    np.testing.assert_allclose(first, restorer(deep.unit, data_range=1), atol=1e-6)
    with pytest.warns(UserWarning, match='50 nm.*trained on 5 nm'):
        restorer(from_array(micrograph(), pixel_size=5e-8))
    dark = from_array((micrograph(dtype='uint16') // 16).astype(np.uint16))
    with pytest.warns(UserWarning, match='data_range=4095'):
        restorer(dark)
    darker = from_array((micrograph(dtype='uint16') // 64).astype(np.uint16), 4095)
    dimmer = from_array((micrograph(dtype='uint16') // 8).astype(np.uint16))
    restorer = Restorer(config, checkpoint)
    with pytest.warns(UserWarning) as told:
        restorer(darker)  # the range was given: nothing to say of it
        restorer(dimmer)
    assert [('data_range' in str(line.message)) for line in told] == [False, True]
    assert 'data_range=16383' in str(told[1].message)


def test_ensemble_is_the_mean_and_its_spread(tmp_path, config):
    paths = [save(tmp_path / f'{i}.pth', seed=i) for i in range(3)]
    pixels = micrograph()
    single = np.stack([Restorer(config, path)(pixels) for path in paths])
    ensemble = Restorer(config, paths)
    np.testing.assert_allclose(ensemble(pixels), single.mean(0), atol=1e-5)
    told = []
    restored, mean, std = ensemble.with_uncertainty(pixels, progress=lambda *a: told.append(a))
    np.testing.assert_allclose(restored, single.mean(0), atol=1e-5)
    np.testing.assert_allclose(mean, single.mean(0), atol=1e-5)
    np.testing.assert_allclose(std, single.std(0, ddof=1), atol=1e-5)
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_one_model_is_compared_with_itself_on_mirror_images(config, checkpoint):
    restorer, pixels = Restorer(config, checkpoint), micrograph((64, 64))
    mirrored = np.stack(
        [
            np.flip(restorer(np.ascontiguousarray(np.flip(pixels, axes))), axes)
            for axes in ((), (0,), (1,), (0, 1))
        ]
    )
    plain, mean, std = restorer.with_uncertainty(pixels)
    np.testing.assert_allclose(plain, restorer(pixels), atol=1e-6)
    np.testing.assert_allclose(mean, mirrored.mean(0), atol=1e-5)
    np.testing.assert_allclose(std, mirrored.std(0, ddof=1), atol=1e-5)
    assert std.max() > 0


def test_folder_names_what_fails_and_goes_on(tmp_path, config, checkpoint):
    source, target = tmp_path / 'in', tmp_path / 'deep/out'
    source.mkdir()
    for name in ('a.tif', 'c.tif'):
        tifffile.imwrite(source / name, micrograph())
    (source / 'b.tif').write_bytes((source / 'a.tif').read_bytes()[:900])
    restorer = Restorer(config, checkpoint)
    report = restorer.restore_folder(source, target)
    assert report.done == [target / 'a.tif', target / 'c.tif']
    assert list(report.failed) == [source / 'b.tif']
    assert 'b.tif' in report.failed[source / 'b.tif']
    assert sorted(p.name for p in target.iterdir()) == ['a.tif', 'c.tif']
    before = (target / 'a.tif').read_bytes()
    again = restorer.restore_folder(source, target)
    assert not again.done and again.kept == [source / 'a.tif', source / 'c.tif']
    assert list(again.failed) == [source / 'b.tif']
    assert (target / 'a.tif').read_bytes() == before
    assert len(restorer.restore_folder(source, target, overwrite=True).done) == 2
    with pytest.raises(SEMImageError, match='originals'):
        restorer.restore_folder(source, source, overwrite=True)
    with pytest.raises(SEMImageError, match='would be replaced'):
        restorer.restore_file(source / 'a.tif', source / 'a.tif', overwrite=True)
    with pytest.raises(FileNotFoundError, match='holds no'):
        (tmp_path / 'empty').mkdir()
        restorer.restore_folder(tmp_path / 'empty', target)


@needs('sem_pairs')
def test_real_file_with_uncertainty(tmp_path, config, checkpoint):
    pytest.importorskip('mmclarity.restoration.evaluation.particles')
    source, target = PAIRS / 'low/001.tif', tmp_path / 'a.tif'
    written = Restorer(config, checkpoint).restore_file(source, target, uncertainty=True)
    assert [p.name for p in written] == ['a.tif', 'a_uncertainty.tif', 'a_doubtful.png']
    restored = read_sem(target)
    assert restored.content == read_sem(source).content and restored.vendor == 'FEI'
    spread = tifffile.imread(written[1])
    assert spread.shape == restored.image.shape and spread.dtype == np.float32
    assert np.isfinite(spread).all() and spread.min() >= 0
    with pytest.raises(FileExistsError, match='a_uncertainty.tif'):
        target.unlink()
        Restorer(config, checkpoint).restore_file(source, target, uncertainty=True)
    assert not target.exists()


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (dict(device='gpu'), 'this machine has cpu'),
        (dict(device=None), 'device must be'),
        (dict(tile=0), 'tile must be a whole number of at least 1, got 0'),
        (dict(tile=100.5), 'tile must be'),
        (dict(tile='a'), 'tile must be'),
        (dict(overlap=-1), 'overlap must be a whole number of at least 0'),
        (dict(batch_size='x'), 'batch_size must be'),
        (dict(strength='x'), 'strength must lie'),
        (dict(strength=float('nan')), 'strength must lie'),
        (dict(dtype='half'), 'dtype must be'),
        (dict(tell='print'), 'tell is called'),
        (dict(checkpoint='gone.safetensors'), 'gone.safetensors: no such file; check the name'),
    ],
)
def test_wrong_options_are_named(options, words):
    with pytest.raises((ValueError, UsageError), match=words):
        Restorer(**options)


def test_wrong_calls_are_named(tmp_path):
    restorer, pixels = Restorer(), micrograph((40, 40))
    tifffile.imwrite(tmp_path / 'a.tif', pixels)
    for call, error, words in (
        (lambda: restorer('a.tif'), ValueError, 'give it to restore_file'),
        (lambda: restorer(pixels.astype(np.int64)), ValueError, 'astype'),
        (lambda: restorer(pixels > 90), ValueError, 'astype'),
        (lambda: restorer.with_uncertainty(pixels, noise=-1), ValueError, 'got -1'),
        (lambda: restorer.combine_files(str(tmp_path / 'a.tif'), 'o.tif'), ValueError, 'one scan'),
        (lambda: restorer.restore_folder(tmp_path, 'o', share=(3, 2)), ValueError, 'share is'),
        (
            lambda: restorer.restore_file(tmp_path / 'a.tif', tmp_path / 'b.tif', colour=1),
            TypeError,
            'unknown option.* colour; there are data_range',
        ),
    ):
        with pytest.raises(error, match=words):
            call()
    assert [path.name for path in tmp_path.iterdir()] == ['a.tif']
