"""Measure a detector or a restorer for the model zoo, and write the zoo's page and metafiles.

    python tools/test.py CONFIG CHECKPOINT --cfg-options test_evaluator.outfile_prefix=val
    python tools/model_zoo.py measure CONFIG CHECKPOINT --results val.bbox.json --ann val.gt.json \\
        --images data/bdd100k/images/100k/val --data "BDD100K val" --machine CPU --name NAME
    python tools/model_zoo.py measure-restorer --pairs configs/ssim_unet_sem.py \\
        --data "real pairs 036-050" --machine CPU --name NAME
    python tools/model_zoo.py write

The word shipped in the place of CHECKPOINT is the detector that ships; without --config and
--checkpoint the restorer that ships is measured. Rows are the files of docs/zoo; what stands on the
page comes from them alone. Several result files are the seeds of one detector.
"""

import argparse
import math
import os
import statistics
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmclarity import compat

compat.install()

from mmclarity.cli.main import MISTAKE, finish  # noqa: E402
from mmclarity.cli.options import ConfigOptions  # noqa: E402
from mmclarity.engine.config import find_config  # noqa: E402
from mmclarity.errors import UsageError  # noqa: E402
from mmclarity.utils import zoo  # noqa: E402
from mmclarity.utils.checkpoints import SHIPPED  # noqa: E402
from mmclarity.utils.files import write_text  # noqa: E402
from mmclarity.utils.json_files import write_json  # noqa: E402

REPO = Path(__file__).resolve().parents[1]
#: AP of fewer images says nothing.
LEAST_IMAGES = 20


def _peak_memory() -> int:
    """Bytes that this process had in use at most; not on Windows."""
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == 'darwin' else most * 1024  # elsewhere in kilobytes


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        prog='model_zoo.py',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest='command', required=True)
    one = commands.add_parser('measure', help='write the row of a detector')
    one.add_argument('config', help='also looked for in the repository')
    one.add_argument('checkpoint', help='weights, or the word shipped')
    one.add_argument('--results', nargs='+', required=True, help='COCO results, one file a seed')
    one.add_argument('--ann', required=True, help='labels: COCO or Scalabel')
    one.add_argument('--images', required=True, help='folder, to measure the speed on')
    one.add_argument('--area-scale', metavar='FACTOR|WxH', help='as of compare_detections.py')
    one.add_argument('--timed', type=int, default=20, help='images timed (%(default)s)')
    other = commands.add_parser('measure-restorer', help='write the row of a restorer')
    other.add_argument('--config', help='of your own restorer')
    other.add_argument('--checkpoint', help='of your own restorer')
    other.add_argument('--pairs', required=True, help='config with the pairs: test_dataloader')
    other.add_argument(
        '--cfg-options', nargs='+', action=ConfigOptions, help='of --pairs: data_root'
    )
    for command in (one, other):
        command.add_argument('--name', required=True, help='of the row')
        command.add_argument('--data', required=True, help="in words, such as 'BDD100K val'")
        command.add_argument('--machine', required=True, help='processor and number of cores used')
        command.add_argument('--notes', default='', help='of the row')
        command.add_argument('--draws', type=int, default=2000, help='of the intervals')
        command.add_argument('--out', type=Path, default=REPO / 'docs/zoo', help='(docs/zoo)')
    page = commands.add_parser('write', help='write the page and the metafiles')
    page.add_argument('--check', action='store_true', help='only compare; status 2 if they differ')
    return parser.parse_args(argv)


def measure(args: argparse.Namespace) -> None:
    """Write the row of a detector."""
    from mmclarity.detection.shipped.weights import FILE

    file = FILE if args.checkpoint == SHIPPED else Path(args.checkpoint)
    row = _of_all(args, 'detection', file) | dict(
        config=_place(find_config(args.config)), seeds=len(args.results)
    )
    row.update(_speed(args))
    row.update(_accuracy(args))
    _write_row(args, row)


def measure_restorer(args: argparse.Namespace) -> None:
    """Write the row of a restorer."""
    from mmclarity.restoration.general.weights import WEIGHTS

    row = _of_all(args, 'restoration', Path(args.checkpoint or WEIGHTS)) | dict(
        config=_place(find_config(args.config)) if args.config else '', seeds=1
    )
    row.update(_restored(args))
    _write_row(args, row)


def _of_all(args: argparse.Namespace, task: str, file: Path) -> zoo.Row:
    return dict(
        name=args.name,
        task=task,
        checkpoint=_place(file),
        sha256=zoo.digest(file),
        data=args.data,
        machine=args.machine,
        notes=args.notes,
    )


def _write_row(args: argparse.Namespace, row: zoo.Row) -> None:
    path = args.out / f'{args.name}.json'
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, row)
    print(f'written: {path}')


def _place(path: Path) -> str:
    """Of a file in the repository its place there, of others the name."""
    path = Path(path).resolve()
    return path.relative_to(REPO).as_posix() if path.is_relative_to(REPO) else path.name


