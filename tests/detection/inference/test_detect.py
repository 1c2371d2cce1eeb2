"""A trained detector on images, folders and videos: what is read, found and written."""

import csv
import json
import os
import re
import sys

import cv2
import numpy as np
import pytest
import tifffile
import torch
from mmdet.apis import inference_detector, init_detector
from mmdet.registry import MODELS
from mmengine.registry import DefaultScope
from PIL import Image

import mmclarity.detection
from mmclarity.cli.detect import main
from mmclarity.detection.datasets.scalabel import CLASSES, load_frames
from mmclarity.detection.inference.detector import Detector
from mmclarity.detection.inference.outputs import drawn
from mmclarity.detection.inference.sources import pictures, read_image
from mmclarity.engine.config import load_config
from mmclarity.errors import DataError, UsageError

CONFIG = 'configs/lambda_frcnn_murky.py'


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    """Random weights that find something: only the form of the results is looked at."""
    torch.manual_seed(0)
    cfg = load_config(CONFIG)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(cfg.model)
    torch.nn.init.normal_(model.roi_head.bbox_head.fc_cls.weight, std=0.3)
    path = tmp_path_factory.mktemp('weights') / 'epoch_1.pth'
    meta = dict(dataset_meta=dict(classes=CLASSES))
    torch.save(dict(meta=meta, state_dict=model.state_dict()), path)
    return str(path)


@pytest.fixture
def scene():
    noise = np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8)
    return cv2.resize(noise, (320, 192), interpolation=cv2.INTER_CUBIC)


@pytest.fixture
def folder(tmp_path, scene):
    """Images of every kind, and two that are none."""
    here = tmp_path / 'in'
    here.mkdir()
    rgb = Image.fromarray(scene[..., ::-1])
    rgb.save(here / 'colour.png')
    rgb.convert('L').save(here / 'grey.png')
    rgb.convert('RGBA').save(here / 'alpha.png')
    rgb.convert('P').save(here / 'palette.png')
    rgb.convert('CMYK').save(here / 'cmyk.jpg', quality=95)
    cv2.imwrite(str(here / 'deep.png'), scene.astype(np.uint16) * 257)
    cv2.imwrite(str(here / 'deep.tif'), scene.astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112] = 6
    rgb.transpose(Image.Transpose.ROTATE_90).save(here / 'turned.webp', exif=exif, lossless=True)
    whole = here / 'whole.jpg'
    rgb.save(whole)
    (here / 'cut.jpg').write_bytes(whole.read_bytes()[:3000])
    (here / 'text.png').write_text('no image')
    (here / '._colour.png').write_bytes(b'macOS')
    (here / 'notes.txt').write_text('passed over')
    return here


def test_images_of_every_kind_look_as_they_are(folder, scene):
    for name in ('colour.png', 'alpha.png', 'deep.png', 'deep.tif', 'turned.webp'):
        assert np.array_equal(read_image(folder / name), scene), name
    grey = read_image(folder / 'grey.png')
    assert grey.shape == scene.shape and (grey[..., 0] == grey[..., 2]).all()
    assert np.abs(read_image(folder / 'cmyk.jpg').astype(int) - scene).mean() < 8
    for name, why in (('cut.jpg', 'truncated'), ('text.png', 'cannot be read')):
        with pytest.raises(DataError, match=f'{name}: .*{why}'):
            read_image(folder / name)


def test_it_finds_what_mmdet_finds(checkpoint, scene):
    detector = mmclarity.detection.Detector(
        CONFIG, checkpoint, 'cpu', threshold=0.1, dtype='float32'
    )
    images = [scene, np.ascontiguousarray(scene[:, :200])]
    cfg = load_config(CONFIG)
    model = init_detector(cfg, checkpoint, device='cpu')
    for image in images:
        (found,) = detector(
            [image]
        )  # in a batch the smaller one is padded, and so judged otherwise
        expected = inference_detector(model, image).pred_instances.numpy()
        kept = expected.scores >= 0.1
        assert len(found) == kept.sum() > 0
        np.testing.assert_allclose(found.scores, np.sort(expected.scores[kept])[::-1], rtol=1e-3)
        assert found.names[0] == CLASSES[expected.labels[expected.scores.argmax()]]
        assert (found.boxes[:, 2] <= image.shape[1] + 1e-3).all()
    together = detector(images)
    assert [len(found) > 0 for found in together] == [True, True]
    assert detector([]) == []
    with pytest.raises(DataError, match='8 bit'):
        detector([scene.astype(np.float32)])


