"""Representational similarity of a network's layers and brain areas, or another network's layers.

    python tools/rsa.py --model efficientnet_lite0 --stimuli IMAGES \\
        --neural IT=recordings.npz:it V4=recordings.npz:v4 --out work_dirs/rsa
    python tools/rsa.py --model alexnet --checkpoint alexnet.pth --layers 'features\\.\\d+' ...
    python tools/rsa.py --model configs/lambda_frcnn_bdd100k_small.py --checkpoint epoch_12.pth ...
    python tools/rsa.py --model alexnet --compare-model resnet18 --stimuli IMAGES --out OUT

Shows the stimuli to the network and to a copy of it with random weights, prints a table, and
writes rsa.npz (RDMs, ids, settings), rsa.csv, rsa_differences.csv, rsa.md and figures to --out.
Neural files are npz, npy, mat, h5, csv, tsv or nii, and hold RDMs or responses of one subject or
many; stimuli and recordings are matched by id.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from mmclarity.rsa import analysis
from mmclarity.rsa.data import layout, neural
from mmclarity.rsa.data.stimuli import StimulusSet
from mmclarity.rsa.inference.profiles import POSITIONS, layer_profiles
from mmclarity.rsa.inference.reliability import Reliability, split_half
from mmclarity.rsa.models import listing, networks
from mmclarity.rsa.models.untrained import untrained_copy
from mmclarity.rsa.rdms.memory import Slabs
from mmclarity.rsa.rdms.rdms import RDMs
from mmclarity.rsa.report import figures as plots
from mmclarity.rsa.report import tables as report
from mmclarity.rsa.report.models import model_bars, picture_map, showcase
from mmclarity.utils.allocator import keep_freed_memory


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line; paths are relative to the current directory."""
    parser = argparse.ArgumentParser(
        prog='rsa.py', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    _network_options(parser)
    _data_options(parser)
    method = parser.add_argument_group('method')
    method.add_argument(
        '--metric',
        default='correlation',
        choices=['correlation', 'euclidean', 'cosine'],
        help='dissimilarity of two responses (default correlation, 1 - r)',
    )
    method.add_argument(
        '--method',
        default='spearman',
        choices=analysis.ALL_METHODS,
        help='comparison of two RDMs (default spearman)',
    )
    method.add_argument(
        '--pooling',
        default='rank',
        choices=analysis.POOLINGS,
        help='of subjects for the noise ceiling (default rank, as rsatoolbox)',
    )
    method.add_argument(
        '--bootstraps',
        type=int,
        default=1000,
        metavar='N',
        help='resamplings behind the intervals; 0: none (default 1000)',
    )
    method.add_argument('--bootstrap-over', default='stimuli', choices=analysis.RESAMPLED)
    method.add_argument(
        '--permutations',
        type=int,
        default=1000,
        metavar='N',
        help='of stimulus labels, behind p; 0: none (default 1000)',
    )
    method.add_argument('--level', type=float, default=0.95, help='of intervals (default 0.95)')
    method.add_argument(
        '--untrained',
        action=argparse.BooleanOptionalAction,
        default=True,
        help='show the stimuli to the network with random weights too (default)',
    )
    # Their old names.
    for old, value in (('--untrained-baseline', 'store_true'), ('--no-baseline', 'store_false')):
        method.add_argument(old, dest='untrained', action=value, help=argparse.SUPPRESS)
    method.add_argument(
        '--seed', type=int, default=0, help='of untrained weights, bootstraps, permutations'
    )
    method.add_argument(
        '--r2',
        action='store_true',
        help='also the mean of squared correlations, as Net2Brain reports it (rsa_r2.csv)',
    )
    method.add_argument(
        '--profiles',
        choices=POSITIONS,
        help='also where along the network each area is matched best, and which area comes '
        'first (rsa_profiles.csv), from the bootstraps',
    )
    parser.add_argument('--out', type=Path, metavar='DIR', help='for all results')
    parser.add_argument(
        '--showcase',
        action='store_true',
        help='also bars of the layers with significance, RDMs, and the stimuli arranged by '
        'dissimilarity, with their pictures',
    )
    parser.add_argument('--figures', default='png', choices=['png', 'pdf', 'svg', 'none'])
    args = parser.parse_args(argv)
    if args.list_layers:
        return args
    missing = [f'--{name}' for name in ('stimuli', 'out') if getattr(args, name) is None]
    if missing:
        parser.error(f'the following arguments are required: {", ".join(missing)}')
    if not args.neural and not args.compare_model:
        parser.error(
            'nothing to compare with: give --neural AREA=file[:key], or --compare-model '
            'for another network'
        )
    return args


def _network_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('networks')
    group.add_argument(
        '--model',
        required=True,
        help='torchvision name, efficientnet_lite0, an OpenMMLab config (.py), timm:NAME, hf:NAME '
        '(Hugging Face), hub:FOLDER:ENTRY (torch.hub), or file.py:function',
    )
    group.add_argument(
        '--checkpoint',
        metavar='FILE',
        help="weights; 'none': random. Left out: the published ImageNet weights of "
        'a named model; a config needs it',
    )
    group.add_argument(
        '--layers',
        nargs='+',
        metavar='NAME',
        help='names or regular expressions that match whole names (default: the '
        'stages of the network)',
    )
    group.add_argument(
        '--module',
        help='part of the model that is called with the images (default: backbone or generator '
        'of a config, vision part of a Hugging Face model, else all of it)',
    )
    group.add_argument(
        '--pool',
        default='none',
        choices=['none', 'mean', 'cls'],
        help='of positions: none; their mean; the class token of transformers (default none)',
    )
    group.add_argument(
        '--list-layers',
        action='store_true',
        help='print names, shapes and sizes of all layers, and end',
    )
    group.add_argument(
        '--compare-model', metavar='MODEL', help='as --model: its layers become areas'
    )
    group.add_argument('--compare-checkpoint', metavar='FILE')
    group.add_argument('--compare-layers', nargs='+', metavar='NAME')
    group.add_argument('--device', help='e.g. cuda (default: where there is a GPU)')
    group.add_argument('--batch-size', type=int, default=32)


def _data_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('stimuli and recordings')
    group.add_argument('--stimuli', metavar='DIR', help='folder of images')
    group.add_argument(
        '--manifest',
        metavar='FILE',
        help='ids of the images (default: file names without ending, sorted)',
    )
    group.add_argument(
        '--size',
        type=int,
        default=224,
        help='images are resized and cropped to this square; 0: as they are (default 224)',
    )
    group.add_argument(
        '--neural',
        nargs='+',
        action='extend',
        default=[],
        metavar='AREA=FILE[:KEY]',
        help='recordings of an area; may be repeated',
    )
    group.add_argument(
        '--trials',
        nargs='+',
        action='extend',
        default=[],
        metavar='AREA=FILE[:KEY]',
        help='single trials (stimuli, units, repeats) in the order of the stimuli: the '
        'reliability of the RDM, as a ceiling for one animal',
    )
    group.add_argument(
        '--neural-kind',
        default='auto',
        choices=layout.KINDS,
        help='what recordings are: RDMs, responses (stimuli, units), repeats (stimuli, units, '
        'repeats), time (stimuli, units, time) (default: found out)',
    )
    group.add_argument(
        '--condensed-order',
        choices=layout.ORDERS,
        help='of condensed RDMs: rows of the upper triangle (squareform, pdist) or its columns '
        '(MATLAB: RDM(triu(true(n), 1)))',
    )
    group.add_argument(
        '--similarity',
        action=argparse.BooleanOptionalAction,
        help='matrices hold similarities (default: seen from ones on the diagonal)',
    )
    group.add_argument(
        '--stimuli-axis',
        default='auto',
        choices=layout.AXES,
        help='of responses (default: where the number of stimuli is, else first)',
    )
    group.add_argument(
        '--common',
        action='store_true',
        help='where images and recordings have other stimuli, use those that all have',
    )
    group.add_argument(
        '--neural-metric',
        choices=analysis.METRICS,
        help='for recordings of responses (default: --metric)',
    )
    group.add_argument(
        '--assume-order',
        action='store_true',
        help='recordings without ids are in the order of the stimuli',
    )
    group.add_argument(
        '--categories',
        metavar='FILE[:KEY]',
        help='a category for each stimulus, in order of the ids: text with one a '
        'line, npy or npz; sorts and colours the figures',
    )
    group.add_argument(
        '--groups',
        metavar='FILE[:KEY]',
        help='a group for each stimulus, in the same way: pairs within a group (frames of one '
        'movie, views of one object) never count, and whole groups are drawn in bootstraps',
    )


def read_stimuli(args: argparse.Namespace, network: networks.Network) -> StimulusSet:
    """The images, normalised as a network wants them."""
    return StimulusSet.from_folder(
        args.stimuli,
        manifest=args.manifest,
        size=args.size or None,
        mean=network.mean,
        std=network.std,
    )


def show(
    args: argparse.Namespace,
    network: networks.Network,
    stimuli: StimulusSet,
    layers: Sequence[str] | None,
    untrained: nn.Module | None = None,
    memory: Slabs | None = None,
) -> dict[str, np.ndarray]:
    """RDMs (P,) by layer of a network, or of ``untrained`` in its place."""
    model = network.model if untrained is None else untrained
    return analysis.network_rdms(
        model,
        layers or network.layers,
        stimuli,
        args.metric,
        batch_size=args.batch_size,
        device=args.device or networks.default_device(),
        forward=network.forward(model),
        pool=None if args.pool == 'none' else args.pool,
        memory=memory,
    )


def read_areas(args: argparse.Namespace, ids: Sequence[str]) -> list[neural.NeuralArea]:
    """The areas of --neural as they are in the files.

    Raises:
        ValueError: If a specification has no name, or as load_neural says.
    """
    areas = []
    for item in args.neural:
        name, equals, spec = item.partition('=')
        if not (name and equals and spec):
            raise ValueError(f'--neural {item}: write it as AREA=file or AREA=file:key')
        areas.append(
            neural.load_neural(
                name,
                spec,
                metric=args.neural_metric or args.metric,
                kind=args.neural_kind,
                order=args.condensed_order,
                similarity=args.similarity,
                stimuli=args.stimuli_axis,
                count=len(ids),
            )
        )
    return areas


def keep_common(
    stimuli: StimulusSet, areas: Sequence[neural.NeuralArea]
) -> tuple[StimulusSet, list[int]]:
    """The images that all areas have, and their places among all."""
    shared = neural.common_ids(stimuli.ids, areas)
    place = {name: i for i, name in enumerate(stimuli.ids)}
    print(f'{len(shared)} of {len(stimuli)} images are in all recordings and are used')
    return stimuli.subset(shared), [place[name] for name in shared]


def network_areas(args: argparse.Namespace, ids: Sequence[str]) -> list[neural.NeuralArea]:
    """Each layer of --compare-model as an area with one subject."""
    other = networks.load(args.compare_model, args.compare_checkpoint)
    rdms = show(args, other, read_stimuli(args, other).subset(ids), args.compare_layers)
    return [
        neural.NeuralArea(
            name=f'{other.name}:{layer}',
            rdms=rdm[None],
            ids=list(ids),
            source=f'layer {layer} of {other.name}, {other.weights}',
        )
        for layer, rdm in rdms.items()
    ]


def read_labels(spec: str | None, count: int, option: str = '--categories') -> list[str] | None:
    """One label per stimulus from ``FILE[:KEY]``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the key is missing or the number is wrong.
    """
    if spec is None:
        return None
    path, key = Path(spec), ''
    if not path.is_file() and ':' in spec:
        name, _, key = spec.rpartition(':')
        path = Path(name)
    if not path.is_file():
        raise FileNotFoundError(f'{option} {spec}: {path} does not exist')
    if path.suffix in ('.npz', '.npy'):
        loaded = np.load(path, allow_pickle=False)
        if path.suffix == '.npz':
            if key not in loaded:
                raise ValueError(
                    f'{option} {spec}: choose a key of {path}: {", ".join(loaded.files)}'
                )
            loaded = loaded[key]
        found = [str(item) for item in loaded.ravel()]
    else:
        lines = path.read_text(encoding='utf-8').splitlines()
        found = [line.strip() for line in lines if line.strip()]
    if len(found) != count:
        raise ValueError(
            f'{option} {spec} has {len(found)} entries for {count} stimuli; give '
            'one each, in the order of the ids'
        )
    return found


def run(args: argparse.Namespace) -> analysis.RSAResult:
    """The analysis of a command line; prints the table and writes everything to ``args.out``."""
    settings = analysis.RSASettings(
        metric=args.metric,
        method=args.method,
        pooling=args.pooling,
        bootstraps=args.bootstraps,
        bootstrap_over=args.bootstrap_over,
        permutations=args.permutations,
        seed=args.seed,
        level=args.level,
    )
    network = networks.load(args.model, args.checkpoint, args.module)
    stimuli = read_stimuli(args, network)
    ids = list(stimuli.ids)
    # Everything that may be wrong with the files is found before the network starts to work.
    categories = read_labels(args.categories, len(ids))
    groups = read_labels(args.groups, len(ids), '--groups')
    areas = read_areas(args, ids)
    if args.common:
        stimuli, places = keep_common(stimuli, areas)
        ids = list(stimuli.ids)
        categories = categories and [categories[i] for i in places]
        groups = groups and [groups[i] for i in places]
    areas = [neural.align(area, ids, assume_order=args.assume_order) for area in areas]
    memory = Slabs()
    rdms = show(args, network, stimuli, args.layers, memory=memory)
    untrained = None
    if args.untrained:
        other = untrained_copy(network.model, args.seed)
        untrained = show(args, network, stimuli, list(rdms), other, memory)
    del memory  # some GB
    if args.compare_model:
        areas += network_areas(args, ids)
    meta = dict(
        model=network.name,
        checkpoint=network.weights,
        stimuli=str(args.stimuli),
        areas={area.name: area.source for area in areas},
    )
    result = analysis.analyse(rdms, areas, settings, untrained, ids=ids, meta=meta, groups=groups)
    for name, found in reliabilities(args, ids, groups).items():
        result.meta.setdefault('reliability', {})[name] = dict(
            half=found.half, full=found.full, ceiling=found.ceiling, splits=len(found.splits)
        )
        print(f'Reliability of {name}: {found}')
    write(result, args.out, args.figures, categories)
    write_more(result, args)
    if args.showcase and args.figures != 'none':
        draw_showcase(result, args.out, args.figures, stimuli, categories)
    return result


def draw_showcase(
    result: analysis.RSAResult,
    out: Path,
    kind: str,
    stimuli: StimulusSet,
    categories: Sequence[str] | None,
) -> None:
    """What --showcase asks for: bars and pictures of each area, and all RDMs."""
    shown = []
    for path in stimuli.paths:
        with Image.open(path) as picture:
            small = picture.convert('RGB')
            small.thumbnail((128, 128))
            shown.append(np.asarray(small))
    rdms = [RDMs(rdms).mean(name) for name, rdms in result.area_rdms.items()]
    for area, rdm in zip(result.areas, rdms):
        name = ''.join(letter if letter.isalnum() else '_' for letter in area)
        marks = 'bars' if area in result.differences else 'none'
        model_bars(result, out / f'bars_{name}.{kind}', area, marks)
        picture_map(rdm, shown, out / f'pictures_{name}.{kind}', area, categories)
    layers = RDMs(result.rdms, names=tuple(result.layers))
    showcase(RDMs.concat([*rdms, layers]), out / f'showcase.{kind}', pictures=shown)


def reliabilities(
    args: argparse.Namespace, ids: Sequence[str], groups: Sequence[str] | None
) -> dict[str, Reliability]:
    """Split-half reliability of the areas of --trials.

    Raises:
        ValueError: If a specification has no name, or the trials are of other stimuli.
    """
    found = {}
    for item in args.trials:
        name, equals, spec = item.partition('=')
        if not (name and equals and spec):
            raise ValueError(f'--trials {item}: write it as AREA=file or AREA=file:key')
        path, _, key = spec.rpartition(':') if not Path(spec).is_file() else (spec, '', 'trials')
        if not Path(path).is_file():
            raise FileNotFoundError(f'--trials {item}: {path or key} does not exist')
        with np.load(path, allow_pickle=False) as file:
            if key not in file:
                raise ValueError(
                    f'--trials {item}: choose a key of {path}: {", ".join(file.files)}'
                )
            data = file[key]
            known = [str(one) for one in file['ids']] if 'ids' in file else None
        if known is not None and set(ids) <= set(known):
            data = data[[known.index(one) for one in ids]]
        if len(data) != len(ids):
            raise ValueError(f'--trials {item}: {len(data)} stimuli, the network saw {len(ids)}')
        metric = args.neural_metric or args.metric
        found[name] = split_half(data, 100, metric, args.method, args.seed, groups)
    return found


def write_more(result: analysis.RSAResult, args: argparse.Namespace) -> None:
    """What --r2 and --profiles ask for."""
    if args.r2:
        report.save_r2_csv(result, args.out / 'rsa_r2.csv')
    if args.profiles:
        settings = result.settings
        groups = None if result.groups is None else tuple(result.groups)
        profiles = layer_profiles(
            dict(zip(result.layers, result.rdms)),
            {name: RDMs(rdms, groups=groups) for name, rdms in result.area_rdms.items()},
            settings.method,
            num_samples=settings.bootstraps or 1000,
            seed=settings.seed,
            level=settings.level,
            kind=args.profiles,
        )
        report.save_profiles_csv(profiles, args.out / 'rsa_profiles.csv', settings.level)


def print_layers(args: argparse.Namespace) -> None:
    """The table of --list-layers."""
    network = networks.load(args.model, args.checkpoint, args.module)
    side = args.size or 224
    layers = listing.list_layers(
        network.model, torch.zeros(1, 3, side, side), network.forward(network.model)
    )
    print(listing.layer_table(layers))
    print(f'\nDefault: {" ".join(network.layers)}')


def write(
    result: analysis.RSAResult, out: Path, figures: str, categories: Sequence[str] | None = None
) -> None:
    """Print the table; write table, numbers and figures."""
    table = report.markdown(result)
    print(table)
    out.mkdir(parents=True, exist_ok=True)
    report.save_npz(result, out / 'rsa.npz')
    report.save_csv(result, out / 'rsa.csv')
    report.atomic_write(out / 'rsa.md', lambda file: file.write(table.encode()))
    if result.differences:
        report.save_differences_csv(result, out / 'rsa_differences.csv')
    if figures != 'none':
        plots.heat_map(result, out / f'heat_map.{figures}')
        plots.layer_curves(result, out / f'layer_curves.{figures}')
        plots.rdm_grid(result, out / f'rdm_grid.{figures}', categories)
        plots.mds(result, out / f'mds.{figures}', categories)
    print(f'Written to {out}: {", ".join(sorted(item.name for item in out.iterdir()))}')


def main(argv: Sequence[str] | None = None) -> int:
    """Run; what the caller can mend is printed without a traceback. Returns the exit status."""
    args = parse_args(argv)
    keep_freed_memory()
    try:
        if args.list_layers:
            print_layers(args)
        else:
            run(args)
    except (ValueError, FileNotFoundError, ModuleNotFoundError, KeyError) as error:
        message = error.args[0] if isinstance(error, KeyError) and error.args else error
        print(f'rsa.py: error: {message}', file=sys.stderr)
        return 2
    return 0


if __name__ == '__main__':
    sys.exit(main())
