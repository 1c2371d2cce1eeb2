"""Numbers that others published, from their own RDMs."""

import csv

import numpy as np
import pytest

from mmclarity.rsa import RDMs, analyse, compare_rdms
from mmclarity.rsa.data.neural import NeuralArea
from mmclarity.rsa.report.tables import save_profiles_csv, save_r2_csv
from tests.real_data import DATA, needs


@needs('rsa_78/rdms.npz')
def test_net2brains_r2(tmp_path):
    """Mean of squared Spearman correlations over 15 subjects, of all its ROIs and layers."""
    folder = DATA / 'rsa_78'
    with np.load(folder / 'rdms.npz') as file:
        areas = [
            NeuralArea(name, RDMs.of(file[name]).condensed, None, name) for name in ('EVC', 'IT')
        ]
    files = sorted((folder / 'net2brain_resnet18_rdms').glob('*.npz'))
    layers = {path.stem: np.load(path)['arr_0'] for path in files}
    layers = {name: (rdm + rdm.T) / 2 for name, rdm in layers.items()}
    for rdm in layers.values():
        np.fill_diagonal(rdm, 0)
    result = analyse(layers, areas)
    save_r2_csv(result, tmp_path / 'r2.csv')
    with open(tmp_path / 'r2.csv') as file:
        mine = {(row['area'], row['layer']): float(row['R2']) for row in csv.DictReader(file)}
    table, checked = result.r2(), 0
    with open(folder / 'net2brain_resnet18_results.csv') as file:
        for row in csv.DictReader(file):
            area = next(a for a in result.areas if f'_{a}_' in row['ROI'])
            layer = row['Layer'].split(') ')[1].removesuffix('.npz')
            here = table[result.layers.index(layer), result.areas.index(area)]
            assert here == pytest.approx(float(row['R2']), abs=1e-8)
            assert mine[area, layer] == pytest.approx(here, rel=1e-5)
            checked += 1
    assert checked >= 2


@needs('rsa_92/alexnet_rdms.npz')
def test_alexnet_and_inferior_temporal_cortex():
    with np.load(DATA / 'rsa_92/rdms.npz') as file:
        macaque, human = file['mIT'], file['hIT']
    expected = dict(
        conv1=(0.115, 0.125),
        conv2=(0.172, 0.111),
        conv3=(0.216, 0.149),
        conv4=(0.186, 0.112),
        conv5=(0.081, -0.056),
        fc8=(0.230, 0.118),
    )
    with np.load(DATA / 'rsa_92/alexnet_rdms.npz') as file:
        for layer, known in expected.items():
            got = [compare_rdms(file[layer], area).mean() for area in (macaque, human)]
            assert got == pytest.approx(known, abs=3e-3), layer


def test_profiles_as_a_table(tmp_path):
    from mmclarity.rsa.inference.profiles import layer_profiles

    rng = np.random.default_rng(0)
    layers = {f'c{i}': row for i, row in enumerate(rng.random((4, 66)))}
    areas = dict(V1=layers['c0'] + 0.2 * rng.random((2, 66)), IT=layers['c3'] + rng.random(66) / 5)
    save_profiles_csv(layer_profiles(layers, areas, num_samples=20), tmp_path / 'p.csv')
    with open(tmp_path / 'p.csv') as file:
        rows = list(csv.DictReader(file))
    assert [row['layer'] for row in rows] == ['c0', 'c3', '', '']
    assert rows[2]['area'] == 'V1' and rows[2]['before'] == 'IT' and float(rows[2]['position']) == 1
    assert float(rows[2]['p']) < 0.05 and float(rows[3]['p']) == 1