def test_a_folder_is_written_in_all_forms_and_bad_images_are_named(
    folder, checkpoint, tmp_path, capsys
):
    out = tmp_path / 'out'
    arguments = [str(folder), '--out', str(out), '--config', CONFIG, '--checkpoint', checkpoint]
    arguments += ['--threshold', '0.1', '--device', 'cpu']
    assert main(arguments) == 2  # two could not be read
    said = capsys.readouterr()
    assert 'cut.jpg' in said.err and 'text.png' in said.err and 'Traceback' not in said.err
    assert '9 images' in said.out and '2 images could not be read' in said.out
    coco = json.loads((out / 'detections.coco.json').read_text())
    assert [c['name'] for c in coco['categories']] == list(CLASSES)
    frames, _ = load_frames(out / 'detections.scalabel.json')
    rows = list(csv.DictReader((out / 'detections.csv').open()))
    assert len(coco['images']) == len(frames) == 9
    boxes = sum(len(frame.labels) for frame in frames)
    assert len(coco['annotations']) == len(rows) == boxes > 0
    images = {image['id']: image['file_name'] for image in coco['images']}
    names = {category['id']: category['name'] for category in coco['categories']}
    for row, item in zip(rows, coco['annotations']):
        x, y, width, height = item['bbox']
        assert (row['image'], row['name']) == (
            images[item['image_id']],
            names[item['category_id']],
        )
        assert float(row['x2']) == pytest.approx(x + width, abs=0.02)
        assert float(row['y2']) == pytest.approx(y + height, abs=0.02)
    first = next(frame for frame in frames if frame.labels)
    mine = [row for row in rows if row['image'] == first.name]
    assert first.labels[0].xyxy == pytest.approx(
        [float(mine[0][k]) for k in ('x1', 'y1', 'x2', 'y2')]
    )
    pictured = sorted(path.name for path in (out / 'drawn').iterdir())
    assert len(pictured) == 9 and 'turned.webp.jpg' in pictured
    assert main(arguments) == 2  # results are there
    assert 'exists; give --overwrite' in capsys.readouterr().err
    assert main([*arguments, '--overwrite', '--no-draw']) == 2


def test_a_video_and_a_pattern(folder, checkpoint, tmp_path, scene, capsys):
    video = str(tmp_path / 'drive.avi')
    writer = cv2.VideoWriter(video, cv2.VideoWriter_fourcc(*'MJPG'), 10, (320, 192))
    for shift in range(5):
        writer.write(np.roll(scene, 8 * shift, 1))
    writer.release()
    source, count = pictures(video)
    assert count == 5 and [p.frame for p in source] == [0, 1, 2, 3, 4]
    arguments = ['--config', CONFIG, '--checkpoint', checkpoint, '--device', 'cpu']
    out = tmp_path / 'video'
    assert main([video, '--out', str(out), *arguments, '--max-images', '3']) == 0
    frames = json.loads((out / 'detections.scalabel.json').read_text())
    assert [(f['videoName'], f['frameIndex']) for f in frames] == [('drive', i) for i in range(3)]
    # drawn as a video of the same rate, whose frames look like the drawn ones
    (drawn_video,) = (out / 'drawn').iterdir()
    assert drawn_video.name == 'drive.mp4'
    capture = cv2.VideoCapture(str(drawn_video))
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(10)
    shown = [capture.read()[1] for _ in range(3)]
    assert not capture.read()[0] and shown[0].shape == scene.shape
    given = [video, '--out', str(tmp_path / 'frames'), *arguments, '--max-images', '2', '--frames']
    assert main(given) == 0
    names = sorted(p.name for p in (tmp_path / 'frames/drawn/drive').iterdir())
    assert names == ['000000.jpg', '000001.jpg']
    for name, frame in zip(names, shown):
        picture = cv2.imread(str(tmp_path / 'frames/drawn/drive' / name))
        assert np.abs(picture.astype(int) - frame).mean() < 15
    source, count = pictures(str(folder / '*.png'))
    assert count == 6 and sum(p.pixels is None for p in source) == 1


