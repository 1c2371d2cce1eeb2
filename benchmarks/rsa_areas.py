"""Early layers V1, middle layers V4, late layers IT? Three networks beside recordings of the areas.

    python benchmarks/rsa_areas.py record --data DATA --out OUT     (minutes: RDMs of all layers)
    python benchmarks/rsa_areas.py compare --data DATA --out OUT    (minutes: scores, intervals)
    python benchmarks/rsa_areas.py report --out OUT                 (figure and tables)

DATA holds rsa_v1, rsa_v4, rsa_92 and weights. ``record`` writes one file a network and set of
images, ``compare`` one of scores beside each; both leave those that are there. ``compare`` then
puts everything into areas.json, from which alone the figure and the tables of
docs/benchmarks/rsa_v1_v4_it.md are made: ``report --results FILE --page PAGE`` makes them anew from
the file that the documentation keeps. Of AlexNet there are RDMs of the 92 pictures, no weights.
"""

from __future__ import annotations

import argparse
import json
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import rsa_areas_report as reports

from mmclarity.rsa import (
    NeuralArea,
    RDMs,
    StimulusSet,
    align,
    average_populations,
    bootstrap,
    load_neural,
    noise_ceiling,
    untrained_copy,
)
from mmclarity.rsa.analysis import network_rdms
from mmclarity.rsa.inference.meta import combine
from mmclarity.rsa.inference.profiles import POSITIONS, Profile, order, profile
from mmclarity.rsa.inference.reliability import split_half
from mmclarity.rsa.models import networks
from mmclarity.rsa.rdms.memory import Slabs
from mmclarity.utils.files import replacing, write_text

NETWORKS = {
    'squeezenet1_0': 'weights/squeezenet1_0_imagenet.pth',
    'efficientnet_lite0': None,
}
# Layers of the published RDMs of AlexNet, and the same ones of torchvision's.
ALEXNET = {
    'conv1': 'features.0',
    'conv2': 'features.3',
    'conv3': 'features.6',
    'conv4': 'features.8',
    'conv5': 'features.10',
    'fc6': 'classifier.1',
    'fc7': 'classifier.4',
    'fc8': 'classifier.6',
}
# Random networks beside each trained one.
UNTRAINED = {'squeezenet1_0': 1, 'efficientnet_lite0': 1, 'alexnet': 10}
V4_SESSIONS = ('190923', '201025', '210325', '210621')
V1_MONKEYS = {'ay2': ('u003',), 'ay3': ('u001', 'u002'), 'ay5': ('u005',)}
IMAGES = {
    'v1': 'rsa_v1/images',
    '92': 'rsa_92/images',
    **{f'v4_{session}': f'rsa_v4/{session}/images' for session in V4_SESSIONS},
}
SEED = 0


def record(data: Path, out: Path) -> None:
    """RDMs of all stages of the networks, trained and untrained, on all images."""
    memory = Slabs()
    for name, weights in NETWORKS.items():
        network = networks.load(name, None if weights is None else str(data / weights))
        for key, folder in IMAGES.items():
            path = out / f'{name}_{key}.npz'
            if path.is_file():
                continue
            stimuli = _pictures(data / folder, network)
            trained = network_rdms(network.model, network.layers, stimuli, memory=memory)
            untrained = _random_rdms(name, network.model, list(trained), stimuli, memory=memory)
            _keep(path, trained, untrained, stimuli.ids)
    record_alexnet(data, out)


def record_alexnet(data: Path, out: Path) -> None:
    """AlexNet's published RDMs of the 92 pictures, and Euclidean ones of random AlexNets.

    The published ones are squared, which makes no difference to ranks.
    """
    path = out / 'alexnet_92.npz'
    if path.is_file():
        return
    with np.load(data / 'rsa_92' / 'alexnet_rdms.npz') as file:
        trained = {name: file[name] for name in ALEXNET}
    network = networks.load('alexnet', 'none')
    stimuli = _pictures(data / IMAGES['92'], network)
    found = _random_rdms(
        'alexnet', network.model, list(ALEXNET.values()), stimuli, metric='euclidean'
    )
    _keep(path, trained, found, stimuli.ids)


def _pictures(folder: Path, network: networks.Network) -> StimulusSet:
    return StimulusSet.from_folder(folder, size=224, mean=network.mean, std=network.std)


def _random_rdms(
    name: str, model: Any, layers: list[str], stimuli: StimulusSet, **options: Any
) -> np.ndarray:
    """(S, L, P) of copies with random weights, one a seed."""
    copies = (untrained_copy(model, SEED + seed) for seed in range(UNTRAINED[name]))
    found = (network_rdms(copy, layers, stimuli, **options) for copy in copies)
    return np.stack([np.stack([rdms[layer] for layer in layers]) for rdms in found])


