"""The options of ``mmclarity-rsa``."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmclarity.errors import UsageError
from mmclarity.rsa import analysis
from mmclarity.rsa.data import layout
from mmclarity.rsa.inference.profiles import POSITIONS
from mmclarity.rsa.inference.weighted import FITTED


def rsa_parser(description: str) -> argparse.ArgumentParser:
    """The command line of ``mmclarity-rsa``; paths are relative to the current directory."""
    parser = argparse.ArgumentParser(
        prog='mmclarity-rsa',
        usage='%(prog)s --model MODEL --stimuli DIR --neural AREA=FILE[:KEY] ... --out DIR\n'
        '       [further options: see --help]',
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _network_options(parser)
    _stimulus_options(parser)
    _recording_options(parser)
    _method_options(parser)
    _further_options(parser)
    _output_options(parser)
    return parser


def check_options(args: argparse.Namespace) -> None:
    """What the options need of one another.

    Raises:
        UsageError: If one is missing.
    """
    if args.movie is not None and args.out is None:
        raise UsageError('--movie needs --out, the folder of the movie')
    if args.list_layers and args.model is None:
        raise UsageError('--list-layers needs --model')
    if args.memory is not None and not args.memory > 0:
        raise UsageError(f'--memory must be above 0 GB, got {args.memory}')
    if args.list_layers or args.movie is not None:
        return
    missing = [f'--{name}' for name in ('model', 'stimuli', 'out') if getattr(args, name) is None]
    if missing:
        raise UsageError(f'the following arguments are required: {", ".join(missing)}')
    further = args.time or args.searchlight
    if not args.neural and not args.compare_model and not further:
        raise UsageError(
            'nothing to compare with: give --neural AREA=file[:key], or --compare-model '
            'for another network'
        )


def _method_options(parser: argparse.ArgumentParser) -> None:
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


def _further_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('further questions')
    group.add_argument(
        '--time',
        nargs='+',
        action='extend',
        default=[],
        metavar='AREA=FILE[:KEY]',
        help='recordings over time (subjects, stimuli, units, times): time course of every layer, '
        'with a cluster-based permutation test over subjects (rsa_time_AREA.csv and a figure)',
    )
    group.add_argument(
        '--weighted',
        choices=FITTED,
        metavar='METHOD',
        help='all layers weighted to fit each area, cross-validated, beside each layer alone, with '
        'a dual bootstrap over stimuli and subjects (rsa_weighted.csv): ' + ', '.join(FITTED),
    )
    group.add_argument(
        '--weighted-draws', type=int, default=100, metavar='N', help='of it (default 100)'
    )
    group.add_argument(
        '--searchlight',
        metavar='BETAS.nii',
        help='a volume a stimulus, in their order: likeness of every layer to the sphere around '
        'each voxel, as searchlight_LAYER.nii (needs nibabel)',
    )
    group.add_argument('--mask', metavar='MASK.nii', help='of the searchlight (default: all)')
    group.add_argument(
        '--radius', type=float, default=5.6, metavar='MM', help='of a sphere (default 5.6 mm)'
    )
    group.add_argument(
        '--movie',
        metavar='DIR',
        type=Path,
        help='no analysis: what RSAHook wrote to DIR during a training, as rsa_epochs.gif in --out',
    )
    group.add_argument('--movie-area', metavar='AREA', help='of the movie (default: the first)')


def _output_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--out', type=Path, metavar='DIR', help='for all results')
    parser.add_argument('--overwrite', action='store_true', help='replace those of an earlier one')
    parser.add_argument(
        '--showcase',
        action='store_true',
        help='also bars of the layers with significance, RDMs, and the stimuli arranged by '
        'dissimilarity, with their pictures',
    )
    parser.add_argument('--figures', default='png', choices=['png', 'pdf', 'svg', 'none'])


def _network_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('networks')
    group.add_argument(
        '--model',
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
    group.add_argument(
        '--memory',
        type=float,
        metavar='GB',
        help='for the answers of the layers; where it does not hold all of them, the network is '
        'shown its stimuli several times (default: half of what is free)',
    )


def _stimulus_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('stimuli')
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
        '--categories',
        metavar='FILE[:KEY]',
        help='a category for each stimulus, in order of the ids: text with one a '
        'line, npy or npz; or a table (.csv, .tsv; FILE:COLUMN) that names them; sorts and '
        'colours the figures',
    )
    group.add_argument(
        '--groups',
        metavar='FILE[:KEY]',
        help='a group for each stimulus, in the same way: pairs within a group (frames of one '
        'movie, views of one object) never count, and whole groups are drawn in bootstraps',
    )


def _recording_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('recordings')
    group.add_argument(
        '--neural',
        nargs='+',
        action='extend',
        default=[],
        metavar='AREA=FILE[:KEY]',
        help='recordings of an area; may be repeated',
    )
    group.add_argument(
        '--average',
        nargs='+',
        action='extend',
        default=[],
        metavar="'AREA=A + B,C'",
        help='one more area from recordings of --neural, by their names there: RDMs of the '
        'populations of one animal (commas) are averaged, animals (+) are its subjects',
    )
    group.add_argument(
        '--stimulus-table',
        metavar='FILE[:COLUMN]',
        help='which picture a label of BIDS, or a volume or row without a name, is of: events.tsv '
        'or any table with a header (default column: stim_file)',
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
    _how_recordings_are_read(group)


def _how_recordings_are_read(group: argparse._ArgumentGroup) -> None:
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