def test_videos_of_odd_size_and_those_that_are_dropped(tmp_path):
    pytest.importorskip('av')
    from mmclarity.detection.inference.video import DrawnVideo

    frame = np.random.default_rng(0).integers(0, 256, (8, 10, 3), dtype=np.uint8)
    frame = cv2.resize(frame, (101, 75), interpolation=cv2.INTER_CUBIC)
    video = DrawnVideo(tmp_path / 'a.mp4', 0, overwrite=False)
    for _ in range(3):
        video.append(frame)
    assert not (tmp_path / 'a.mp4').exists()  # it gets its name when it is whole
    video.close()
    capture = cv2.VideoCapture(str(tmp_path / 'a.mp4'))
    there, shown = capture.read()
    assert there and shown.shape == (76, 102, 3)
    assert np.abs(shown[:75, :101].astype(int) - frame).mean() < 12
    with pytest.raises(FileExistsError):
        DrawnVideo(tmp_path / 'a.mp4', 5, overwrite=False)
    other = DrawnVideo(tmp_path / 'b.mp4', 5, overwrite=False)
    other.append(frame)
    other.drop()
    assert [path.name for path in tmp_path.iterdir()] == ['a.mp4']


def test_a_camera_by_its_number(checkpoint, tmp_path, scene, monkeypatch, capsys):
    class Camera:
        def __init__(self, source):
            self.source, self.left = source, 4

        def isOpened(self):
            return self.source == 0

        def read(self):
            self.left -= 1
            return self.left >= 0, scene

        def get(self, _):
            return 0.0  # as cameras do that do not tell their rate

        def release(self):
            pass

    monkeypatch.setattr(cv2, 'VideoCapture', Camera)
    monkeypatch.chdir(tmp_path)
    given = ['--config', CONFIG, '--checkpoint', checkpoint, '--device', 'cpu', '--attention']
    assert main(['0', '--out', 'seen', *given, '--max-images', '2']) == 0
    assert sorted(p.name for p in (tmp_path / 'seen').iterdir()) == [
        'attention.html',
        'detections.coco.json',
        'detections.csv',
        'detections.scalabel.json',
        'drawn',
    ]
    assert (tmp_path / 'seen/drawn/camera0.mp4').stat().st_size > 1000
    assert '2 images' in capsys.readouterr().out
    assert main(['7', '--out', 'none', *given]) == 2
    assert '7: no such camera' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('source', 'why'), [('nowhere.jpg', 'no such image'), ('*.nothing', 'no such image')]
)
def test_sources_that_are_not_there(source, why):
    with pytest.raises(UsageError, match=why):
        pictures(source)


def test_empty_folders_and_broken_videos(tmp_path):
    (tmp_path / 'outer/inner').mkdir(parents=True)
    with pytest.raises(UsageError, match=r"subfolders .*'\S*outer/\*\*/\*\.jpg'"):
        pictures(str(tmp_path / 'outer'))
    with pytest.raises(UsageError, match='no image in this folder'):
        pictures(str(tmp_path))
    (tmp_path / 'a.mp4').write_bytes(b'no video')
    with pytest.raises(DataError, match='cannot be read as a video'):
        pictures(str(tmp_path / 'a.mp4'))


def test_weights_of_another_model_are_refused(checkpoint, tmp_path, capsys):
    weights = torch.load(checkpoint, weights_only=True)
    weights['state_dict'].pop('roi_head.bbox_head.fc_cls.bias')
    torch.save(weights, tmp_path / 'other.pth')
    picture = tmp_path / 'a.png'
    Image.new('RGB', (64, 48)).save(picture)
    arguments = [str(picture), '--out', str(tmp_path / 'out'), '--config', CONFIG]
    assert main([*arguments, '--checkpoint', str(tmp_path / 'other.pth')]) == 2
    assert 'another model' in capsys.readouterr().err
    assert main([*arguments, '--checkpoint', 'gone.pth']) == 2
    assert 'gone.pth' in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_drawing_leaves_the_image_alone(scene):
    from mmclarity.detection.inference import Detections

    found = Detections(
        np.array([[20.0, 30, 90, 80]]), np.array([0.9]), np.array([2]), tuple(CLASSES)
    )
    before = scene.copy()
    canvas = drawn(scene, found)
    assert np.array_equal(scene, before)
    changed = np.argwhere((canvas != scene).any(-1))
    assert changed[:, 0].min() >= 10 and changed[:, 0].max() <= 81


