"""The analysis as a whole, against scipy and numpy."""

import math
import warnings

import numpy as np
import pytest
import torch
from scipy.spatial.distance import squareform
from scipy.stats import false_discovery_control, spearmanr
from torch import nn

from mmclarity.rsa import analysis
from mmclarity.rsa.analysis import RSASettings, analyse, network_rdms
from mmclarity.rsa.data.neural import NeuralArea
from mmclarity.rsa.models.untrained import untrained_copy
from mmclarity.rsa.rdms.rdms import RDMs
from tests.real_data import DATA, needs

RSA92 = DATA / 'rsa_92/rdms.npz'
needs_rsa92 = needs('rsa_92/rdms.npz')
STIMULI, PAIRS = 10, 45


def rdms(*shape, seed=0):
    return np.random.default_rng(seed).random((*shape, PAIRS))


def area(name='V1', subjects=3, seed=1, ids=None, **kwargs):
    return NeuralArea(name, rdms(subjects, seed=seed), ids, f'{name}.npz', **kwargs)


def layers(count=3, seed=0):
    return {f'conv{i}': row for i, row in enumerate(rdms(count, seed=seed))}


class TestScores:
    def test_mean_over_subjects_of_each_correlation(self):
        result = analyse(layers(), [area(), area('IT', 2, seed=2)])
        for column, other in enumerate([rdms(3, seed=1), rdms(2, seed=2)]):
            for row, layer in enumerate(rdms(3)):
                expected = np.mean([spearmanr(layer, subject).statistic for subject in other])
                assert result.scores[row, column] == pytest.approx(expected, abs=1e-10)
        assert result.layers == ['conv0', 'conv1', 'conv2'] and result.areas == ['V1', 'IT']
        assert result.intervals is result.p is result.q is result.untrained_scores is None

    def test_groups_and_a_missing_subject(self, tmp_path):
        """Pairs within a group have no say, however they look; nor has who was not there."""
        from mmclarity.rsa.report.tables import load_npz, save_npz

        names = [i // 2 for i in range(STIMULI)]
        within = [x == y for i, x in enumerate(names) for y in names[i + 1 :]]
        subjects = rdms(3, seed=1)
        spoilt = np.vstack([np.where(within, 9, subjects), np.full(PAIRS, np.nan)])
        brain = NeuralArea('V1', spoilt, None, 'a.npz')
        settings = RSASettings(bootstraps=20, permutations=9)
        with pytest.warns(UserWarning, match="area 'V1'.*left out"):
            result = analyse(layers(), [brain], settings, layers(3, 5), groups=names)
        keep = ~np.array(within)
        for row, layer in enumerate(rdms(3)):
            expected = np.mean([spearmanr(layer[keep], one[keep]).statistic for one in subjects])
            assert result.scores[row, 0] == pytest.approx(expected, abs=1e-10)
        save_npz(result, tmp_path / 'rsa.npz')
        assert load_npz(tmp_path / 'rsa.npz').groups == [str(name) for name in names]

    def test_a_stack_with_names_is_a_mapping(self):
        stack = RDMs.of(rdms(3), names=['conv0', 'conv1', 'conv2'])
        np.testing.assert_array_equal(
            analyse(stack, [area()], None, stack).scores,
            analyse(layers(), [area()], None, layers()).scores,
        )

    def test_the_old_name_of_the_untrained(self):
        with pytest.warns(DeprecationWarning, match='now called untrained_rdms'):
            old = analyse(layers(), [area()], baseline_rdms=layers(3, 5))
        new = analyse(layers(), [area()], untrained_rdms=layers(3, 5))
        np.testing.assert_array_equal(old.untrained_scores, new.untrained_scores)

    def test_square_and_condensed_are_the_same(self):
        square = {name: squareform(row) for name, row in layers().items()}
        np.testing.assert_array_equal(
            analyse(square, [area()]).scores, analyse(layers(), [area()]).scores
        )

    @needs_rsa92
    def test_macaque_and_human_it(self):
        """The known value of the 92 images, and the ceiling of its four subjects."""
        data = np.load(RSA92)
        sessions = data['hIT_subj_sess'].mean(axis=1)
        human = np.stack([squareform(one, checks=False) for one in sessions])
        areas = [
            NeuralArea('group', squareform(data['hIT'], checks=False)[None], None, 'rdms.npz'),
            NeuralArea('subjects', human, None, 'rdms.npz'),
        ]
        result = analyse(dict(mIT=squareform(data['mIT'], checks=False)), areas)
        assert result.scores[0, 0] == pytest.approx(0.439, abs=5e-4)
        ceiling = result.ceilings['subjects']
        assert (ceiling.lower, ceiling.upper) == pytest.approx((0.3723, 0.6657), abs=5e-5)
        assert result.ceilings['group'].lower is None

    @pytest.mark.parametrize('over', ['stimuli', 'both'])
    def test_a_layer_without_rdm_costs_the_others_nothing(self, over):
        """Trained or untrained: all numbers of the others are those of an analysis without it."""
        none = np.full(PAIRS, np.nan)
        settings = RSASettings(bootstraps=20, permutations=19, bootstrap_over=over)
        brain = [area(), area('IT', 2, seed=2)]
        twins = layers(2, seed=5)
        with pytest.warns(UserWarning, match='there is no RDM') as told:
            found = analyse(
                dict(dead=none, **layers(2)), brain, settings, dict(dead=rdms(seed=8), **twins)
            )
            other = analyse(dict(layers(2)), brain, settings, dict(twins, conv1=none))
        said = [str(one.message) for one in told if 'RDM (NaN)' in str(one.message)]
        assert [text.split(':')[0] for text in said] == ['dead', 'conv1 (untrained)']
        whole = analyse(layers(2), brain, settings, twins)
        for name in ('scores', 'intervals', 'p', 'q', 'untrained_scores', 'untrained_p'):
            table = getattr(found, name)
            np.testing.assert_array_equal(table[1:], getattr(whole, name))
            assert np.isnan(table[0]).all() != name.startswith('untrained')
        for name in ('V1', 'IT'):
            ours, theirs = found.differences[name], whole.differences[name]
            assert np.isnan(ours.layers[0]).all() and np.isnan(ours.gain_interval[0]).all()
            for item in ('layers', 'layers_interval', 'layers_p'):
                np.testing.assert_array_equal(getattr(ours, item)[1:, 1:], getattr(theirs, item))
            np.testing.assert_array_equal(ours.gain_p[1:], theirs.gain_p)
            np.testing.assert_array_equal(np.isnan(other.differences[name].gain), [False, True])
        np.testing.assert_array_equal(other.scores, whole.scores)
        with pytest.raises(ValueError, match='all dissimilarities of all layers are NaN'):
            analyse(dict(dead=none), brain)

    def test_constant_layer_has_no_score(self):
        constant = dict(layers(2), flat=np.ones(PAIRS))
        with pytest.warns(UserWarning):
            result = analyse(constant, [area()])
        assert np.isnan(result.scores[2, 0]) and np.isfinite(result.scores[:2]).all()
        assert 'rsa/V1/flat' not in result.scalars()
        assert result.best_layer('V1')[0] in ('conv0', 'conv1')

    def test_scalars(self):
        found = analyse(layers(2), [area(), area('IT', 1)], untrained_rdms=layers(2, 5)).scalars()
        assert set(found) == {
            'rsa/V1/conv0',
            'rsa/V1/conv1',
            'rsa/V1/conv0/untrained',
            'rsa/V1/conv1/untrained',
            'rsa/V1/ceiling_lower',
            'rsa/V1/ceiling_upper',
            'rsa/IT/conv0',
            'rsa/IT/conv1',
            'rsa/IT/conv0/untrained',
            'rsa/IT/conv1/untrained',
        }
        assert all(isinstance(value, float) and math.isfinite(value) for value in found.values())


class TestInference:
    def test_q_is_benjamini_hochberg_over_layers_and_areas(self):
        settings = RSASettings(permutations=49)
        result = analyse(layers(4), [area(), area('IT', seed=2)], settings, layers(4, 9))
        expected = false_discovery_control(result.p.ravel()).reshape(result.p.shape)
        np.testing.assert_allclose(result.q, expected)
        assert (result.p >= 1 / 50).all() and (result.p <= 1).all()

    def test_same_seed_same_numbers(self):
        settings = RSASettings(bootstraps=20, permutations=20, seed=7)
        first, second = (analyse(layers(), [area()], settings) for _ in range(2))
        np.testing.assert_array_equal(first.intervals, second.intervals)
        np.testing.assert_array_equal(first.p, second.p)
        other = analyse(layers(), [area()], RSASettings(bootstraps=20, permutations=20, seed=8))
        assert not np.array_equal(first.intervals, other.intervals)

    def test_gain_over_the_untrained_twin(self):
        brain = area(subjects=4)
        trained = dict(conv0=brain.rdms.mean(axis=0), conv1=rdms(1, seed=3)[0])
        untrained = dict(conv0=rdms(1, seed=4)[0], conv1=trained['conv1'])
        result = analyse(trained, [brain], RSASettings(bootstraps=200), untrained)
        found = result.differences['V1']
        np.testing.assert_allclose(found.gain, (result.scores - result.untrained_scores)[:, 0])
        assert found.gain[0] > 0.5 and found.gain_interval[0, 0] > 0 and found.gain_p[0] < 0.05
        # The second layer did not change in training.
        assert found.gain[1] == 0 and found.gain_interval[1].tolist() == [0, 0]
        assert found.gain_p[1] == 1

    def test_differences_are_antisymmetric(self):
        found = analyse(layers(), [area()], RSASettings(bootstraps=50)).differences['V1']
        np.testing.assert_allclose(found.layers, -found.layers.T)
        np.testing.assert_allclose(found.layers_interval[0, 1], -found.layers_interval[1, 0, ::-1])
        np.testing.assert_allclose(found.layers_p, found.layers_p.T)
        assert found.gain is None

    def test_order_of_the_untrained_does_not_matter(self):
        settings = RSASettings(bootstraps=10)
        untrained = layers(3, seed=5)
        turned = dict(reversed(untrained.items()))
        first, second = (analyse(layers(), [area()], settings, b) for b in (untrained, turned))
        np.testing.assert_array_equal(first.untrained_scores, second.untrained_scores)
        np.testing.assert_array_equal(first.untrained_rdms, second.untrained_rdms)

    def test_one_subject_cannot_be_resampled(self):
        alone = [area(subjects=1)]
        with pytest.warns(UserWarning, match="'V1' has one subject.*'stimuli'"):
            result = analyse(layers(), alone, RSASettings(bootstraps=9, bootstrap_over='subjects'))
        assert np.isnan(result.intervals).all() and not result.differences
        with pytest.warns(UserWarning, match='only stimuli are resampled'):
            result = analyse(layers(), alone, RSASettings(bootstraps=9, bootstrap_over='both'))
        expected = analyse(layers(), alone, RSASettings(bootstraps=9))
        np.testing.assert_array_equal(result.intervals, expected.intervals)


class TestRefusals:
    @pytest.mark.parametrize(
        'options, message',
        [
            (dict(metric='manhattan'), 'manhattan.*correlation'),
            (dict(method='r'), 'spearman'),
            (dict(pooling='median'), 'rank, mean'),
            (dict(bootstrap_over='trials'), 'both'),
            (dict(bootstraps=-1), 'bootstraps must be 0 or more'),
            (dict(level=95), 'between 0 and 1'),
        ],
    )
    def test_settings(self, options, message):
        with pytest.raises(ValueError, match=message):
            RSASettings(**options)

    def test_settings_of_wrong_type(self):
        with pytest.raises(TypeError, match='permutations must be an integer, got 10.0'):
            RSASettings(permutations=10.0)
        with pytest.raises(ValueError, match='unknown settings metrc; known are metric'):
            analysis.settings_from(dict(metrc='cosine'))

    def test_nothing_to_compare(self):
        with pytest.raises(ValueError, match='layer_rdms is empty'):
            analyse({}, [area()])
        with pytest.raises(ValueError, match='areas is empty'):
            analyse(layers(), [])
        with pytest.raises(TypeError, match='ndarray; read files with load_neural'):
            analyse(layers(), [rdms(3)])

    def test_sizes(self):
        small = NeuralArea('IT', np.random.default_rng(0).random((2, 28)), None, 'it.mat')
        with pytest.raises(
            ValueError,
            match=r"'IT' \(it.mat\) has 8 stimuli but the layers have "
            '10',
        ):
            analyse(layers(), [area(), small])
        with pytest.raises(ValueError, match='conv0: 10.*odd: 8'):
            analyse(dict(layers(), odd=np.arange(28.0)), [area()])
        with pytest.raises(ValueError, match='holds 3 RDMs; a layer has one'):
            analyse(dict(conv0=rdms(3)), [area()])

    def test_ids(self):
        ids = [f's{i}' for i in range(STIMULI)]
        assert analyse(layers(), [area(ids=ids)]).ids == ids
        assert analyse(layers(), [area()]).ids == [str(i) for i in range(STIMULI)]
        with pytest.raises(ValueError, match='IT.*align'):
            analyse(layers(), [area(ids=ids), area('IT', ids=ids[::-1])])
        with pytest.raises(ValueError, match='stimuli of the network.*align'):
            analyse(layers(), [area(ids=ids)], ids=ids[1:] + ids[:1])
        with pytest.raises(ValueError, match='3 ids for RDMs of 10'):
            analyse(layers(), [area()], ids=ids[:3])

    def test_names(self):
        with pytest.raises(ValueError, match="two areas are named 'V1'"):
            analyse(layers(), [area(), area()])
        with pytest.raises(ValueError, match='other layers than layer_rdms: conv2, fc'):
            analyse(layers(), [area()], untrained_rdms=dict(layers(2), fc=rdms()))


class Images:
    """Stimuli as network_rdms wants them: ids and batches."""

    def __init__(self, count=7):
        self.images = torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(1))
        self.ids = [str(i) for i in range(count)]

    def batches(self, batch_size):
        for i in range(0, len(self.ids), batch_size):
            yield self.ids[i : i + batch_size], self.images[i : i + batch_size]


