"""`make demo`: its steps, what it says when one fails, and what its pictures judge."""

import json
import pickle
import subprocess
from pathlib import Path

import demo_detection as demo
import numpy as np
import pytest
import torch
from PIL import Image

import demo_steps
from mmclarity.synthetic import murky_pictures as pictures
from mmclarity.synthetic.murky import CLASSES, make_scene
from tests.running import script

ROOT = Path(__file__).resolve().parents[2]


def label(category, box, degraded=False):
    x1, y1, x2, y2 = box
    return dict(
        category=category,
        attributes=dict(degraded=degraded),
        box2d=dict(x1=x1, y1=y1, x2=x2 - 1, y2=y2 - 1),
    )


def scene(labels, found, name='val-00000.jpg', **attributes):
    attributes = dict(dict(weather='foggy', timeofday='daytime', scene='one group'), **attributes)
    return dict(
        frame=dict(name=name, labels=labels, attributes=attributes),
        boxes=np.array([box for box, _, _ in found], float).reshape(-1, 4),
        scores=np.array([score for _, score, _ in found], float),
        names=[category for _, _, category in found],
    )


class TestJudge:
    def test_place_and_name_must_be_right(self):
        box, off = (10, 10, 30, 30), (10, 24, 30, 44)
        labels = [label('car', box)]
        assert pictures.judge(scene(labels, [(box, 0.9, 'car')])) == [(0, True)]
        assert pictures.judge(scene(labels, [(box, 0.9, 'bus')])) == [(0, False)]
        assert pictures.judge(scene(labels, [(off, 0.9, 'car')])) == [(0, False)]

    def test_second_detection_of_an_object_is_wrong(self):
        box = (10, 10, 30, 30)
        found = [(box, 0.6, 'car'), ((11, 10, 31, 30), 0.9, 'car')]
        assert pictures.judge(scene([label('car', box)], found)) == [(1, True), (0, False)]

    def test_wrong_name_does_not_use_an_object_up(self):
        box = (10, 10, 30, 30)
        found = [(box, 0.9, 'bus'), (box, 0.8, 'car')]
        assert pictures.judge(scene([label('car', box)], found)) == [(0, False), (1, True)]

    def test_low_scores_are_left_out(self):
        box = (10, 10, 30, 30)
        assert pictures.judge(scene([label('car', box)], [(box, 0.49, 'car')])) == []

    def test_nothing_there_and_nothing_found(self):
        assert pictures.judge(scene([], [])) == []
        assert pictures.judge(scene([], [((1, 1, 5, 5), 0.9, 'car')])) == [(0, False)]

    def test_overlap(self):
        a = np.array([[0, 0, 10, 10.0], [0, 0, 0, 0]])
        b = np.array([[0, 0, 10, 10.0], [5, 0, 15, 10], [10, 0, 20, 10]])
        np.testing.assert_allclose(pictures.overlaps(a, b), [[1, 1 / 3, 0], [0, 0, 0]], atol=1e-9)

    def test_last_pixel_belongs_to_the_box(self):
        np.testing.assert_array_equal(
            pictures.truth_boxes(scene([label('car', (3, 4, 20, 30))], [])['frame']),
            [[3, 4, 20, 30]],
        )


class TestPictures:
    @pytest.fixture
    def data(self, tmp_path):
        """Three scenes and a perfect result with one wrong name."""
        root, samples, frames = tmp_path / 'data', [], []
        (root / 'images' / '100k' / 'val').mkdir(parents=True)
        (root / 'labels' / 'det_20').mkdir(parents=True)
        for i in range(3):
            image, frame = make_scene('val', i, 0, 0.5)
            image.save(root / 'images' / '100k' / 'val' / frame['name'])
            frames.append(frame)
            labels = [CLASSES.index(item['category']) for item in frame['labels']]
            labels[0] = (labels[0] + 1) % 10
            samples.append(
                dict(
                    img_path=f'/elsewhere/{frame["name"]}',
                    pred_instances=dict(
                        bboxes=torch.tensor(pictures.truth_boxes(frame), dtype=torch.float32),
                        scores=torch.full((len(labels),), 0.9),
                        labels=torch.tensor(labels),
                    ),
                )
            )
        (root / 'labels' / 'det_20' / 'det_val.json').write_text(json.dumps(frames))
        results = tmp_path / 'results.pkl'
        results.write_bytes(pickle.dumps(samples))
        return root, results

    def test_scenes_are_read_and_judged(self, data):
        for item in pictures.read_scenes(*data):
            judged = [good for _, good in pictures.judge(item)]
            assert judged.count(False) == 1
            assert len(judged) == len(item['frame']['labels'])

    def test_pictures_are_written(self, data, tmp_path):
        out = tmp_path / 'out'
        out.mkdir()
        (out / 'val-77777.png').touch()  # of an older run
        (out / 'mine.txt').touch()
        sheet = pictures.paint_scenes(*data, out, 2)
        single = sorted(out.glob('val-*.png'))
        assert len(single) == 2 and (out / 'mine.txt').exists()
        with Image.open(single[0]) as image, Image.open(sheet) as whole:
            assert whole.width >= 2 * image.width and whole.height > image.height
            colours = {colour for _, colour in image.getcolors(1 << 24)}
            assert {pictures.RIGHT, pictures.WRONG, pictures.DEGRADED, pictures.CLEAR} <= colours

    def test_results_of_other_images(self, data, tmp_path):
        other = tmp_path / 'other.pkl'
        other.write_bytes(pickle.dumps([dict(img_path='b1c9c847-3bda4659.jpg')]))
        with pytest.raises(ValueError, match='other.pkl.*b1c9c847.*is not in'):
            pictures.read_scenes(data[0], other)

    def test_all_conditions_in_turn(self):
        scenes = [
            scene([], [], name=f'val-{i:05d}.jpg', weather=w)
            for i, w in enumerate(['foggy'] * 5 + ['rainy', 'snowy'])
        ]
        chosen = [item['frame']['attributes']['weather'] for item in pictures.choose(scenes, 4)]
        assert chosen == ['foggy', 'rainy', 'snowy', 'foggy']
        assert len(pictures.choose(scenes, 100)) == 7