def test_the_surest_name_is_on_top_and_inside_the_picture(scene):
    from mmclarity.detection.inference import Detections

    width = scene.shape[1]
    box = [width - 12.0, 60, width - 2, 80]

    def of(*scores):
        labels = np.full(len(scores), 2)
        return drawn(scene, Detections(np.array([box] * len(scores)), scores, labels, CLASSES))

    assert np.array_equal(of(0.91, 0.45), of(0.91))
    assert not np.array_equal(of(0.91, 0.45), of(0.45))
    name = np.argwhere((of(0.91) != scene).any(-1)[:58])  # above the box
    assert name[:, 1].min() < width - 40, 'the whole name is to be read'


@pytest.mark.parametrize('suffix', ['jpg', 'png', 'tif', 'webp'])
@pytest.mark.parametrize('tag', [2, 3, 6, 8])
def test_photographs_are_turned_as_their_tag_says(suffix, tag, tmp_path, scene):
    """A blue and a green corner: where they lie is told after being shown by Pillow."""
    pixels = np.full((24, 40, 3), 128, np.uint8)
    pixels[:8, :8], pixels[:8, -8:] = (250, 0, 0), (0, 250, 0)
    exif = Image.Exif()
    exif[0x0112] = tag
    Image.fromarray(pixels).save(tmp_path / f'a.{suffix}', exif=exif)
    turned = {2: pixels[:, ::-1], 3: pixels[::-1, ::-1]}
    turned |= {6: np.rot90(pixels, -1), 8: np.rot90(pixels, 1)}
    found = read_image(tmp_path / f'a.{suffix}')[..., ::-1]
    assert found.shape == turned[tag].shape
    assert np.abs(found.astype(int) - turned[tag]).mean() < 8


@pytest.mark.parametrize('kind', ['1', 'L', 'LA', 'P', 'RGBA', 'I;16', 'CMYK', '16 bit RGBA'])
def test_kinds_of_pixels(kind, tmp_path):
    """A ramp stays a ramp, in three channels of 8 bit."""
    ramp = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (16, 1))
    path = tmp_path / ('a.jpg' if kind == 'CMYK' else 'a.png')
    if kind == 'I;16':
        cv2.imwrite(str(path), ramp.astype(np.uint16) * 257)
    elif kind == '16 bit RGBA':
        deep = np.dstack([ramp] * 3 + [np.full_like(ramp, 255)]).astype(np.uint16) * 257
        cv2.imwrite(str(path), deep)
    else:
        Image.fromarray(ramp).convert('RGB').convert(kind).save(path)
    found = read_image(path)
    assert found.shape == (16, 64, 3) and found.dtype == np.uint8
    if kind in ('1', 'P'):  # the ramp is dithered when it is written
        expected = np.asarray(Image.open(path).convert('RGB')).mean(2)
        assert np.abs(found.mean(2) - expected).max() == 0
    else:
        assert np.abs(found.mean(2) - ramp).mean() < 4
    assert found[:, -8:].mean() > 200 > 50 > found[:, :8].mean()


def test_data_of_12_bit_are_brought_to_their_range_and_it_is_said_once(
    checkpoint, scene, tmp_path, capsys
):
    here = tmp_path / 'in'
    here.mkdir()
    for name in ('a.tif', 'b.png'):
        cv2.imwrite(str(here / name), scene.astype(np.uint16) << 4)
    cv2.imwrite(str(here / 'c.png'), scene)
    with pytest.warns(UserWarning, match=r'b.png: .*12 bit'):
        assert np.array_equal(read_image(here / 'b.png'), scene)
    assert all(np.array_equal(picture.pixels, scene) for picture in pictures(str(here))[0])
    arguments = [str(here), '--out', str(tmp_path / 'out'), '--config', CONFIG]
    assert main([*arguments, '--checkpoint', checkpoint, '--device', 'cpu', '--no-draw']) == 0
    said = capsys.readouterr().err
    assert said.count('12 bit') == 1 and 'a.tif' in said and '4095 is white' in said
    rows = list(csv.DictReader((tmp_path / 'out/detections.csv').open()))
    found = [[r['x1'] for r in rows if r['image'] == name] for name in ('a.tif', 'b.png', 'c.png')]
    assert found[0] == found[1] == found[2]