def small_network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(144, 5),
    )


class TestNetworkRdms:
    @pytest.mark.parametrize('batch_size', [1, 3, 100])
    def test_against_numpy(self, batch_size):
        model, stimuli = small_network().train(), Images()
        before = {name: value.clone() for name, value in model.state_dict().items()}
        found = network_rdms(model, ['2', '5'], stimuli, batch_size=batch_size)
        assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
        assert model.training and all(module.training for module in model.modules())
        model.eval()
        with torch.no_grad():
            early = model[:3](stimuli.images).flatten(1).double().numpy()
            late = model(stimuli.images).double().numpy()
        for name, responses in (('2', early), ('5', late)):
            expected = squareform(1 - np.corrcoef(responses), checks=False)
            np.testing.assert_allclose(found[name], expected, atol=1e-5)

    def test_only_a_part_is_called(self):
        model = nn.ModuleDict(dict(backbone=small_network(), head=nn.Linear(9, 9)))
        found = network_rdms(model, ['backbone.5'], Images(), forward=model['backbone'])
        expected = network_rdms(model['backbone'], ['5'], Images())
        np.testing.assert_array_equal(found['backbone.5'], expected['5'])

    def test_refusals(self):
        model = small_network()
        with pytest.raises(ValueError, match='crossnobis.*repeated'):
            network_rdms(model, ['2'], Images(), metric='crossnobis')
        with pytest.raises(ValueError, match='batch_size'):
            network_rdms(model, ['2'], Images(), batch_size=0)
        with pytest.raises(KeyError, match='conv'):
            network_rdms(model, ['conv'], Images())
        with torch.no_grad():
            model[5].weight.zero_()
            model[5].bias.zero_()
        with pytest.raises(ValueError, match="layer '5'.*constant"):
            network_rdms(model, ['2', '5'], Images())
        assert not any(module._forward_hooks for module in model.modules())