class TestSteps:
    @pytest.fixture
    def steps(self, monkeypatch):
        """Commands instead of the tools' work; ``fail`` names the tool that fails."""

        class Fake:
            fail = None
            commands = []

            def run(self, command, cwd, check):
                assert cwd == demo_steps.REPO
                self.commands.append(command[1:])
                return subprocess.CompletedProcess(command, int(command[1] == self.fail) * 3)

        fake = Fake()
        fake.commands = []
        monkeypatch.setattr(demo_steps.subprocess, 'run', fake.run)
        return fake

    @pytest.mark.parametrize(
        'tool, step', [('tools/dataset_generators/make_murky.py', '1/4'), ('tools/train.py', '2/4')]
    )
    def test_failing_step(self, steps, tmp_path, capsys, tool, step):
        steps.fail = tool
        assert demo.main(['--work-dir', str(tmp_path / 'w'), '--data-root', str(tmp_path)]) == 1
        message = capsys.readouterr().err
        assert step in message and 'exit status 3' in message
        assert steps.commands[-1][0] == tool

    def test_training_without_a_checkpoint(self, steps, tmp_path, capsys):
        assert demo.main(['--work-dir', str(tmp_path / 'w'), '--data-root', str(tmp_path)]) == 1
        assert 'no checkpoint' in capsys.readouterr().err

    def test_failing_test_step(self, steps, tmp_path, capsys):
        work = tmp_path / 'w'
        arguments = ['--work-dir', str(work), '--data-root', str(tmp_path)]
        demo.main(arguments)
        (work / 'train').mkdir()
        (work / 'train' / 'epoch_16.pth').touch()
        (work / 'train' / 'last_checkpoint').write_text(str(work / 'train' / 'epoch_16.pth'))
        assert demo.main(arguments) == 1
        assert 'wrote no numbers' in capsys.readouterr().err
        steps.fail = 'tools/test.py'
        assert demo.main(arguments) == 1
        assert '3/4' in capsys.readouterr().err

    def test_another_training_is_not_gone_on_with(self, steps, tmp_path):
        work = tmp_path / 'w'
        arguments = ['--work-dir', str(work), '--data-root', str(tmp_path)]
        demo.main(arguments)
        (work / 'train').mkdir()
        kept = work / 'train' / 'epoch_3.pth'
        kept.touch()
        demo.main(arguments)
        assert kept.exists() and '--resume' in steps.commands[-1]
        demo.main([*arguments, '--epochs', '2'])
        assert not kept.exists()
        assert 'train_cfg.max_epochs=2' in steps.commands[-1]

    def test_restart(self, steps, tmp_path):
        work = tmp_path / 'w'
        arguments = ['--work-dir', str(work), '--data-root', str(tmp_path)]
        demo.main(arguments)
        (work / 'train').mkdir()
        (work / 'train' / 'epoch_3.pth').touch()
        demo.main([*arguments, '--restart'])
        assert not (work / 'train').exists()


@pytest.mark.slow
def test_quick_demo_twice(tmp_path):
    """All steps for real, from another directory; the second run trains nothing again."""
    command = [
        'demo/demo_detection.py',
        '--quick',
        '--work-dir',
        str(tmp_path / 'work'),
        '--data-root',
        str(tmp_path / 'data'),
        '--pictures',
        '3',
    ]
    first = script(tmp_path, *command, timeout=900)
    assert first.returncode == 0, first.stderr[-3000:]
    for text in (
        'AP (IoU 0.5:0.95)',
        'AP small',
        'AP on degraded objects',
        'contact_sheet.png',
        'Epoch(train)',
    ):
        assert text in first.stdout + first.stderr
    checkpoint = tmp_path / 'work' / 'train' / 'epoch_1.pth'
    written = checkpoint.stat().st_mtime_ns
    second = script(tmp_path, *command, timeout=900)
    assert second.returncode == 0, second.stderr[-3000:]
    assert 'already made' in second.stdout
    assert checkpoint.stat().st_mtime_ns == written
    assert len(list((tmp_path / 'work' / 'pictures').glob('val-*.png'))) == 3