def test_a_limit_of_pixels_is_named_as_a_limit(tmp_path, monkeypatch):
    Image.new('RGB', (64, 48)).save(tmp_path / 'a.png')
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 100)
    with pytest.raises(DataError, match='a.png: too large: 3072 pixels are more than the limit'):
        read_image(tmp_path / 'a.png')


def scope():
    """Name of the default scope, which another test may have set; mmengine gives back a copy."""
    current = DefaultScope.get_current_instance()
    return current and current.scope_name


def test_nothing_is_said_while_it_is_built_and_no_scope_is_left(capfd):
    before = scope()
    mmclarity.detection.Detector(device='cpu')
    said = capfd.readouterr()
    assert 'registry' not in said.out + said.err
    assert scope() == before, 'what is built next is looked up there'


def test_the_shipped_weights_by_their_word(scene):
    pytest.importorskip('mmdet')
    ours = Detector('context_frcnn_bdd100k_fine.py', 'shipped')
    assert ours.classes == Detector().classes
    first, second = ours([scene])[0], Detector()([scene])[0]
    np.testing.assert_allclose(first.boxes, second.boxes, atol=1e-3)


@pytest.mark.parametrize(
    ('config', 'device', 'why'),
    [
        ('ssim_unet_phantom.py', None, 'no config of a detector'),
        ('lambda_frcnn_murky.py', None, 'shipped weights belong to other models'),
        ('lambda_frcnn_murky.py', 'gpu', "device 'gpu' cannot be used"),
    ],
)
def test_detectors_that_cannot_be_built(config, device, why):
    with pytest.raises(UsageError, match=why):
        Detector(config, 'shipped', device)


@pytest.mark.parametrize('suffix', ['jp2', 'avif', 'heic'])
def test_kinds_that_telephones_write(suffix, tmp_path, scene):
    path = tmp_path / f'a.{suffix}'
    if suffix == 'heic':
        pytest.importorskip(
            'pillow_heif', reason='writing HEIC takes pillow-heif'
        ).register_heif_opener()
    elif f'.{suffix}' not in Image.registered_extensions():
        pytest.skip(f'this Pillow does not write {suffix}')
    Image.fromarray(scene[..., ::-1]).save(path, quality=95)
    source, count = pictures(str(tmp_path))
    (found,) = source
    assert count == 1 and np.abs(found.pixels.astype(int) - scene).mean() < 8


def test_heic_says_what_it_takes(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'pillow_heif', None)
    (tmp_path / 'a.HEIC').write_bytes(b'something')
    with pytest.raises(DataError, match='a.HEIC: .*pip install pillow-heif'):
        read_image(tmp_path / 'a.HEIC')


def test_an_image_too_narrow_is_named_and_the_others_go_on(checkpoint, scene, tmp_path, capsys):
    here = tmp_path / 'in'
    here.mkdir()
    cv2.imwrite(str(here / 'a_line.png'), np.zeros((2, 3000, 3), np.uint8))
    cv2.imwrite(str(here / 'b_strip.png'), np.zeros((5, 1000, 3), np.uint8))
    cv2.imwrite(str(here / 'c.png'), scene)
    cv2.imwrite(str(here / 'd_dot.png'), scene[:1, :1])
    given = ['--config', CONFIG, '--checkpoint', checkpoint, '--device', 'cpu', '--no-draw']
    assert main([str(here), '--out', str(tmp_path / 'out'), *given]) == 2
    said = capsys.readouterr()
    assert 'a_line.png: 3000 x 2 pixels: one side is more than 200 times' in said.err
    assert '3 images, ' in said.out and '; 1 image could not be read' in said.out
    assert 'drawn: ' not in said.out


def test_what_was_found_before_a_fault_is_kept(checkpoint, scene, tmp_path, monkeypatch, capsys):
    for name in 'abcd':
        cv2.imwrite(str(tmp_path / f'{name}.png'), scene)
    call = Detector.__call__

    def breaks(self, images):
        if len(images) < 3:
            raise MemoryError
        return call(self, images)

    monkeypatch.setattr(Detector, '__call__', breaks)
    given = ['--config', CONFIG, '--checkpoint', checkpoint, '--device', 'cpu', '--no-draw']
    out = tmp_path / 'out'
    assert main([str(tmp_path), '--out', str(out), *given, '--batch-size', '3']) == 2
    said = capsys.readouterr()
    assert 'the first 3 images are written' in said.err and 'not enough memory' in said.err
    coco = json.loads((out / 'detections.coco.json').read_text())
    assert [image['file_name'] for image in coco['images']] == ['a.png', 'b.png', 'c.png']