def _keep(
    path: Path, trained: dict[str, np.ndarray], untrained: np.ndarray, ids: list[str]
) -> None:
    with replacing(path, parents=True) as part, part.open('wb') as file:
        np.savez(
            file,
            layers=list(trained),
            ids=ids,
            trained=np.stack(list(trained.values())),
            untrained=untrained,
        )
    print(f'{path}: {len(ids)} images, {len(trained)} layers, {len(untrained)} random', flush=True)


def areas_of(data: Path, key: str, ids: list[str]) -> dict[str, Any]:
    """Recordings of one set of images, aligned; single trials beside them where there are any."""
    if key == 'v1':
        monkeys: list[list[NeuralArea]] = []
        trials = {}
        for monkey, populations in V1_MONKEYS.items():
            monkeys.append([])
            for name in (f'{monkey}_{population}' for population in populations):
                path = data / 'rsa_v1' / f'{name}.npz'
                monkeys[-1].append(align(load_neural(name, f'{path}:V1'), ids))
                trials[name] = _trials(path, ids)
        # Frames of one movie resemble one another: their pairs never count.
        groups = tuple(name[:3] for name in ids)
        area = average_populations('V1', monkeys)
        return {'V1': (RDMs(area.rdms, groups=groups), trials, groups)}
    if key == '92':
        found = {}
        for area, name in (('human IT', 'hIT_subj_sess'), ('macaque IT', 'mIT')):
            area_rdms = load_neural(area, f'{data / "rsa_92" / "rdms.npz"}:{name}').rdms
            found[area] = (RDMs(area_rdms), {}, None)
        return found
    path = data / 'rsa_v4' / key.removeprefix('v4_') / 'responses.npz'
    area = align(load_neural('V4', f'{path}:V4'), ids)
    trials = {key: _trials(path, ids)} if 'trials' in np.load(path).files else {}
    return {'V4': (RDMs(area.rdms), trials, None)}


def _trials(path: Path, ids: list[str]) -> np.ndarray:
    with np.load(path) as file:
        place = {str(name): i for i, name in enumerate(file['ids'])}
        return file['trials'][[place[name] for name in ids]]


def compare(data: Path, out: Path, samples: int) -> None:
    """Scores of all layers with all areas, with what resampling the stimuli gives."""
    for path in sorted(out.glob('*_*.npz')):
        target = path.with_suffix('.json')
        if target.is_file():
            continue
        key = next(k for k in IMAGES if path.stem.endswith(f'_{k}'))
        with np.load(path) as file:
            layers, ids = [str(x) for x in file['layers']], [str(x) for x in file['ids']]
            models = np.concatenate([file['trained'], *file['untrained']])
        found = {}
        for area, (rdms, trials, groups) in areas_of(data, key, ids).items():
            drawn = bootstrap(
                RDMs(models, groups=groups), rdms, num_samples=samples, seed=SEED, ceiling=False
            )
            found[area] = _scores(drawn.observed, drawn.samples, len(layers))
            if len(rdms) > 1:
                ceiling = noise_ceiling(rdms)
                found[area]['ceiling'] = [ceiling.lower, ceiling.upper]
            for name, values in trials.items():
                half = split_half(values, 20, groups=groups)
                found[area].setdefault('reliability', {})[name] = [half.full, half.ceiling]
        write_text(target, json.dumps(dict(layers=layers, areas=found)))
        print(target, flush=True)
    collect(out)


def _scores(observed: np.ndarray, samples: np.ndarray, layers: int) -> dict[str, Any]:
    """Trained network and mean of the random ones, with their draws.

    Where there are several random networks they are drawn as well: which ones were made is part of
    the doubt about their mean.
    """
    untrained = observed[layers:].reshape(-1, layers)
    others = samples[:, layers:].reshape(len(samples), -1, layers)
    seeds = np.random.default_rng(SEED).integers(0, others.shape[1], others.shape[:2])
    others = np.take_along_axis(others, seeds[:, :, None], 1).mean(1)
    return dict(
        scores=observed[:layers].tolist(),
        untrained=untrained.mean(0).tolist(),
        untrained_range=[untrained.min(0).tolist(), untrained.max(0).tolist()],
        random_networks=len(untrained),
        draws=samples[:, :layers].tolist(),
        untrained_draws=others.tolist(),
    )


def collect(out: Path) -> None:
    """areas.json: everything that figure and tables show, V4's sessions combined."""
    table: dict[str, Any] = {}
    for name in (*NETWORKS, 'alexnet'):
        sessions, found, layers = [], {}, []
        for key in IMAGES:
            path = out / f'{name}_{key}.json'
            if not path.is_file():
                continue
            content = json.loads(path.read_text(encoding='utf-8'))
            layers = content['layers']
            if key.startswith('v4_'):
                sessions.append((key.removeprefix('v4_'), content['areas']['V4']))
            else:
                found.update(content['areas'])
        if sessions:
            found['V4'] = _combined(sessions)
        if found:
            areas = {area: found[area] for area in reports.AREAS if area in found}
            table[name] = _summary(layers, areas)
    write_text(out / 'areas.json', json.dumps(_rounded(table), indent=1) + '\n')


