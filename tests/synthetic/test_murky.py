"""The embedded data set: what it promises, and that context is needed to name its objects."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmclarity.detection.datasets import BDD100KDataset
from mmclarity.errors import DataError
from mmclarity.synthetic import murky
from tests.running import run
from tools.analysis_tools import murky_crop_classifier
from tools.dataset_generators import make_murky

ROOT = Path(__file__).resolve().parents[2]


def make(out, *options, train=6, val=3, jobs=1):
    sizes = ['--train', str(train), '--val', str(val), '--jobs', str(jobs)]
    make_murky.make(make_murky.parse_args([str(out), *sizes, *options]))
    return out


def contents(root):
    return {
        path.relative_to(root): path.read_bytes()
        for path in sorted(root.rglob('*'))
        if path.is_file()
    }


def frames_of(root, split):
    return json.loads((root / 'labels' / 'det_20' / f'det_{split}.json').read_text())


@pytest.fixture(scope='module')
def small(tmp_path_factory):
    return make(tmp_path_factory.mktemp('murky') / 'data')


@pytest.fixture(scope='module')
def scenes():
    return [murky.make_scene(split, i, 3, 0.5) for split in murky.SPLITS for i in range(40)]


def boxes_of(frame):
    """x1, y1, x2, y2 of the labels, x2 and y2 outside."""
    keys = ('x1', 'y1', 'x2', 'y2')
    return np.array([[label['box2d'][key] for key in keys] for label in frame['labels']]) + [
        0,
        0,
        1,
        1,
    ]


class TestHandwriting:
    def test_train_and_val_share_no_sample(self):
        parts = murky.handwriting()
        seen = [
            {digit.tobytes() for digits in parts[split] for digit in digits}
            for split in murky.SPLITS
        ]
        assert not seen[0] & seen[1]
        assert min(len(digits) for split in parts.values() for digits in split) > 30

    def test_every_sample_is_of_its_class(self):
        from sklearn.datasets import load_digits

        data = load_digits()
        target = {
            (image / 16).astype(np.float32).tobytes(): label
            for image, label in zip(data.images, data.target)
        }
        total = 0
        for split in murky.SPLITS:
            for label, digits in enumerate(murky.handwriting()[split]):
                assert all(target[digit.tobytes()] == label for digit in digits)
                total += len(digits)
        assert total == 1797

    def test_scenes_use_the_handwriting_of_their_split(self, monkeypatch):
        blank = np.zeros((8, 8), np.float32)
        parts = murky.handwriting()
        before = {split: murky.make_scene(split, 0, 0, 0.5)[0].tobytes() for split in murky.SPLITS}
        monkeypatch.setattr(
            murky,
            'handwriting',
            lambda: {'train': parts['train'], 'val': [[blank] * len(d) for d in parts['val']]},
        )
        assert murky.make_scene('train', 0, 0, 0.5)[0].tobytes() == before['train']
        assert murky.make_scene('val', 0, 0, 0.5)[0].tobytes() != before['val']


class TestScenes:
    def test_boxes_lie_inside_and_apart(self, scenes):
        for image, frame in scenes:
            assert image.size == (320, 192)
            boxes = boxes_of(frame)
            assert (boxes[:, :2] >= 0).all() and (boxes[:, 2:] <= [320, 192]).all()
            assert (boxes[:, 2:] - boxes[:, :2] >= 14).all()
            assert (boxes[:, 2:] - boxes[:, :2] <= 56).all()
            for i, a in enumerate(boxes):
                for b in boxes[i + 1 :]:
                    common = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
                    assert (common <= 0).any()

    @pytest.mark.parametrize('condition', murky.CONDITIONS)
    @pytest.mark.parametrize('degraded', [False, True])
    def test_boxes_are_tight(self, condition, degraded):
        """An object changes pixels in every row and column of its box, and none outside."""
        rng = np.random.default_rng(1)
        digit = murky.handwriting()['train'][4][0]
        for _ in range(5):
            before = np.full((192, 320, 3), 0.37)
            after = before.copy()
            w, h = rng.integers(14, 57, 2)
            box = murky.Placed(4, 31, 47, int(w), int(h), degraded)
            murky.paint(after, box, digit, condition, rng)
            y, x = np.nonzero((np.abs(after - before) > 1 / 255).any(axis=-1))
            assert (x.min(), x.max()) == (31, 31 + w - 1)
            assert (y.min(), y.max()) == (47, 47 + h - 1)

    def test_every_group_has_a_clear_and_a_degraded_object(self, scenes):
        kinds = set()
        for _, frame in scenes:
            groups = {}
            for label in frame['labels']:
                groups.setdefault(label['category'], []).append(label['attributes']['degraded'])
            kinds.add(frame['attributes']['scene'])
            assert len(groups) == {'one group': 1, 'two groups': 2}[frame['attributes']['scene']]
            for degraded in groups.values():
                assert 1 <= degraded.count(False) <= 2
                assert degraded.count(True) >= 1
        assert kinds == {'one group', 'two groups'}

    def test_two_groups_are_kept_apart(self, scenes):
        """Every object is nearer to the middle of its own group than to that of the other."""
        for _, frame in scenes:
            names = np.array([label['category'] for label in frame['labels']])
            middles = boxes_of(frame)[:, [0, 2]].mean(axis=1)
            if len(set(names)) == 2:
                a, b = (middles[names == name] for name in sorted(set(names)))
                assert a.max() < b.min() or b.max() < a.min()

    def test_weather_fits_the_degradation(self, scenes):
        seen = {
            (frame['attributes']['weather'], frame['attributes']['timeofday'])
            for _, frame in scenes
        }
        assert seen == set(murky.CONDITIONS.values())
        dark = {
            kind: np.mean(
                [
                    np.asarray(image).mean()
                    for image, frame in scenes
                    if frame['attributes']['timeofday'] == kind
                ]
            )
            for kind in ('night', 'daytime')
        }
        assert dark['night'] < 0.5 * dark['daytime']

    def test_all_classes_occur_equally_often(self):
        count = dict.fromkeys(murky.CLASSES, 0)
        for i in range(400):
            rng = np.random.default_rng([7, i])
            for label in {box.label for box in murky.place(rng, 2)}:
                count[murky.CLASSES[label]] += 1
        assert sum(count.values()) == 800
        # 80 expected of each; five standard deviations of a binomial (n = 400, p = 0.2).
        assert all(abs(number - 80) < 5 * 8 for number in count.values()), count

    @pytest.mark.parametrize('share, expected', [(0.0, {'one group'}), (1.0, {'two groups'})])
    def test_share_of_two_groups(self, share, expected):
        frames = [murky.make_scene('val', i, 0, share)[1] for i in range(8)]
        assert {frame['attributes']['scene'] for frame in frames} == expected

    def test_scene_depends_on_every_argument(self):
        base = murky.make_scene('train', 0, 0, 0.5)[0].tobytes()
        assert murky.make_scene('train', 0, 0, 0.5)[0].tobytes() == base
        for other in (('val', 0, 0, 0.5), ('train', 1, 0, 0.5), ('train', 0, 1, 0.5)):
            assert murky.make_scene(*other)[0].tobytes() != base

    def test_unknown_condition(self):
        with pytest.raises(ValueError, match="'hail'.*fog"):
            murky.degrade(np.zeros((20, 20, 3)), 'hail', np.random.default_rng(0))


class TestFiles:
    def test_layout_is_that_of_bdd100k(self, small):
        for split, count in (('train', 6), ('val', 3)):
            frames = frames_of(small, split)
            names = [frame['name'] for frame in frames]
            images = small / 'images' / '100k' / split
            assert sorted(path.name for path in images.iterdir()) == names
            assert len(names) == count
            for frame in frames:
                with Image.open(images / frame['name']) as image:
                    assert image.format == 'JPEG' and image.size == (320, 192)
                for label in frame['labels']:
                    assert label['category'] in murky.CLASSES
                    assert set(label['attributes']) == {'occluded', 'truncated', 'degraded'}

    def test_the_dataset_class_reads_it(self, small):
        dataset = BDD100KDataset(
            data_root=f'{small}/',
            ann_file='labels/det_20/det_val.json',
            data_prefix=dict(img='images/100k/val'),
            test_mode=True,
            pipeline=[],
        )
        frames = frames_of(small, 'val')
        assert tuple(dataset.metainfo['classes']) == murky.CLASSES
        assert len(dataset) == len(frames)
        for i, frame in enumerate(frames):
            info = dataset.get_data_info(i)
            np.testing.assert_allclose(
                [item['bbox'] for item in info['instances']], boxes_of(frame)
            )
            assert [murky.CLASSES[item['bbox_label']] for item in info['instances']] == [
                label['category'] for label in frame['labels']
            ]
            assert info['weather'] == frame['attributes']['weather']

    def test_same_files_whatever_the_number_of_processes(self, small, tmp_path):
        again = tmp_path / 'again'
        counts = ['--train', '6', '--val', '3', '--jobs', '2']
        done = run(tmp_path, 'dataset_generators/make_murky.py', again, *counts)
        assert done.returncode == 0, done.stderr
        assert contents(again) == contents(small)

    def test_more_scenes_begin_with_the_same_scenes(self, small, tmp_path):
        more = make(tmp_path / 'more', train=8)
        assert frames_of(more, 'train')[:6] == frames_of(small, 'train')

    def test_second_run_does_nothing(self, small, capsys):
        times = {path: path.stat().st_mtime_ns for path in small.rglob('*')}
        make(small)
        assert 'already made' in capsys.readouterr().out
        assert times == {path: path.stat().st_mtime_ns for path in small.rglob('*')}

    def test_broken_off_run_is_made_anew(self, small, tmp_path, monkeypatch):
        out, real = tmp_path / 'broken', make_murky.write_split

        def break_off(folder, split, *args):
            if split == 'val':
                raise KeyboardInterrupt
            real(folder, split, *args)

        monkeypatch.setattr(make_murky, 'write_split', break_off)
        with pytest.raises(KeyboardInterrupt):
            make(out)
        assert not (out / 'manifest.json').exists()
        (out / 'images' / '100k' / 'train' / 'train-99999.jpg').touch()
        monkeypatch.undo()
        make(out)
        assert contents(out) == contents(small)

    @pytest.mark.parametrize(
        'lost', ['images/100k/val/val-00001.jpg', 'labels/det_20/det_train.json']
    )
    def test_lost_file_is_made_anew(self, small, tmp_path, lost):
        out = make(tmp_path / 'lost')
        (out / lost).unlink()
        make(out)
        assert contents(out) == contents(small)

    def test_other_settings_need_overwrite(self, tmp_path):
        out = make(tmp_path / 'data', train=2, val=1)
        before = contents(out)
        with pytest.raises(DataError, match='other settings.*--overwrite'):
            make(out, '--seed', '5', train=2, val=1)
        assert contents(out) == before
        make(out, '--seed', '5', '--overwrite', train=2, val=1)
        assert contents(out) != before
        assert contents(out) == contents(make(tmp_path / 'fresh', '--seed', '5', train=2, val=1))

    @pytest.mark.parametrize('options', [(), ('--overwrite',)])
    @pytest.mark.parametrize(
        'name, text, match',
        [
            ('images/100k/train/real.jpg', 'photo', 'not made by this tool'),
            ('manifest.json', '{"name": "app"}', 'not a manifest of this tool'),
            ('manifest.json', '{"version": 1, ', 'not JSON'),
        ],
    )
    def test_other_peoples_files_are_never_deleted(self, tmp_path, options, name, text, match):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        with pytest.raises(DataError, match=match):
            make(tmp_path, *options)
        assert path.read_text() == text

    def test_target_is_a_file(self, tmp_path):
        path = tmp_path / 'file'
        path.touch()
        with pytest.raises(DataError, match='is a file'):
            make(path)

    @pytest.mark.parametrize(
        'options', [('--train', '0'), ('--seed', '-1'), ('--two-groups', '1.5'), ('--jobs', '0')]
    )
    def test_bad_options(self, tmp_path, options):
        with pytest.raises(SystemExit) as error:
            make_murky.main([str(tmp_path / 'x'), *options])
        assert error.value.code == 2
        assert not (tmp_path / 'x').exists()


class TestControlledExperiment:
    """Own pixels name the clear objects only, yet show where the degraded ones are."""

    @pytest.fixture(scope='class')
    def report(self, tmp_path_factory):
        # The full set has 600 and 150 scenes; there the shares are 0.99, 0.33 and 0.98.
        root = make(tmp_path_factory.mktemp('classify') / 'data', train=160, val=60)
        return murky_crop_classifier.classify(root)

    def test_clear_objects_are_named(self, report):
        assert report.named_clear > 0.95

    def test_degraded_objects_are_not_named(self, report):
        assert report.named_degraded < 0.5

    def test_degraded_objects_are_found(self, report):
        assert report.found_clear > 0.95
        assert report.found_degraded > 0.95
        assert report.background_left > 0.95

    def test_report_names_all_conditions(self, report):
        text = str(report)
        for weather, timeofday in murky.CONDITIONS.values():
            assert f'{weather}, {timeofday}' in text

    def test_missing_data_set(self, tmp_path):
        with pytest.raises(SystemExit, match='det_train.json is missing.*make_murky'):
            murky_crop_classifier.classify(tmp_path)