@pytest.mark.parametrize(
    ('options', 'why'),
    [
        (['--plain', '--shipped', 'context'], '--shipped: not allowed with argument --plain'),
        (['--checkpoint', 'a.onnx'], 'a.onnx: add --backend onnxruntime'),
    ],
)
def test_options_that_do_not_go_together(options, why, scene, tmp_path, capsys):
    cv2.imwrite(str(tmp_path / 'a.png'), scene)
    try:
        status = main([str(tmp_path), '--out', str(tmp_path / 'out'), *options])
    except SystemExit as end:  # argparse's own
        status = end.code
    assert status == 2 and why in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_a_number_of_images_that_is_none(tmp_path, capsys):
    for number in ('0', '-3'):
        assert main(['a.jpg', '--out', str(tmp_path / 'out'), '--max-images', number]) == 2
        assert f'--max-images {number}: give 1 or more' in capsys.readouterr().err


def test_libraries_say_nothing_of_broken_files_and_missing_cameras(tmp_path, capfd):
    """What cannot be read is said once, in a message of ours: OpenCV's layers write their own."""
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
    Image.new('L', (64, 48), 90).save(tmp_path / 'a.png', icc_profile=profile)
    assert read_image(tmp_path / 'a.png').shape == (48, 64, 3)
    (tmp_path / 'cut.mp4').write_bytes(b'\0\0\0\x20ftypisom' + bytes(200))
    with pytest.raises(DataError, match='cannot be read as a video'):
        pictures(str(tmp_path / 'cut.mp4'))
    with pytest.raises(UsageError, match='97: no such camera'):
        list(pictures('97')[0])
    said = capfd.readouterr()
    assert said.out + said.err == ''


def test_an_output_folder_that_is_a_file_is_told_first(tmp_path, capsys):
    Image.new('L', (64, 48)).save(tmp_path / 'a.png')
    assert main([str(tmp_path / 'a.png'), '--out', str(tmp_path / 'a.png')]) == 2
    assert 'a.png is a file; give a folder' in capsys.readouterr().err


def test_nothing_is_written_where_nothing_can_be_read(tmp_path, capfd):
    tifffile.imwrite(tmp_path / 'float.tif', np.zeros((64, 64), np.float32))
    (tmp_path / 'notes.png').write_text('no image')
    assert main([str(tmp_path), '--out', str(tmp_path / 'out'), '--device', 'cpu']) == 2
    said = capfd.readouterr()
    assert 'float.tif: pixels of 32 bit' in said.err and 'nothing is written' in said.err
    assert '[ WARN' not in said.err + said.out  # OpenCV, of what is told already
    assert not (tmp_path / 'out').exists()


@pytest.fixture
def own(checkpoint):
    """Options of a detector that is quickly there."""
    return ['--config', CONFIG, '--checkpoint', checkpoint, '--device', 'cpu']


def test_names_that_are_no_utf8_or_become_alike(own, scene, tmp_path):
    here = tmp_path / 'in'
    here.mkdir()
    png = cv2.imencode('.png', scene)[1].tobytes()
    try:
        (here / os.fsdecode(b'lat\xe9in.png')).write_bytes(png)
    except OSError:
        pytest.skip('this file system takes UTF-8 alone')
    for name in ('a.ppm', 'a.ppm.jpg', 'line\nbreak.png'):
        cv2.imwrite(str(here / name), scene)
    out = tmp_path / 'out'
    assert main([str(here), '--out', str(out), *own]) == 0
    names = ['a.ppm', 'a.ppm.jpg', 'lat\\xe9in.png', 'line\nbreak.png']
    coco = json.loads((out / 'detections.coco.json').read_text())
    assert [image['file_name'] for image in coco['images']] == names
    with (out / 'detections.csv').open(newline='') as file:
        assert {row['image'] for row in csv.DictReader(file)} <= set(names)
    pictured = sorted(path.name for path in (out / 'drawn').iterdir())
    assert pictured == ['a.ppm.jpg', 'a.ppm.jpg.jpg', *names[2:]]


