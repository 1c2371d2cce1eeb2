"""--time of tools/rsa.py: from recordings over time to courses, clusters and a figure."""

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr

from tests.tools.rsa_runs import COUNT, rows, run


def test_time_courses_with_clusters(pictures, capsys):
    shown = np.stack(
        [
            np.asarray(Image.open(pictures / f'images/im{i}.png'), float).ravel()
            for i in range(COUNT)
        ]
    )
    shown = (shown - shown.mean(0))[:, ::7]
    rng = np.random.default_rng(1)
    data = 60 * rng.normal(size=(6, COUNT, shown.shape[1], 8))
    data[..., 3:6] += shown[None, :, :, None]
    ids = [f'im{i}' for i in range(COUNT)]
    order = rng.permutation(COUNT)  # in the file another one than on the disk
    np.savez(pictures / 'meg.npz', meg=data[:, order], ids=[ids[i] for i in order])
    assert run(pictures, '--time', f'MEG={pictures}/meg.npz:meg') == 0, capsys.readouterr().err
    found = rows(pictures / 'out/rsa_time_MEG.csv')
    assert len(found) == 2 * 8 and (pictures / 'out/time_MEG.png').is_file()
    first = [row for row in found if row['layer'] == found[0]['layer']]
    significant = [int(r['time']) for r in first if r['cluster_p'] and float(r['cluster_p']) < 0.05]
    assert significant == [3, 4, 5]
    assert 'times 3 to 5' in capsys.readouterr().out


def test_wrong_shapes_are_named_before_the_network_works(pictures, capsys):
    np.save(pictures / 'flat.npy', np.ones((COUNT, 5)))
    assert run(pictures, '--time', f'MEG={pictures}/flat.npy') == 2
    assert 'stimuli, units, times' in capsys.readouterr().err
    assert run(pictures, '--time', 'meg.npy') == 2
    assert 'AREA=file' in capsys.readouterr().err


IDS = [f'im{i}' for i in range(COUNT)]
QUIET = ('--figures', 'none', '--no-untrained')


def by_hand(folder, subject, time, layer=0):
    """Spearman's rho of a layer with a subject at a time, over the pairs that have an answer."""
    with np.load(folder / 'out/rsa.npz') as file:
        model = file['rdms'][layer]
    live = ~np.isnan(subject[:, :, time]).all(0)
    with np.errstate(invalid='ignore', divide='ignore'):
        known = pdist(subject[:, live, time], 'correlation')
    both = np.isfinite(known)
    return spearmanr(model[both], known[both])[0] if both.sum() > 2 else np.nan


def scores(folder, name='MEG', layer='0'):
    found = [r for r in rows(folder / f'out/rsa_time_{name}.csv') if r['layer'] == layer]
    return [float(row['score'] or 'nan') for row in found]


def test_times_at_which_nothing_answers(pictures):
    """Spikes before the response, a picture that a cell is silent to, a dead sensor, a lost one."""
    rng = np.random.default_rng(1)
    data = rng.normal(size=(3, COUNT, 12, 4))
    data[:, :, :, 0] = 0  # before the response
    data[1, 4, :, 2] = 0  # no spike to one picture
    data[0, :, 5] = np.nan  # a dead channel
    data[2, 7] = np.nan  # a picture that one subject was not shown
    np.savez(pictures / 'meg.npz', meg=data, ids=IDS)
    with pytest.warns(UserWarning) as caught:
        assert run(pictures, '--time', f'MEG={pictures}/meg.npz:meg', *QUIET) == 0
    told = '; '.join(str(warning.message) for warning in caught)
    assert 'MEG: at 4 of 4 times a stimulus has no response in a subject' in told
    assert 'no p of a cluster is below 0.125; significance needs 5 subjects' in told
    assert 'at 1 of 4 times' not in told  # of all subjects together
    expected = [np.mean([by_hand(pictures, one, time) for one in data]) for time in range(4)]
    np.testing.assert_allclose(scores(pictures), expected, atol=1e-5)
    assert np.isnan(expected[0]) and np.isfinite(expected[1:]).all()
    assert run(pictures, '--time', f'MEG={pictures}/meg.npz:meg') == 0
    assert (pictures / 'out/time_MEG.png').stat().st_size > 1000


@pytest.mark.parametrize(
    'place,value,words',
    [
        ((1, 3, 2, 1), np.nan, 'subject 1, time 1: the response of unit 2 to stimulus 3'),
        ((1, 3, 2, 1), np.inf, 'subject 1, time 1: the response of unit 2 to stimulus 3 is inf'),
        (slice(None), 1.0, 'at no time do 3 stimuli have a response that is not constant'),
    ],
)
def test_what_no_course_can_be_made_of_is_said_before_anything_is_written(
    pictures, capsys, place, value, words
):
    data = np.random.default_rng(1).normal(size=(3, COUNT, 5, 4))
    data[place] = value
    np.savez(pictures / 'meg.npz', meg=data, ids=IDS)
    assert run(pictures, '--time', f'MEG={pictures}/meg.npz:meg', *QUIET) == 2
    told = capsys.readouterr().err
    assert f'{pictures}/meg.npz:meg' in told and words in told
    assert not (pictures / 'out').exists()


