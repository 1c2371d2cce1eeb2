"""Representational similarity of a network's layers and brain areas, or another network's layers.

    mmclarity-rsa --model efficientnet_lite0 --stimuli IMAGES \\
        --neural IT=recordings.npz:it V4=recordings.npz:v4 --out work_dirs/rsa
    mmclarity-rsa --model alexnet --checkpoint alexnet.pth --layers 'features\\.\\d+' ...
    mmclarity-rsa --model configs/lambda_frcnn_bdd100k_small.py --checkpoint epoch_12.pth ...
    mmclarity-rsa --model alexnet --compare-model resnet18 --stimuli IMAGES --out OUT

Shows the stimuli to the network and to a copy of it with random weights, prints a table, and
writes rsa.npz (RDMs, ids, settings), rsa.csv, rsa_differences.csv, rsa.md and figures to --out.
Neural files are npz, npy, mat, h5, csv, tsv or nii, and hold RDMs or responses of one subject or
many; stimuli and recordings are matched by id.
"""

from __future__ import annotations

import argparse
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from mmclarity.errors import LayerError, said
from mmclarity.rsa import analysis
from mmclarity.rsa.data import neural
from mmclarity.rsa.data.labels import StimulusTable
from mmclarity.rsa.data.stimuli import StimulusSet
from mmclarity.rsa.inference.profiles import layer_profiles
from mmclarity.rsa.models import listing, networks
from mmclarity.rsa.models.untrained import untrained_copy
from mmclarity.rsa.rdms.memory import Slabs
from mmclarity.rsa.rdms.rdms import RDMs
from mmclarity.rsa.report import figures as plots
from mmclarity.rsa.report import tables as report
from mmclarity.rsa.report.models import model_bars, picture_map, showcase
from mmclarity.utils.allocator import keep_freed_memory
from mmclarity.utils.devices import check_device
from mmclarity.utils.files import write_text
from mmclarity.utils.names import as_text

from .main import check_folder, check_free, mistakes, run
from .rsa_further import (
    averages,
    check_weighted,
    file_names,
    further_areas,
    further_stimuli,
    reliabilities,
    scored,
    write_further,
    write_movie,
)
from .rsa_options import check_options, rsa_parser
from .rsa_stimuli import check_groups, read_labels

# Names of what an analysis writes.
WRITTEN = re.compile(
    r'rsa.*|(searchlight_.*\.nii)|'
    r'((bars|pictures|time)_.*|heat_map|layer_curves|mds|rdm_grid|showcase)\.(png|pdf|svg)'
)


def read_stimuli(args: argparse.Namespace, network: networks.Network) -> StimulusSet:
    """The images, normalised as a network wants them."""
    if args.size and network.side and args.size != network.side:
        warnings.warn(
            f'{network.name} was trained on pictures of {network.side} x {network.side} pixels and '
            f'is shown {args.size} x {args.size} (--size {network.side})',
            stacklevel=2,
        )
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
    """RDMs (P,) by layer of a network, or of ``untrained`` in its place.

    A layer whose answers have no RDM (constant, or not finite) has NaN, which is told.

    Raises:
        LayerError: If the network cannot be run on the images, a layer has no one answer, or none
            has an RDM.
    """
    model = network.model if untrained is None else untrained
    pool = None if args.pool == 'none' else args.pool
    undefined: dict[str, str] = {}
    side = f'{args.size} x {args.size} pixels (--size)' if args.size else 'their own size'
    shown = f'{network.name}, shown images of {side}'
    try:
        rdms = analysis.network_rdms(
            model,
            layers or network.layers_for(pool),
            stimuli,
            args.metric,
            batch_size=args.batch_size,
            device=check_device(args.device or networks.default_device()),
            forward=networks.telling(network.forward(model), shown),
            pool=pool,
            memory=memory,
            undefined=undefined.__setitem__,
        )
    except RuntimeError as error:  # of layers that were not run, or without an answer
        raise LayerError(f'{shown}: {said(error)}') from error
    say_undefined(undefined, network.name if untrained is None else f'{network.name}, untrained')
    if untrained is None and len(undefined) == len(rdms):
        raise LayerError(f'{network.name}: no layer has an RDM; choose other --layers')
    return rdms


def say_undefined(undefined: Mapping[str, str], whose: str) -> None:
    """Which layers are left out, and why: all of one reason together."""
    reasons: dict[str, list[str]] = {}
    for layer, why in undefined.items():
        reasons.setdefault(why, []).append(layer)
    for why, layers in reasons.items():
        warnings.warn(f'{whose}, without {", ".join(layers)} (N/A): {why}', stacklevel=3)