def test_names_that_are_alike_are_told_apart_by_folders(scene, tmp_path, monkeypatch):
    for folder in ('in/a', 'in/b', 'work'):
        (tmp_path / folder).mkdir(parents=True)
    for folder in ('a', 'b'):
        cv2.imwrite(str(tmp_path / f'in/{folder}/1.png'), scene)
    monkeypatch.chdir(tmp_path / 'work')
    for pattern in ('../in/**/*.png', f'{tmp_path}/work/../in/*/*.png'):
        assert [picture.name for picture in pictures(pattern)[0]] == ['a/1.png', 'b/1.png']


def test_what_was_drawn_is_not_read_again(own, scene, tmp_path, capsys):
    cv2.imwrite(str(tmp_path / 'a.png'), scene)
    assert main([str(tmp_path), '--out', str(tmp_path), *own]) == 0
    before = (tmp_path / 'drawn/a.png').read_bytes()
    for source in (f'{tmp_path}/**/*.png', f'{tmp_path}/drawn', f'{tmp_path}/drawn/a.png'):
        assert main([source, '--out', str(tmp_path), *own, '--overwrite']) == 2
        assert 'drawn/a.png: lies in ' in capsys.readouterr().err
    assert (tmp_path / 'drawn/a.png').read_bytes() == before


def video(path, frames, fourcc='MJPG'):
    height, width = frames[0].shape[:2] if frames else (192, 320)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*fourcc), 10, (width, height))
    for frame in frames:
        writer.write(frame)
    writer.release()


def test_videos_that_end_too_early_and_have_no_frames(own, scene, tmp_path, capsys):
    video(tmp_path / 'whole.avi', [scene] * 12)
    content = (tmp_path / 'whole.avi').read_bytes()
    (tmp_path / 'cut.avi').write_bytes(content[: len(content) // 2])
    given = [str(tmp_path / 'cut.avi'), '--out', str(tmp_path / 'out'), *own, '--no-draw']
    assert main(given) == 2
    said = capsys.readouterr()
    assert re.search(r'cut.avi: only \d of 12 frames can be read', said.err)
    assert len(json.loads((tmp_path / 'out/detections.coco.json').read_text())['images']) < 12
    video(tmp_path / 'none.avi', [])
    assert main([str(tmp_path / 'none.avi'), '--out', str(tmp_path / 'none'), *own]) == 2
    assert 'none.avi: cannot be read as a video, or has no frame' in capsys.readouterr().err
    assert not (tmp_path / 'none').exists()


def test_videos_beside_images_are_named(scene, tmp_path):
    video(tmp_path / 'drive.avi', [scene])
    with pytest.raises(UsageError, match=r'videos are read one by one: \S*drive.avi'):
        pictures(str(tmp_path))
    cv2.imwrite(str(tmp_path / 'a.png'), scene)
    with pytest.warns(UserWarning, match='left out here: drive.avi'):
        assert pictures(str(tmp_path))[1] == 1


def test_of_several_pictures_in_a_file_the_first_is_taken_and_said(scene, tmp_path):
    tifffile.imwrite(tmp_path / 'a.tif', np.stack([scene[..., ::-1]] * 3), photometric='rgb')
    with pytest.warns(UserWarning, match='a.tif: holds 3 pictures, of which the first is taken'):
        assert np.array_equal(read_image(tmp_path / 'a.tif'), scene)


def test_an_interruption_is_told_by_the_exit_status(own, scene, tmp_path, monkeypatch, capsys):
    for name in 'abc':
        cv2.imwrite(str(tmp_path / f'{name}.png'), scene)
    call = Detector.__call__

    def stops(self, images, left=[2]):  # noqa: B006  (counts the calls)
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return call(self, images)

    monkeypatch.setattr(Detector, '__call__', stops)
    given = [str(tmp_path), *own, '--no-draw', '--batch-size', '1', '--out']
    assert main([*given, str(tmp_path / 'out')]) == 130
    assert 'interrupted; what was found is written' in capsys.readouterr().err
    assert len(json.loads((tmp_path / 'out/detections.coco.json').read_text())['images']) == 2
    assert main([*given, str(tmp_path / 'nothing')]) == 130
    assert not (tmp_path / 'nothing').exists()