def test_subjects_with_other_sensors(pictures, capsys):
    """A cell array, as a laboratory has it who leaves out bad channels."""
    rng = np.random.default_rng(1)
    people = [rng.normal(size=(COUNT, units, 3)) for units in (9, 12, 10, 9, 11)]
    cells = np.empty(5, object)
    cells[:] = people
    names = np.array(IDS, object)
    savemat(pictures / 'meg.mat', dict(meg=cells, ids=names, times=[-0.1, 0.0, 0.25]))
    assert run(pictures, '--time', f'MEG={pictures}/meg.mat:meg', *QUIET) == 0
    expected = [np.mean([by_hand(pictures, one, time) for one in people]) for time in range(3)]
    np.testing.assert_allclose(scores(pictures), expected, atol=1e-5)
    found = [float(row['time']) for row in rows(pictures / 'out/rsa_time_MEG.csv')]
    assert found == [-0.1, 0.0, 0.25] * 2
    cells[2] = people[2][:, :, :2]
    savemat(pictures / 'meg.mat', dict(meg=cells, ids=names))
    assert run(pictures, '--time', f'MEG={pictures}/meg.mat:meg', *QUIET) == 2
    assert 'different numbers of stimuli or times (18 and 3, ' in capsys.readouterr().err


def test_clusters_are_told_in_the_times_of_the_file(pictures, capsys):
    rng = np.random.default_rng(1)
    shown = np.stack(
        [np.asarray(Image.open(pictures / f'images/{i}.png'), float).ravel() for i in IDS]
    )
    data = 60 * rng.normal(size=(6, COUNT, shown.shape[1] // 7 + 1, 6))
    data[..., 2:5] += (shown - shown.mean(0))[None, :, ::7, None]
    np.savez(pictures / 'meg.npz', meg=data, ids=IDS, times=np.arange(6) * 0.02 - 0.04)
    assert run(pictures, '--time', f'MEG={pictures}/meg.npz:meg') == 0
    assert 'times 0 to 0.04, p = 0.0' in capsys.readouterr().out


def test_a_picture_that_comes_twice(pictures, capsys):
    data = np.random.default_rng(1).normal(size=(COUNT + 1, 5, 4))
    np.savez(pictures / 'meg.npz', meg=data, ids=[*IDS, 'im3'])
    assert run(pictures, '--time', f'MEG={pictures}/meg.npz:meg', *QUIET) == 2
    assert "meg.npz:meg: the id 'im3' comes twice" in capsys.readouterr().err


def test_areas_whose_names_make_one_file_name(pictures, capsys):
    """Each has a file and a figure of its own, with its own numbers and its own name in it."""
    rng = np.random.default_rng(1)
    named, given = ('V4/a', 'V4 a', 'v4 A', 'V4_a_2'), []
    data = {name: rng.normal(size=(COUNT, 6, 3)) for name in named}
    for place, name in enumerate(named):
        np.savez(pictures / f'{place}.npz', x=data[name], ids=IDS)
        given.append(f'{name}={pictures}/{place}.npz:x')
    assert run(pictures, '--time', *given, '--no-untrained') == 0, capsys.readouterr().err
    written = {path.name for path in (pictures / 'out').iterdir() if 'time' in path.name}
    files = [path for path in written if path.endswith('.csv')]
    assert len(files) == 4 and len({file.casefold() for file in files}) == 4
    found = {}
    for file in files:
        assert f'{file[4:-4]}.png' in written
        (area,) = {row['area'] for row in rows(pictures / 'out' / file)}
        found[area] = scores(pictures, file[9:-4])
    assert set(found) == set(named)
    for name in named:
        expected = [by_hand(pictures, data[name], time) for time in range(3)]
        np.testing.assert_allclose(found[name], expected, atol=1e-5)


def test_common_stimuli_are_those_of_these_files_too(pictures, capsys):
    rng = np.random.default_rng(1)
    data, trials = rng.normal(size=(COUNT - 2, 6, 3)), rng.normal(size=(COUNT - 1, 5, 4))
    np.savez(pictures / 'meg.npz', meg=data, ids=IDS[2:])
    np.savez(pictures / 'trials.npz', trials=trials, ids=[f'{name}.png' for name in IDS[:-1]])
    time = '--time', f'MEG={pictures}/meg.npz:meg', *QUIET
    assert run(pictures, *time) == 2
    assert "lacks the stimulus 'im0' (2 of 18)" in capsys.readouterr().err
    more = '--trials', f'MEG={pictures}/trials.npz:trials', '--common'
    assert run(pictures, *time, *more) == 0
    assert '15 of 18 images are in all recordings' in capsys.readouterr().out
    expected = [by_hand(pictures, data[:-1], place) for place in range(3)]
    np.testing.assert_allclose(scores(pictures), expected, atol=1e-5)


def test_beside_other_recordings_only_what_is_needed_of_it(pictures, capsys):
    """A mean over time is no area then; and no metric can be had that needs repetitions."""
    rng = np.random.default_rng(1)
    data = rng.normal(size=(2, COUNT, 6, 3))
    data[0, 4] = 0  # a picture without a spike
    np.savez(pictures / 'all.npz', meg=data, it=rng.normal(size=(COUNT, 20, 4)), ids=IDS)
    time, area = ('--time', f'MEG={pictures}/all.npz:meg'), f'IT={pictures}/all.npz:it'
    assert run(pictures, *time, *QUIET) == 2
    assert 'stimulus 4 is constant' in capsys.readouterr().err
    more = '--neural', area, '--neural-kind', 'repeats'
    assert run(pictures, *time, *more, '--neural-metric', 'crossnobis', *QUIET) == 2
    assert '--neural-metric crossnobis needs repetitions, which --t' in capsys.readouterr().err
    assert not (pictures / 'out').exists()
    assert run(pictures, *time, *more, *QUIET) == 0
    expected = [np.mean([by_hand(pictures, one, place) for one in data]) for place in range(3)]
    np.testing.assert_allclose(scores(pictures), expected, atol=1e-5)
