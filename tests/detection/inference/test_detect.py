"""A trained detector on images, folders and videos: what is read, found and written."""

import csv
import json
import os
import re

import cv2
import numpy as np
import pytest
import tifffile
import torch
from mmdet.apis import inference_detector, init_detector
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


def test_an_output_folder_that_is_a_file_is_told_first(tmp_path, capsys):
    Image.new('L', (64, 48)).save(tmp_path / 'a.png')
    assert main([str(tmp_path / 'a.png'), '--out', str(tmp_path / 'a.png')]) == 2
    assert 'a.png: is a file; give a folder' in capsys.readouterr().err


def test_nothing_is_written_where_nothing_can_be_read(tmp_path, capfd):
    tifffile.imwrite(tmp_path / 'float.tif', np.zeros((64, 64), np.float32))
    (tmp_path / 'notes.png').write_text('no image')
    assert main([str(tmp_path), '--out', str(tmp_path / 'out'), '--device', 'cpu']) == 2
    said = capfd.readouterr()
    assert 'float.tif: pixels of 32 bit' in said.err and 'nothing is written' in said.err
    assert '[ WARN' not in said.err + said.out  # OpenCV, of what is told already
    assert not (tmp_path / 'out').exists()


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


def test_what_was_drawn_is_not_read_again(own, scene, tmp_path, capsys):
    cv2.imwrite(str(tmp_path / 'a.png'), scene)
    assert main([str(tmp_path), '--out', str(tmp_path), *own]) == 0
    before = (tmp_path / 'drawn/a.png').read_bytes()
    for source in (f'{tmp_path}/**/*.png', f'{tmp_path}/drawn', f'{tmp_path}/drawn/a.png'):
        assert main([source, '--out', str(tmp_path), *own, '--overwrite']) == 2
        assert 'drawn/a.png: lies in ' in capsys.readouterr().err
    assert (tmp_path / 'drawn/a.png').read_bytes() == before


def test_videos_that_end_too_early_and_have_no_frames(own, video, scene, tmp_path, capsys):
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
