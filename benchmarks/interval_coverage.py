"""How often do the intervals of compare_detections.py hold the truth?

    python benchmarks/interval_coverage.py --ann LABELS --images 500 \\
        --results A.bbox.json B.bbox.json      # without: two simulated detectors

The labelled images are the world: their AP is the truth. Samples of so many images are drawn from
them, with replacement; each gives a value, a difference, and their intervals of 95 % from bootstrap
draws of its own. The tables tell the share of the intervals that hold the truth, and beside it that
of the basic interval (the percentiles mirrored at the value), in which a class that a draw lacks
drops out of the mean. The mean is over the classes that the sample holds, and so is its truth; for
the basic interval the truth is the mean over all, as it was read.

Simulated detectors find large and common objects more often, place the box with noise, score it by
how clear it is, misname some, and see things. The second places them a little better.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from mmclarity.cli.main import finish
from mmclarity.detection.evaluation.coco_eval import BoxEval
from mmclarity.detection.evaluation.comparison import TITLES
from mmclarity.detection.evaluation.intervals import degrees_of_freedom, interval
from mmclarity.detection.evaluation.label_files import Labelled, read_labels, read_results
from mmclarity.detection.evaluation.resampled_ap import NUMBERS, ResampledAP, mean_of_known
from mmclarity.utils.tables import markdown_table

FEW = 10  # classes in fewer images, on average, are not counted among the single ones


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('--ann', required=True, metavar='LABELS', help='Scalabel file or folder, or COCO JSON')
    add('--results', nargs=2, metavar='FILE', help='of two detectors (default: simulated ones)')
    add('--images', type=int, default=500, help='in a sample (500)')
    add('--samples', type=int, default=300, help='how many (300)')
    add('--draws', type=int, default=400, help='bootstrap draws of each (400)')
    add('--seed', type=int, default=0, help='of everything (0)')
    add('--area-scale', type=float, default=4.0, help='see compare_detections.py (4)')
    return parser.parse_args(argv)


def simulated(labelled: Labelled, categories: Sequence[int], seed: int) -> list[list[dict]]:
    """Detections of two detectors that share most of their luck."""
    rng = np.random.default_rng(seed)
    number = max(categories) + 1
    counts = np.bincount([gt['category_id'] for gt in labelled.gts], minlength=number)
    common = counts > counts.sum() / 30
    murk = rng.normal(0, 0.7, len(labelled.names))
    found: list[list[dict]] = [[], []]
    for gt in labelled.gts:
        x, y, width, height = gt['bbox']
        side, category = (width * height) ** 0.5, gt['category_id']
        clear = 1.2 * np.log(side / 12) + murk[gt['image_id']] - 0.6 * (not common[category])
        seen, named, other = rng.random(), rng.random(), int(rng.choice(categories))
        shift, surprise = rng.normal(size=4), rng.normal()
        for place, noise in enumerate((0.062, 0.058)):
            if rng.random() < 0.15:
                shift, surprise = rng.normal(size=4), rng.normal()
            if seen > 1 / (1 + np.exp(-clear - 0.8)):
                continue
            box = np.array(gt['bbox']) + noise * (1 + 6 / side) * shift * np.tile(
                [width, height], 2
            )
            found[place].append(
                dict(
                    image_id=gt['image_id'],
                    category_id=category if named > (0.1 if common[category] else 0.35) else other,
                    bbox=[*box[:2].tolist(), *np.maximum(box[2:], 1).tolist()],
                    score=float(1 / (1 + np.exp(1 - clear - 0.8 * surprise))),
                )
            )
    chances = 0.7 * counts[list(categories)] / counts.sum() + 0.3 / len(categories)
    for image in range(len(labelled.names)):
        for _ in range(rng.poisson(10)):
            box = [*rng.uniform(0, (600, 330)), *np.exp(rng.uniform(1.5, 4, 2))]
            seen = dict(
                image_id=image,
                category_id=int(rng.choice(categories, p=chances)),
                bbox=[float(value) for value in box],
            )
            score = rng.beta(1, 5)
            for detections in found:
                if rng.random() < 0.8:
                    detections.append(dict(seen, score=float(score * rng.uniform(0.8, 1))))
    return found


def samples(
    curves: Sequence[ResampledAP], images: int, count: int, draws: int, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Values (detectors, categories, numbers), draws of them, and images that hold each."""
    rng = np.random.default_rng(seed)
    total = curves[0].num_images
    for _ in range(count):
        sample = rng.multinomial(images, np.full(total, 1 / total))
        weights = np.concatenate([sample[None], rng.multinomial(images, sample / images, draws)])
        values = np.stack([curve.categories(weights)[:, 0] for curve in curves])
        yield values[:, 0], values[:, 1:], curves[0].images_with_objects(sample)[0]


def basic(value: float, draws: np.ndarray, truth: float) -> bool:
    """Whether the basic interval (Davison and Hinkley 1997, eq. 5.6) holds the truth."""
    low, high = np.nanquantile(draws, [0.025, 0.975])
    return bool(2 * value - high <= truth <= 2 * value - low)


