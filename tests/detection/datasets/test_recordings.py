"""Training frames held out by recording."""

import zlib

import pytest

from mmclarity.detection.datasets.recordings import BDD100KFold, fold_of
from tests.detection.datasets.bdd100k_frames import make_frame, make_label, make_root

RECORDINGS = [f'{number:08x}' for number in range(40)]
NAMES = [f'{recording}-{part}.jpg' for recording in RECORDINGS for part in ('0a', '1b')]


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    frames = [make_frame(name, make_label('car')) for name in NAMES]
    return make_root(tmp_path_factory.mktemp('bdd'), frames)


def names(**options):
    dataset = BDD100KFold(**options)
    return {dataset.get_data_info(i)['img_path'].rsplit('/', 1)[-1] for i in range(len(dataset))}


def test_a_recording_is_on_one_side_and_nothing_is_lost(root):
    held, rest = (names(held_out=side, **root) for side in (True, False))
    assert held | rest == set(NAMES) and not held & rest
    assert not {name[:8] for name in held} & {name[:8] for name in rest}
    assert held == {name for name in NAMES if zlib.crc32(name[:8].encode()) % 8 == 0}


def test_the_parts_make_up_the_whole(root):
    parts = [names(held_out=True, fold=fold, folds=3, **root) for fold in range(3)]
    assert sorted(name for part in parts for name in part) == sorted(NAMES)
    assert len({name[:8] for part in parts for name in part}) == len(RECORDINGS)
    assert all(len(part) > 0.15 * len(NAMES) for part in parts)


def test_ids_stay_those_of_the_whole_file(root):
    held, rest = (BDD100KFold(held_out=side, **root) for side in (True, False))
    ids = [d.get_data_info(i)['img_id'] for d in (held, rest) for i in range(len(d))]
    assert len(set(ids)) == len(NAMES)


def test_the_part_hangs_on_the_recording_alone():
    assert fold_of('0123abcd-1.jpg', 8) == fold_of('0123abcd-2.png', 8)
    assert {fold_of(name, 4) for name in RECORDINGS} == {0, 1, 2, 3}
    assert BDD100KFold._is_chosen.__get__(
        type('Side', (), dict(folds=8, fold=fold_of(NAMES[0], 8), held_out=True))()
    )('C:\\frames\\' + NAMES[0])  # also where folders are parted by backslashes


@pytest.mark.parametrize('options', [dict(folds=1), dict(fold=8), dict(fold=-1)])
def test_parts_that_do_not_exist(root, options):
    with pytest.raises(ValueError, match=r'fold must lie in 0 \.\. folds - 1'):
        BDD100KFold(held_out=True, **root, **options)


def test_an_empty_part_is_named(tmp_path):
    root = make_root(tmp_path, [make_frame(NAMES[0], make_label('car'))])
    other = (fold_of(NAMES[0], 8) + 1) % 8
    with pytest.raises(ValueError, match=f'none of 1 frames is in fold {other} of 8'):
        BDD100KFold(held_out=True, fold=other, **root)