class TestRandomTwin:
    def test_same_seed_same_twin_and_nothing_else_changes(self):
        model = small_network().train()
        before = {name: value.clone() for name, value in model.state_dict().items()}
        state = torch.get_rng_state()
        twins = [untrained_copy(model, seed).state_dict() for seed in (3, 3, 4)]
        assert torch.equal(torch.get_rng_state(), state)
        assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
        for name in ('0.weight', '5.weight'):
            assert torch.equal(twins[0][name], twins[1][name])
            assert not torch.equal(twins[0][name], twins[2][name])
            assert not torch.equal(twins[0][name], before[name])

    def test_layout_in_memory_does_not_matter(self):
        model = torch.nn.Conv2d(3, 8, 3)
        plain = untrained_copy(model, 1).weight
        model.to(memory_format=torch.channels_last)
        assert torch.equal(plain, untrained_copy(model, 1).weight)

    def test_statistics_are_forgotten(self):
        from torchvision.ops import FrozenBatchNorm2d

        model = nn.Sequential(nn.BatchNorm2d(4), FrozenBatchNorm2d(4))
        for name, value in model.state_dict().items():
            if 'num_batches' not in name:
                value.fill_(5)
        for name, value in untrained_copy(model).state_dict().items():
            if 'num_batches' not in name:
                expected = 1 if name.endswith(('weight', 'var')) else 0
                assert (value == expected).all(), name

    def test_activity_neither_dies_nor_explodes(self):
        model = nn.Sequential(*[nn.Sequential(nn.Linear(256, 256), nn.ReLU()) for _ in range(40)])
        with torch.no_grad():
            out = untrained_copy(model)(torch.randn(16, 256))
        # PyTorch's own initialisation loses about eight orders of magnitude on the way.
        assert 0.05 < out.square().mean() < 20

    def test_parameters_without_reset_are_shuffled(self):
        class Scaled(nn.Module):
            def __init__(self):
                super().__init__()
                self.token = nn.Parameter(torch.arange(64.0).view(1, 8, 8))

        twin = untrained_copy(Scaled())
        assert not torch.equal(twin.token, torch.arange(64.0).view(1, 8, 8))
        assert twin.token.flatten().sort().values.tolist() == list(range(64))


def test_layers_that_answer_every_stimulus_alike_are_named():
    rng = np.random.default_rng(0)
    rdms = dict(embeddings=np.zeros(15), late=rng.random(15))
    area = NeuralArea('IT', rng.random((1, 15)), None, 'here')
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        result = analyse(rdms, [area], untrained_rdms=rdms)
    texts = [str(one.message) for one in said]
    assert len(texts) == 1 and texts[0].startswith('embeddings, embeddings (untrained): the answer')
    assert np.isnan(result.scores[0, 0]) and np.isfinite(result.scores[1, 0])
