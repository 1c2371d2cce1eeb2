"""Early layers V1, middle layers V4, late layers IT? Two networks beside recordings of three areas.

    python benchmarks/rsa_areas.py record --data DATA --out OUT     (minutes: RDMs of all layers)
    python benchmarks/rsa_areas.py compare --data DATA --out OUT    (minutes: scores, intervals)
    python benchmarks/rsa_areas.py report --out OUT                 (figure and tables from OUT)

DATA holds rsa_v1, rsa_v4, rsa_92 and weights. ``record`` writes one file a network and set of
images and leaves those that are there; ``compare`` writes areas.json, from which alone the figure
and the tables of docs/benchmarks/rsa_v1_v4_it.md are made.
"""

from __future__ import annotations

import argparse
import json
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from mmclarity.rsa import (
    RDMs,
    StimulusSet,
    align,
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
from mmclarity.utils.figures import clean, new_figure, save
from mmclarity.utils.files import replacing, write_text
from mmclarity.utils.tables import markdown_table, number

NETWORKS = {
    'squeezenet1_0': 'weights/squeezenet1_0_imagenet.pth',
    'efficientnet_lite0': None,
}
V4_SESSIONS = ('190923', '201025', '210325', '210621')
V1_MONKEYS = {'ay2': ('u003',), 'ay3': ('u001', 'u002'), 'ay5': ('u005',)}
IMAGES = {
    'v1': 'rsa_v1/images',
    '92': 'rsa_92/images',
    **{f'v4_{session}': f'rsa_v4/{session}/images' for session in V4_SESSIONS},
}
SEED = 0


def record(data: Path, out: Path) -> None:
    """RDMs of all stages of both networks, trained and untrained, on all images."""
    memory = Slabs()
    for name, weights in NETWORKS.items():
        network = networks.load(name, None if weights is None else str(data / weights))
        models = {'trained': network.model, 'untrained': untrained_copy(network.model, SEED)}
        for key, folder in IMAGES.items():
            path = out / f'{name}_{key}.npz'
            if path.is_file():
                continue
            stimuli = StimulusSet.from_folder(
                data / folder, size=224, mean=network.mean, std=network.std
            )
            found = {
                kind: network_rdms(model, network.layers, stimuli, memory=memory)
                for kind, model in models.items()
            }
            arrays = {kind: np.stack(list(rdms.values())) for kind, rdms in found.items()}
            with replacing(path, parents=True) as part, part.open('wb') as file:
                np.savez(file, layers=list(found['trained']), ids=stimuli.ids, **arrays)
            print(f'{path}: {len(stimuli)} images, {len(found["trained"])} layers', flush=True)


def areas_of(data: Path, key: str, ids: list[str]) -> dict[str, Any]:
    """Recordings of one set of images, aligned; single trials beside them where there are any."""
    if key == 'v1':
        monkeys, trials = [], {}
        for monkey, populations in V1_MONKEYS.items():
            rows = []
            for population in populations:
                path = data / 'rsa_v1' / f'{monkey}_{population}.npz'
                rows.append(align(load_neural('V1', f'{path}:V1'), ids).rdms[0])
                trials[f'{monkey}_{population}'] = _trials(path, ids)
            monkeys.append(np.mean(rows, axis=0))
        # Frames of one movie resemble one another: their pairs never count.
        groups = tuple(name[:3] for name in ids)
        return {'V1': (RDMs(np.stack(monkeys), groups=groups), trials, groups)}
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
            models = np.concatenate([file['trained'], file['untrained']])
        found = {}
        for area, (rdms, trials, groups) in areas_of(data, key, ids).items():
            drawn = bootstrap(
                RDMs(models, groups=groups), rdms, num_samples=samples, seed=SEED, ceiling=False
            )
            found[area] = dict(
                scores=drawn.observed.tolist(),
                interval=drawn.interval().tolist(),
                error=drawn.standard_error.tolist(),
                profiles=drawn.samples[:, : len(layers)].tolist(),
                samples=samples,
            )
            if len(rdms) > 1:
                ceiling = noise_ceiling(rdms)
                found[area]['ceiling'] = [ceiling.lower, ceiling.upper]
            for name, values in trials.items():
                half = split_half(values, 20, groups=groups)
                found[area].setdefault('reliability', {})[name] = [half.full, half.ceiling]
        write_text(target, json.dumps(dict(layers=layers, areas=found), indent=1))
        print(target, flush=True)
    collect(out)


def collect(out: Path) -> None:
    """One file of all: V4's sessions combined by a meta-analysis of their correlations."""
    table: dict[str, Any] = {}
    for name in NETWORKS:
        sessions, entry = [], {}
        for key in IMAGES:
            path = out / f'{name}_{key}.json'
            if not path.is_file():
                continue
            content = json.loads(path.read_text(encoding='utf-8'))
            entry['layers'] = content['layers']
            if key.startswith('v4_'):
                sessions.append((key, content['areas']['V4']))
            else:
                entry.update(content['areas'])
        if sessions:
            entry['V4'] = _combined(sessions)
        table[name] = entry
    write_text(out / 'areas.json', json.dumps(table, indent=1))


def _combined(sessions: list[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    scores = np.array([session['scores'] for _, session in sessions])
    # Of Fisher's z, whose slope is 1 / (1 - r^2).
    errors = np.array([session['error'] for _, session in sessions]) / (1 - scores**2)
    both = combine(scores, errors)
    reliable = {k: v for _, session in sessions for k, v in session.get('reliability', {}).items()}
    return dict(
        scores=np.ravel(both.mean).tolist(),
        interval=np.reshape(both.interval, (-1, 2)).tolist(),
        profiles=_drawn_sessions([session['profiles'] for _, session in sessions]).tolist(),
        sessions={key: session['scores'] for key, session in sessions},
        between=both.i2.tolist(),
        reliability=reliable,
        samples=len(sessions[0][1]['profiles']),
    )


def _drawn_sessions(profiles: list[Any]) -> np.ndarray:
    """(B, L), mean over sessions of Fisher's z; sessions are drawn as well as their stimuli.

    With four sessions of three monkeys, which of them were recorded is part of the doubt.
    """
    z = np.arctanh(np.array(profiles))
    rng = np.random.default_rng(SEED)
    drawn = rng.integers(0, len(z), (len(z), z.shape[1]))
    return np.tanh(z[drawn, np.arange(z.shape[1])].mean(0))


def report(out: Path) -> None:
    """Figure and Markdown tables from areas.json."""
    table = json.loads((out / 'areas.json').read_text(encoding='utf-8'))
    known = ('V1', 'V4', 'human IT', 'macaque IT')
    lines = []
    figure = new_figure(11, 6.4)
    axes = figure.subplots(len(table), len(known), sharey='row', squeeze=False)
    for row, (network, entry) in zip(axes, table.items()):
        layers, areas = entry['layers'], [area for area in known if area in entry]
        for axis, area in zip(row, known):
            if area in entry:
                _curve(axis, entry[area], len(layers))
            if network == next(iter(table)):
                axis.set_title(area)
            axis.set_xticks(range(len(layers)), layers, rotation=90, fontsize=6)
            clean(axis)
        row[0].set_ylabel(f'{network}\nSpearman with the area')
        lines += [f'### {network}', '', _table(entry, layers, areas), '', _order(entry, areas), '']
    row[0].legend(loc='best', fontsize=7)
    save(figure, out / 'rsa_v1_v4_it.png')
    write_text(out / 'tables.md', '\n'.join(lines))
    print('\n'.join(lines))


def _curve(axis: Any, found: dict[str, Any], count: int) -> None:
    scores, limits = np.array(found['scores']), np.array(found['interval'])
    for kind, part, colour in (
        ('trained', slice(0, count), 'C0'),
        ('untrained', slice(count, None), 'grey'),
    ):
        places = np.arange(count)
        axis.plot(places, scores[part], 'o-', color=colour, label=kind, markersize=3)
        axis.fill_between(places, *limits[part].T, color=colour, alpha=0.2, linewidth=0)
    if 'ceiling' in found:
        axis.axhspan(*found['ceiling'], color='0.85', zorder=0)
    elif found.get('reliability'):
        ceiling = np.mean([ceiling for _, ceiling in found['reliability'].values()])
        axis.axhline(ceiling, color='0.6', linestyle=':')


def _table(entry: dict[str, Any], layers: list[str], areas: list[str]) -> str:
    rows = []
    for i, layer in enumerate(layers):
        cells = []
        for area in areas:
            scores, limits = entry[area]['scores'], entry[area]['interval'][i]
            interval = f'[{number(limits[0], ".2f")}, {number(limits[1], ".2f")}]'
            trained, untrained = scores[i], scores[i + len(layers)]
            cells.append(f'{number(trained, ".3f")} {interval}, {number(untrained, ".3f")}')
        rows.append([layer, *cells])
    return markdown_table(['layer', *areas], rows)


def _profiles(entry: dict[str, Any], areas: list[str], kind: str) -> dict[str, Profile]:
    layers = entry['layers']
    return {
        area: profile(
            area,
            layers,
            np.array(entry[area]['scores'][: len(layers)]),
            np.array(entry[area]['profiles'], float),
            kind=kind,
        )
        for area in areas
    }


def _order(entry: dict[str, Any], areas: list[str]) -> str:
    """Where along the network (0 first, 1 last layer) each area is matched best, and in order."""
    found = {kind: _profiles(entry, areas, kind) for kind in POSITIONS}
    rows = []
    for area in areas:
        cells = [_with_interval(found[kind][area]) for kind in POSITIONS]
        rows.append([area, found['peak'][area].layer, *cells])
    tests = []
    for first, second in combinations(areas, 2):
        if 'IT' in first:  # human and macaque IT: nobody says which comes first
            continue
        cells = []
        for kind in POSITIONS:
            both = order(found[kind][first], found[kind][second])
            cells.append(f'{both.difference:.2f} {_limits(both.interval)}, p {both.p:.3f}')
        tests.append([f'{first} before {second}', *cells])
    return '\n\n'.join(
        [
            markdown_table(['area', 'best layer', *POSITIONS], rows),
            markdown_table(['order', *POSITIONS], tests),
        ]
    )


def _with_interval(one: Profile) -> str:
    return f'{one.position:.2f} {_limits(one.interval)}'


def _limits(interval: tuple[float, float]) -> str:
    return f'[{interval[0]:.2f}, {interval[1]:.2f}]'


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('step', choices=['record', 'compare', 'report'])
    parser.add_argument('--data', type=Path, help='folder of rsa_v1, rsa_v4, rsa_92, weights')
    parser.add_argument('--out', type=Path, required=True, help='for all results')
    parser.add_argument('--bootstraps', type=int, default=500)
    args = parser.parse_args()
    if args.step == 'report':
        report(args.out)
    elif args.data is None:
        parser.error(f'{args.step} needs --data')
    elif args.step == 'record':
        record(args.data, args.out)
    else:
        compare(args.data, args.out, args.bootstraps)


if __name__ == '__main__':
    main()