def held(
    values: np.ndarray,
    draws: np.ndarray,
    images: np.ndarray,
    truth: np.ndarray,
    moved: np.ndarray,
    biased: bool,
) -> Iterator[tuple[str, int, bool, bool]]:
    """What is asked, the number, whether the interval holds the truth, whether the basic one does.

    Args:
        values: (categories, numbers) of a detector, or of the difference of two.
        draws: (draws, categories, numbers).
        images: (categories, numbers): how many hold the category.
        truth: (categories, numbers).
        moved: (categories, numbers): where no draw moves anything, there is no interval.
        biased: Whether the value is that of one detector.
    """
    filled = np.where(np.isnan(draws), values, draws)
    freedom = degrees_of_freedom(np.nan_to_num(filled.var(axis=0))[None, None], images[None])[0]
    for number in range(len(NUMBERS)):
        value, draw, true = values[:, number], filled[:, :, number], truth[:, number]
        known = ~np.isnan(value)
        mean, mean_draws, mean_truth = (
            values[..., known].mean(axis=-1) for values in (value, draw, true)
        )
        found = interval(mean, mean_draws, freedom[0, number], 0.95, biased=biased)
        old = basic(mean, mean_of_known(draws[:, :, number], 1), np.nanmean(true))
        yield 'mean', number, found.low <= mean_truth <= found.high, old
        for place in np.flatnonzero(known & moved[:, number] & (images[:, number] > 0)):
            degrees = freedom[1 + place, number]
            found = interval(value[place], draw[:, place], degrees, 0.95, biased=biased)
            old = basic(value[place], draws[:, place, number], true[place])
            yield str(place), number, found.low <= true[place] <= found.high, old


def _main(args: argparse.Namespace) -> None:
    labelled = read_labels(args.ann, (640, 360))
    names = labelled.chosen(None)
    categories = sorted(names)
    if args.results:
        found = [read_results(file, labelled) for file in args.results]
    else:
        found = simulated(labelled, categories, args.seed)
    total = len(labelled.names)
    curves = [
        ResampledAP(BoxEval(labelled.gts, dts, total, categories, 100, args.area_scale))
        for dts in found
    ]
    once = np.ones((1, total), dtype=int)
    truth = np.stack([curve.categories(once)[0, 0] for curve in curves])
    shares, holding = defaultdict(list), []
    drawn = samples(curves, args.images, args.samples, args.draws, args.seed + 1)
    for values, draws, images in drawn:
        holding.append(images[:, 0])
        moved = np.nanmax(draws, axis=1, initial=0) > np.nanmin(draws, axis=1, initial=1)
        first = values[0], draws[0], truth[0], moved[0]
        difference = *(two - one for one, two in (values, draws, truth)), moved.any(axis=0)
        for what, (value, drawn_ones, true, moves) in (
            ('value', first),
            ('difference', difference),
        ):
            intervals = held(value, drawn_ones, images, true, moves, biased=what == 'value')
            for row, number, new, old in intervals:
                shares[what, row, number].append((new, old))
    report(shares, np.mean(holding, axis=0), [names[k] for k in categories], args)


def report(
    shares: dict[tuple, list], holding: np.ndarray, names: Sequence[str], args: argparse.Namespace
) -> None:
    """Prints the tables."""

    def percent(what: str, row: str, number: int) -> list[str]:
        new, old = 100 * np.mean(shares[what, row, number], axis=0)
        return [f'{old:.0f} %', f'{new:.0f} %']

    print(f'{args.samples} samples of {args.images} images, {args.draws} draws each\n')
    header = ['', 'one detector: basic', 'now', 'difference: basic', 'now']
    rows = []
    for number, title in enumerate(TITLES.values()):
        cells = [percent(what, 'mean', number) for what in ('value', 'difference')]
        rows.append([f'{title}, mean of the classes', *cells[0], *cells[1]])
    for place in np.argsort(-holding):
        if ('value', str(place), 0) in shares:
            rows.append([
                f'AP of {names[place]} (in {holding[place]:.0f} images)',
                *percent('value', str(place), 0),
                *percent('difference', str(place), 0),
            ])  # fmt: skip
    for kind, number in (('AP', 0), ('AP75', 2)):
        often = [str(k) for k in np.flatnonzero(holding >= FEW)]
        often = [k for k in often if ('value', k, number) in shares]
        if not often:
            continue
        cells = []
        for what in ('value', 'difference'):
            both = np.array([np.mean(shares[what, k, number], axis=0) for k in often])
            cells += [f'{100 * both[:, i].mean():.0f} %' for i in (1, 0)]
        rows.append([f'{kind} of classes in {FEW} images or more, on average', *cells])
    print(markdown_table(header, rows, 'lrrrr'))


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmark; returns the exit status."""
    return finish(_main, parse_args(argv), 'interval_coverage.py')


if __name__ == '__main__':
    sys.exit(main())