def read_areas(args: argparse.Namespace, stimuli: StimulusSet) -> list[neural.NeuralArea]:
    """The areas of --neural as they are in the files.

    Raises:
        ValueError: If a specification has no name, or as load_neural says.
    """
    areas, table = [], None
    if args.stimulus_table is not None:
        files = {path.name: name for name, path in zip(stimuli.ids, stimuli.paths)}
        table = StimulusTable(args.stimulus_table, files)
    for item in args.neural:
        name, equals, spec = item.partition('=')
        if not (name and equals and spec):
            raise ValueError(f'--neural {item}: write it as AREA=file or AREA=file:key')
        areas.append(
            neural.load_neural(
                as_text(name),
                spec,
                metric=args.neural_metric or args.metric,
                kind=args.neural_kind,
                order=args.condensed_order,
                similarity=args.similarity,
                stimuli=args.stimuli_axis,
                count=len(stimuli),
                table=table,
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
        if np.isfinite(rdm).any()
    ]


def analyse(args: argparse.Namespace) -> analysis.RSAResult:
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
    check_folder(args.out)
    check_free(args.out / 'rsa.npz', overwrite=args.overwrite)
    before = stamps(args.out)
    network = networks.load(args.model, args.checkpoint, args.module)
    stimuli = read_stimuli(args, network)
    ids = list(stimuli.ids)
    # Everything that may be wrong with the files is found before the network starts to work.
    categories = read_labels(args.categories, ids, '--categories')
    groups = read_labels(args.groups, ids, '--groups')
    check_groups(groups, args.groups)
    areas = read_areas(args, stimuli)
    if args.common:
        stimuli, places = keep_common(stimuli, [*areas, *further_stimuli(args)])
        ids = list(stimuli.ids)
        categories = categories and [categories[i] for i in places]
        groups = groups and [groups[i] for i in places]
    areas = [neural.align(area, ids, assume_order=args.assume_order) for area in areas]
    areas += averages(args.average, areas)
    areas += further_areas(args, ids)
    check_weighted(args, areas, groups or ids)
    reliable = reliabilities(args, ids, groups)
    memory = Slabs(None if args.memory is None else int(1e9 * args.memory))
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
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', '.*there is no RDM')  # said, with the reason
        result = analysis.analyse(
            rdms, areas, settings, untrained, ids=ids, meta=meta, groups=groups
        )
    for name, found in reliable.items():
        result.meta.setdefault('reliability', {})[name] = dict(
            half=found.half, full=found.full, ceiling=found.ceiling, splits=len(found.splits)
        )
    write(result, args.out, args.figures, categories)
    write_more(result, args)
    write_further(result, args)
    if args.showcase and args.figures != 'none':
        draw_showcase(result, args.out, args.figures, stimuli, categories)
    new = [name for name, when in stamps(args.out).items() if before.get(name) != when]
    print(f'Written to {args.out}: {", ".join(sorted(new))}')
    if stale := sorted(name for name in before if WRITTEN.fullmatch(name) and name not in new):
        print(f'There from an earlier analysis: {", ".join(stale)}')
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
    for index in range(len(stimuli)):
        small = stimuli.picture(index)
        small.thumbnail((128, 128))
        shown.append(np.asarray(small))
    rdms = [RDMs(rdms).mean(name) for name, rdms in result.area_rdms.items()]
    for area, name, rdm in zip(result.areas, file_names(result.areas, ''), rdms):
        marks = 'bars' if area in result.differences else 'none'
        model_bars(result, out / f'bars_{name}.{kind}', area, marks)
        picture_map(rdm, shown, out / f'pictures_{name}.{kind}', area, categories)
    layers = RDMs(result.rdms, names=tuple(result.layers))
    showcase(RDMs.concat([*rdms, layers]), out / f'showcase.{kind}', pictures=shown)


def write_more(result: analysis.RSAResult, args: argparse.Namespace) -> None:
    """What --r2 and --profiles ask for."""
    if args.r2:
        report.save_r2_csv(result, args.out / 'rsa_r2.csv')
    if args.profiles:
        settings = result.settings
        profiles = layer_profiles(
            scored(result),
            {name: result.grouped(rdms) for name, rdms in result.area_rdms.items()},
            settings.method,
            num_samples=settings.bootstraps or 1000,
            seed=settings.seed,
            level=settings.level,
            kind=args.profiles,
        )
        report.save_profiles_csv(profiles, args.out / 'rsa_profiles.csv', settings.level)


def print_layers(args: argparse.Namespace) -> None:
    """The table of --list-layers."""
    # Names and shapes hang on no weights, which may not be at hand; a function brings its own.
    own = args.model.rpartition(':')[0].endswith('.py')
    network = networks.load(args.model, args.checkpoint or (None if own else 'none'), args.module)
    side = args.size or 224
    forward = networks.telling(
        network.forward(network.model), f'{network.name}, shown an image of {side} x {side} pixels'
    )
    layers = listing.list_layers(network.model, torch.zeros(1, 3, side, side), forward)
    print(listing.layer_table(layers))
    print(f'\nDefault: {" ".join(network.layers) or "none can be guessed"}')


def write(
    result: analysis.RSAResult, out: Path, figures: str, categories: Sequence[str] | None = None
) -> None:
    """Print the table; write table, numbers and figures."""
    table = report.markdown(result)
    print(table)
    out.mkdir(parents=True, exist_ok=True)
    report.save_npz(result, out / 'rsa.npz')
    report.save_csv(result, out / 'rsa.csv')
    write_text(out / 'rsa.md', table)
    if result.differences:
        report.save_differences_csv(result, out / 'rsa_differences.csv')
    if figures != 'none':
        plots.heat_map(result, out / f'heat_map.{figures}')
        plots.layer_curves(result, out / f'layer_curves.{figures}')
        plots.rdm_grid(result, out / f'rdm_grid.{figures}', categories)
        plots.mds(result, out / f'mds.{figures}', categories)


def stamps(out: Path) -> dict[str, int]:
    """When each file of a folder was written."""
    return {p.name: p.stat().st_mtime_ns for p in out.iterdir()} if out.is_dir() else {}


def rsa(args: argparse.Namespace) -> None:
    """What the parsed command line asks for."""
    check_options(args)
    keep_freed_memory()
    with mistakes(ValueError, KeyError):
        if args.list_layers:
            print_layers(args)
        elif args.movie is not None:
            write_movie(args)
        else:
            analyse(args)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns its exit status."""
    return run(rsa, rsa_parser(__doc__), argv)