def _speed(args: argparse.Namespace) -> dict:
    """Time and memory of this process, which does nothing else before; then what it computes."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        import torch

        from mmclarity.detection.inference import Detector, pictures
        from mmclarity.engine.complexity import complexity_of
        from mmclarity.engine.config import load_config

        torch.set_num_threads(1)
        source, _ = pictures(args.images)
        detector = Detector(args.config, args.checkpoint, 'cpu')
        seconds, shape = [], None
        for picture, _ in zip(source, range(args.timed + 2)):
            if picture.pixels is None:
                continue
            shape = picture.pixels.shape[:2]
            start = time.process_time()
            detector([picture.pixels])
            seconds.append(time.process_time() - start)
        if len(seconds) < 3:
            raise UsageError(f'{args.images}: at least three readable images are needed')
        memory = _peak_memory()
        cfg = load_config(args.config)
        shape = _network_size(cfg, shape)
        parameters, operations = complexity_of(cfg, shape)['all']
    return dict(
        images_per_second=round(1 / statistics.median(seconds[2:]), 2),
        memory=memory,
        shape=list(shape),
        parameters=parameters,
        multiply_adds=operations,
    )


def _network_size(cfg, shape: tuple[int, int]) -> tuple[int, int]:
    """Height and width after the test pipeline's Resize."""
    for step in cfg.test_dataloader.dataset.pipeline:
        if step['type'].endswith('Resize') and step.get('keep_ratio'):
            factor = min(max(step['scale']) / max(shape), min(step['scale']) / min(shape))
            return int(shape[0] * factor + 0.5), int(shape[1] * factor + 0.5)
    return shape


def _accuracy(args: argparse.Namespace) -> dict:
    from mmclarity.detection.evaluation.comparison import compare
    from mmclarity.detection.evaluation.label_files import read_labels, read_results

    labelled = read_labels(args.ann, None)
    seeds = [read_results(path, labelled) for path in args.results]
    scale, _ = labelled.area_scale(args.area_scale)
    found = compare(
        labelled, {args.name: seeds}, labelled.chosen(None), draws=args.draws, area_scale=scale
    )
    ap, conditions = {}, {}
    for row in found.rows:
        value = row.values[0]
        numbers = (value.value, value.low, value.high)
        triple = [None if math.isnan(number) else round(number, 5) for number in numbers]
        if row.part == 'all':
            ap[zoo.AP[number_of(row.number)]] = triple
        elif number_of(row.number) == 0 and row.images >= LEAST_IMAGES:
            conditions[row.part] = triple
    return dict(ap=ap, conditions=conditions, images=len(labelled.names))


def _restored(args: argparse.Namespace) -> dict:
    """How near the restored images are to their references, and what that takes."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        import torch
        from mmagic.registry import DATASETS
        from mmengine.registry import init_default_scope

        from mmclarity.engine.complexity import complexity_of, complexity_of_network
        from mmclarity.engine.config import load_config
        from mmclarity.restoration import Restorer
        from mmclarity.restoration.evaluation.report import RestorationReport

        torch.set_num_threads(1)
        cfg = load_config(args.pairs, args.cfg_options)
        init_default_scope('mmagic')
        pairs = DATASETS.build({**cfg.test_dataloader.dataset, 'pipeline': []})
        restorer = Restorer(args.config, args.checkpoint)
        rows, seconds = [], []

        def timed(low):
            start = time.process_time()
            restored = restorer(low, data_range=1.0)
            seconds.append(time.process_time() - start)
            return restored

        for pair in pairs:
            low, high = (pair[key][..., 0] / np.float32(255) for key in ('img', 'gt'))
            rows.append(RestorationReport([(low, high)]).add(args.name, timed))
        memory = _peak_memory()
        shape = low.shape
        if args.config:
            counts = complexity_of(load_config(args.config), shape)['all']
        else:
            example = torch.zeros(1, 1, *shape), torch.zeros(1, 3)
            parameters, look = complexity_of_network(restorer.models[0], *example)[:2]
            counts = parameters, 2 * look  # it looks twice
    return dict(
        images_per_second=round(1 / statistics.median(seconds[1:] or seconds), 2),
        memory=memory,
        mode='FP32' if restorer.dtype is None else str(restorer.dtype).split('.')[1],
        shape=list(shape),
        parameters=counts[0],
        multiply_adds=counts[1],
        images=len(rows),
        scores={key: _mean([row[key] for row in rows], args.draws) for key, *_ in zoo.SCORES},
    )


def _mean(values: Sequence[float], draws: int) -> list[float | None]:
    """Mean over the images, and its basic bootstrap interval."""
    from scipy.stats import bootstrap

    values = [value for value in values if math.isfinite(value)]
    if len(values) < 2:
        return [round(values[0], 5) if values else None, None, None]
    data, rng = (values,), np.random.default_rng(0)
    found = bootstrap(data, np.mean, n_resamples=draws, method='basic', rng=rng)
    low, high = found.confidence_interval
    return [round(float(value), 5) for value in (np.mean(values), low, high)]


def number_of(number: str) -> int:
    """Place of one of the numbers of a comparison among those of the zoo."""
    from mmclarity.detection.evaluation.resampled_ap import NUMBERS

    return NUMBERS.index(number)


def write(args: argparse.Namespace) -> int:
    """Write the page and the metafiles, or compare them with what they should be."""
    stale = []
    for place, text in zoo.written(zoo.read_rows(REPO / 'docs/zoo')).items():
        path = REPO / place
        if path.exists() and path.read_text(encoding='utf-8') == text:
            continue
        stale.append(place)
        if not args.check:
            write_text(path, text, parents=True)
            print(f'written: {os.path.relpath(path)}')
    if args.check and stale:
        print(f'not as docs/zoo says: {", ".join(stale)}; run model_zoo.py write', file=sys.stderr)
        return MISTAKE
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tool; returns its exit status."""
    args = parse_args(argv)
    commands = {'measure': measure, 'measure-restorer': measure_restorer, 'write': write}
    return finish(commands[args.command], args, 'model_zoo.py')


if __name__ == '__main__':
    sys.exit(main())