def _combined(sessions: list[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    """One answer of sessions with other pictures: a meta-analysis of their correlations.

    For differences and positions the mean of Fisher's z is taken in draws, and sessions are drawn
    as well as their stimuli: with four sessions of three monkeys, which of them were recorded is
    part of the doubt.
    """
    found: dict[str, Any] = {}
    for part, draws in (('scores', 'draws'), ('untrained', 'untrained_draws')):
        scores = np.array([session[part] for _, session in sessions])
        samples = np.array([session[draws] for _, session in sessions])  # (K, B, L)
        # Of Fisher's z, whose slope is 1 / (1 - r^2).
        both = combine(scores, np.nanstd(samples, axis=1, ddof=1) / (1 - scores**2))
        found[part] = np.ravel(both.mean).tolist()
        found[f'{part}_interval'] = np.reshape(both.interval, (-1, 2)).tolist()
        if part == 'scores':
            found['i2'] = both.i2.tolist()
        # The same sessions for both networks: the difference is a paired one.
        chosen = np.random.default_rng(SEED).integers(0, len(samples), samples.shape[:2])
        z = np.arctanh(samples)[chosen, np.arange(samples.shape[1])]
        found[draws] = np.tanh(z.mean(0)).tolist()
    found['sessions'] = {key: session['scores'] for key, session in sessions}
    found['random_networks'] = sessions[0][1]['random_networks']
    halves = [session.get('reliability', {}) for _, session in sessions]
    found['reliability'] = {name: half for one in halves for name, half in one.items()}
    return found


def _summary(layers: list[str], areas: dict[str, Any]) -> dict[str, Any]:
    """What is shown of one network: no draws, but what follows from them."""
    profiles = {
        area: {kind: _profile(area, layers, found, kind) for kind in POSITIONS}
        for area, found in areas.items()
    }
    shown = {}
    for area, found in areas.items():
        draws, others = np.array(found.pop('draws')), np.array(found.pop('untrained_draws'))
        found.setdefault('scores_interval', _limits(draws))
        found.setdefault('untrained_interval', _limits(others))
        gain = np.subtract(found['scores'], found['untrained'])
        shown[area] = found | dict(
            gain=gain.tolist(),
            gain_interval=_limits(draws - others),
            best=profiles[area]['peak'].layer,
            positions={kind: [one.position, *one.interval] for kind, one in profiles[area].items()},
        )
    orders = {}
    for first, second in combinations(areas, 2):
        if 'IT' in first:  # human and macaque IT: nobody says which comes first
            continue
        both = {kind: order(profiles[first][kind], profiles[second][kind]) for kind in POSITIONS}
        orders[f'{first} before {second}'] = {
            kind: [one.difference, *one.interval, one.p] for kind, one in both.items()
        }
    return dict(layers=layers, areas=shown, orders=orders)


def _profile(area: str, layers: list[str], found: dict[str, Any], kind: str) -> Profile:
    scores, draws = np.array(found['scores']), np.array(found['draws'], float)
    return profile(area, layers, scores, draws, kind=kind)


def _limits(draws: np.ndarray) -> list[list[float]]:
    return np.nanquantile(draws, [0.025, 0.975], axis=0).T.tolist()


def _rounded(item: Any) -> Any:
    """All numbers to six decimals: what is kept with the documentation is small."""
    if isinstance(item, dict):
        return {key: _rounded(value) for key, value in item.items()}
    if isinstance(item, list):
        return [_rounded(value) for value in item]
    return round(item, 6) if isinstance(item, float) else item


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('step', choices=['record', 'compare', 'report'])
    parser.add_argument('--data', type=Path, help='folder of rsa_v1, rsa_v4, rsa_92, weights')
    parser.add_argument('--out', type=Path, required=True, help='for all results')
    parser.add_argument('--bootstraps', type=int, default=1000)
    parser.add_argument('--results', type=Path, help='of report (default: OUT/areas.json)')
    parser.add_argument('--page', type=Path, help='Markdown page: its tables are replaced')
    args = parser.parse_args()
    if args.step == 'report':
        reports.report(args.results or args.out / 'areas.json', args.out, args.page)
    elif args.data is None:
        parser.error(f'{args.step} needs --data')
    elif args.step == 'record':
        record(args.data, args.out)
    else:
        compare(args.data, args.out, args.bootstraps)


if __name__ == '__main__':
    main()
