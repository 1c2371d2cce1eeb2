"""--weighted, --trials and --movie of tools/rsa.py, from files to files."""

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr

from mmclarity.cli import rsa
from mmclarity.rsa import NeuralArea, RSASettings, analyse
from mmclarity.rsa.report import tables
from tests.tools.rsa_runs import COUNT, rows, run


def test_weighted_layers(pictures, capsys):
    rng = np.random.default_rng(3)
    np.savez(
        pictures / 'brain.npz',
        V4=rng.normal(size=(3, COUNT, 20)),
        ids=[f'im{i}' for i in range(COUNT)],
    )
    brain = f'V4={pictures}/brain.npz:V4'
    more = '--weighted', 'cosine', '--weighted-draws', 6, '--figures', 'none'
    assert run(pictures, '--neural', brain, *more) == 0, capsys.readouterr().err
    found = rows(pictures / 'out/rsa_weighted.csv')
    assert [row['model'] for row in found] == ['all, weighted', '0', '2']
    assert all(float(r['lower']) < float(r['score']) < float(r['upper']) for r in found)


def test_groups_count_in_weighted_layers_and_time_courses(pictures, capsys):
    """Frames of a movie are all but one: what is in their pairs changes no number."""
    rng, (first, second) = np.random.default_rng(0), np.triu_indices(COUNT, 1)
    (pictures / 'movies.txt').write_text('\n'.join(str(i // 2) for i in range(COUNT)))
    people, within = rng.random((3, len(first))), first // 2 == second // 2
    np.save(pictures / 'a.npy', people)
    np.save(pictures / 'b.npy', np.where(within, 100 * people, people))
    more = '--groups', pictures / 'movies.txt', '--assume-order', '--figures', 'none'
    found = []
    for name in 'ab':
        area = '--neural', f'V4={pictures}/{name}.npy', '--neural-kind', 'rdm'
        options = '--weighted', 'cosine', '--weighted-draws', 6
        torch.manual_seed(0)  # of the network's weights
        assert run(pictures, *area, *options, *more) == 0, capsys.readouterr().err
        found.append(rows(pictures / 'out/rsa_weighted.csv'))
    assert found[0] == found[1]
    shown = rng.normal(size=(2, COUNT, 6, 3))
    np.save(pictures / 'meg.npy', shown)
    assert run(pictures, '--time', f'MEG={pictures}/meg.npy', *more) == 0, capsys.readouterr().err
    got = float(rows(pictures / 'out/rsa_time_MEG.csv')[0]['score'])
    with np.load(pictures / 'out/rsa.npz') as file:
        layer = file['rdms'][0][~within]
    each = [spearmanr(layer, pdist(one[:, :, 0], 'correlation')[~within])[0] for one in shown]
    assert got == pytest.approx(np.mean(each), abs=1e-6)


def test_one_subject_cannot_be_weighted(pictures, capsys):
    np.save(pictures / 'one.npy', np.random.default_rng(3).normal(size=(COUNT, 20)))
    more = '--neural', f'V4={pictures}/one.npy', '--assume-order', '--weighted', 'cosine'
    assert run(pictures, *more) == 2
    assert '--weighted: V4 has one subject' in capsys.readouterr().err
    assert not (pictures / 'out/rsa.csv').exists()  # said before the network works


@pytest.mark.parametrize('ending', ['npz', 'mat'])
def test_trials_from_common_files(pictures, capsys, ending):
    """Their order is that of the names, which may be those of files."""
    rng = np.random.default_rng(3)
    ids = [f'im{i}.png' for i in range(COUNT)]
    trials = rng.normal(size=(COUNT, 20, 1)) + 0.5 * rng.normal(size=(COUNT, 20, 6))
    written = dict(V4=trials.mean(2), trials=trials, ids=np.array(ids, object))
    path = pictures / f'brain.{ending}'
    if ending == 'mat':
        savemat(path, written)
    else:
        np.savez(path, **{**written, 'ids': ids})
    more = '--neural', f'V4={path}:V4', '--figures', 'none'
    assert run(pictures, *more, '--trials', f'V4={path}:trials') == 0, capsys.readouterr().err
    assert 'Reliability of V4: 0.9' in capsys.readouterr().out
    for wrong, words in (('V4', 'trials are (stimuli, units, repeats)'), ('ids', 'trials are')):
        assert run(pictures, *more, '--trials', f'V4={path}:{wrong}') == 2
        assert words in capsys.readouterr().err
    np.save(pictures / 'few.npy', trials[:4])
    assert run(pictures, *more, '--trials', f'V4={pictures}/few.npy') == 2
    assert 'few.npy has 4 stimuli' in capsys.readouterr().err
    other = [f'other{i}' for i in range(COUNT)]
    np.savez(pictures / 'other.npz', trials=trials, ids=other)
    assert run(pictures, *more, '--trials', f'V4={pictures}/other.npz:trials') == 2
    assert "lacks the stimulus 'im0'" in capsys.readouterr().err


def test_a_movie_of_a_training(tmp_path, capsys):
    rng = np.random.default_rng(4)
    area = NeuralArea('IT', rng.random((2, 15)), None, 'here')
    for epoch in (0, 2, 10):
        layers = {f'layer{i}': rng.random(15) for i in range(5)}
        result = analyse(layers, [area], RSASettings(), untrained_rdms=layers)
        tables.save_npz(result, tmp_path / f'epoch_{epoch}.npz')
    assert rsa.main(['--movie', str(tmp_path), '--out', str(tmp_path / 'out')]) == 0
    with Image.open(tmp_path / 'out/rsa_epochs.gif') as movie:
        assert movie.n_frames == 3 and movie.size[0] > 300
    assert rsa.main(['--movie', str(tmp_path), '--out', str(tmp_path / 'out')]) == 2
    assert 'rsa_epochs.gif exists; give --overwrite' in capsys.readouterr().err
    assert rsa.main(['--movie', str(tmp_path / 'out'), '--out', str(tmp_path)]) == 2
    assert 'epoch_N.npz' in capsys.readouterr().err
    assert rsa.main(['--movie', str(tmp_path), '--movie-area', 'V9', '--out', str(tmp_path)]) == 2
    assert 'IT' in capsys.readouterr().err
    other = analyse({'layer9': rng.random(15)}, [area], RSASettings())
    tables.save_npz(other, tmp_path / 'epoch_1.npz')
    assert rsa.main(['--movie', str(tmp_path), '--out', str(tmp_path)]) == 2
    assert 'epoch_1.npz: has other layers than the last one' in capsys.readouterr().err
    (tmp_path / 'epoch_1.npz').rename(tmp_path / 'iter_1.npz')
    assert rsa.main(['--movie', str(tmp_path), '--out', str(tmp_path)]) == 2
    assert 'epoch_N.npz and iter_N.npz' in capsys.readouterr().err


def test_trials_that_have_no_halves_are_named_before_the_network_works(pictures, capsys):
    rng, ids = np.random.default_rng(3), [f'im{i}' for i in range(COUNT)]
    trials = rng.normal(size=(COUNT, 20, 4))
    gaps = np.where(np.arange(4) > 0, np.nan, trials)
    np.savez(
        pictures / 'it.npz',
        it=trials.mean(2),
        one=trials[..., :1],
        turned=np.moveaxis(trials, 2, 0),
        gaps=gaps,
        ids=ids,
    )
    more = '--neural', f'IT={pictures}/it.npz:it', '--figures', 'none', '--trials'
    for key, words in (
        ('one', 'with 2 repeats or more'),
        ('turned', '18 ids for 4 stimuli; is another axis theirs?'),
        ('gaps', 'stimulus 0 has 1 trials (18 such stimuli)'),
    ):
        assert run(pictures, *more, f'IT={pictures}/it.npz:{key}') == 2
        told = capsys.readouterr().err
        assert f'{pictures}/it.npz:{key}' in told and words in told
    assert not (pictures / 'out').exists()


def test_too_little_to_weight_layers_by(pictures, capsys):
    rng = np.random.default_rng(3)
    np.save(pictures / 'two.npy', rng.normal(size=(2, COUNT, 20)))
    (pictures / 'movies.txt').write_text('\n'.join(str(i // 3) for i in range(COUNT)))
    more = '--neural', f'V4={pictures}/two.npy', '--assume-order', '--weighted', 'cosine'
    assert run(pictures, *more, '--weighted-draws', 1) == 2
    assert '--weighted-draws must be 2 or more, got 1' in capsys.readouterr().err
    assert run(pictures, *more, '--groups', pictures / 'movies.txt') == 2
    assert 'of which there are 6; it needs 8' in capsys.readouterr().err
    assert not (pictures / 'out').exists()


def test_trials_by_the_stimulus_of_each(pictures, capsys):
    """As in a cube, but in the order of the recording."""
    rng, ids = np.random.default_rng(3), [f'im{i}' for i in range(COUNT)]
    cube = rng.normal(size=(COUNT, 20, 1)) + 0.5 * rng.normal(size=(COUNT, 20, 6))
    order = np.repeat(np.arange(COUNT), 6)
    trials = np.moveaxis(cube, 2, 1).reshape(-1, 20)
    np.savez(pictures / 'cube.npz', x=cube, ids=ids)
    np.savez(pictures / 'trials.npz', x=trials, ids=[ids[i] for i in order])
    told = []
    for name in ('cube', 'trials'):
        file = f'IT={pictures}/{name}.npz:x'
        kind = ('--neural-kind', 'repeats') if name == 'cube' else ()
        assert run(pictures, '--neural', file, '--trials', file, '--figures', 'none', *kind) == 0
        told.append(capsys.readouterr().out.partition('\n')[0])
    assert told[0] == told[1] and told[0].startswith('Reliability of IT: 0.9')
