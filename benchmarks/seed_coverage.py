"""Do intervals over seeds hold what other seeds, on other images, would give?

    python benchmarks/seed_coverage.py --ann LABELS

Two kinds of detectors are simulated, many trainings of each: they share what makes an object hard,
differ in their luck, and each training places its boxes a little better or worse than its like.
The truth is the difference of the means over all trainings, on all images. Samples of a few
trainings of each kind and some of the images give the intervals that `compare_detections.py --a
... --b ...` prints: that of the images, and that of images and seeds. The table tells how many of
each hold the truth.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence

import numpy as np

from mmclarity.cli.main import finish
from mmclarity.detection.evaluation.coco_eval import BoxEval
from mmclarity.detection.evaluation.comparison import TITLES
from mmclarity.detection.evaluation.intervals import degrees_of_freedom, interval, over_seeds
from mmclarity.detection.evaluation.label_files import Labelled, read_labels
from mmclarity.detection.evaluation.resampled_ap import ResampledAP
from mmclarity.utils.tables import markdown_table


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('--ann', required=True, metavar='LABELS', help='Scalabel file or folder, or COCO JSON')
    add('--trainings', type=int, default=20, help='of each kind (20)')
    add('--seeds', type=int, nargs='+', default=[2, 3, 5], help='in a sample (2 3 5)')
    add('--spread', type=float, nargs='+', default=[0.0, 0.001, 0.003], help='among trainings')
    add('--images', type=int, default=500, help='in a sample (500)')
    add('--samples', type=int, default=300, help='how many (300)')
    add('--draws', type=int, default=200, help='bootstrap draws of each (200)')
    add('--seed', type=int, default=0, help='of everything (0)')
    return parser.parse_args(argv)


def training(labelled: Labelled, common: int, own: int, noise: float) -> list[dict]:
    """Detections of one training; ``common`` is the luck that all share, ``own`` its own."""
    shared, rng = np.random.default_rng(common), np.random.default_rng(own)
    categories = sorted(labelled.chosen(None))
    murk = shared.normal(0, 0.7, len(labelled.names))
    found = []
    for gt in labelled.gts:
        x, y, width, height = gt['bbox']
        side = (width * height) ** 0.5
        clear = 1.2 * np.log(side / 12) + murk[gt['image_id']]
        shift, surprise = shared.normal(size=4), shared.normal()
        shift = 0.95 * shift + 0.3 * rng.normal(size=4)
        if shared.random() > 1 / (1 + np.exp(-clear - 0.8)):
            continue
        box = np.array([x, y, width, height])
        box += noise * (1 + 6 / side) * shift * np.tile([width, height], 2)
        box[2:] = np.maximum(box[2:], 1)
        found.append(
            dict(
                image_id=gt['image_id'],
                category_id=gt['category_id'],
                bbox=box.tolist(),
                score=float(1 / (1 + np.exp(1 - clear - 0.8 * surprise - 0.2 * rng.normal()))),
            )
        )
    for image in range(len(labelled.names)):
        for _ in range(shared.poisson(8)):
            box = [*shared.uniform(0, (600, 330)), *np.exp(shared.uniform(1.5, 4, 2))]
            category = int(shared.choice(categories))
            score = float(shared.beta(1, 5) * rng.uniform(0.8, 1))
            found.append(
                dict(
                    image_id=image,
                    category_id=category,
                    bbox=[float(value) for value in box],
                    score=score,
                )
            )
    return found


def trainings(labelled: Labelled, args: argparse.Namespace, spread: float) -> list[list]:
    """Both kinds, matched: the second places boxes a little better."""
    rng, categories = np.random.default_rng(args.seed), sorted(labelled.chosen(None))
    kinds = []
    for place, noise in enumerate((0.062, 0.058)):
        kinds.append([])
        for number in range(args.trainings):
            own = 1000 * (place + 1) + number
            dts = training(labelled, args.seed, own, noise + spread * rng.normal())
            evaluation = BoxEval(labelled.gts, dts, len(labelled.names), categories, 100, 4.0)
            kinds[-1].append(ResampledAP(evaluation))
    return kinds


def held(
    kinds: Sequence[Sequence[ResampledAP]], truth: np.ndarray, seeds: int, args: argparse.Namespace
) -> Iterator[tuple[bool, bool, float, float]]:
    """Of each sample: which intervals hold the truth, and how wide they are.

    ``truth`` is that of each class; the mean is over the classes that the sample holds.
    """
    rng = np.random.default_rng(args.seed + seeds)
    total = kinds[0][0].num_images
    for _ in range(args.samples):
        chosen = [[kind[k] for k in rng.permutation(len(kind))[:seeds]] for kind in kinds]
        sample = rng.multinomial(args.images, np.full(total, 1 / total))
        again = rng.multinomial(args.images, sample / args.images, args.draws)
        weights = np.concatenate([sample[None], again])
        values = np.array(
            [[curve.categories(weights)[:, 0, :, 0] for curve in kind] for kind in chosen]
        )
        values = np.where(np.isnan(values), values[:, :, :1], values)
        known = ~np.isnan(values[0, 0, 0])
        values, true = values[..., known], truth[known].mean()
        change = values[1] - values[0]  # (seeds, draws, categories)
        drawn = change[:, 1:].mean(axis=0)
        images = chosen[0][0].images_with_objects(sample)[0, :, :1]
        images = images[images[:, 0] > 0]
        freedom = degrees_of_freedom(drawn.var(axis=0)[None, None, :, None], images[None])[0, 0, 0]
        pairs, means = change[:, 0].mean(axis=1), drawn.mean(axis=1)
        found = [
            interval(pairs.mean(), means, freedom, 0.95),
            over_seeds(pairs, means, freedom, 0.95),
        ]
        inside = (one.low <= true <= one.high for one in found)
        yield (*inside, *(one.high - one.low for one in found))


def _main(args: argparse.Namespace) -> None:
    labelled = read_labels(args.ann, (640, 360))
    once = np.ones((1, len(labelled.names)), dtype=int)
    rows = []
    for spread in args.spread:
        kinds = trainings(labelled, args, spread)
        each = np.array([[c.categories(once)[0, 0, :, 0] for c in kind] for kind in kinds])
        truth = each[1].mean(axis=0) - each[0].mean(axis=0)
        for seeds in args.seeds:
            found = np.array(list(held(kinds, truth, seeds, args)))
            shares = [f'{100 * share:.0f} %' for share in found[:, :2].mean(axis=0)]
            widths = [f'± {50 * width:.2f}' for width in np.median(found[:, 2:], axis=0)]
            deviation = f'{100 * each.mean(axis=2).std(axis=1, ddof=1).mean():.2f}'
            rows.append([deviation, str(seeds), shares[0], widths[0], shares[1], widths[1]])
    print(f'{args.samples} samples of {args.images} images, {args.draws} draws each\n')
    header = ['deviation of seeds', 'seeds', 'images only', 'median', 'images and seeds', 'median']
    print(f'{next(iter(TITLES.values()))}, difference of the means over the seeds:\n')
    print(markdown_table(header, rows, 'rrrrrr'))


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmark; returns the exit status."""
    return finish(_main, parse_args(argv), 'seed_coverage.py')


if __name__ == '__main__':
    sys.exit(main())
