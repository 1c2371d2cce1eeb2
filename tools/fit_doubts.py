"""Fit the rule that marks doubtful particles, and judge it on other pairs.

    python tools/fit_doubts.py --data DATA

Pictures are restored by the general network; of each particle it is found what speaks against it
(see inference/doubts.py) and whether it is wrong. Pairs 006-035 of a quick and a slow scan
(DATA/sem_pairs/low and high) fit a logistic regression. A particle is marked from the lowest
chance on from which half of the marked particles are wrong, of these pairs (judged by regressions
that did not see the field, ten parts) and of clean pictures made worse at every level of noise
(--simulated of them); where there is no such chance, none is. Pairs 036-050 are used once, at the
end, for the table.

Written are OUT/evidence.npz (used again by --evidence), OUT/doubts.md, and OUT/doubts.json, or with
--ship the file of the package, general/doubts.json. Run it again whenever the network changes.
Some twelve minutes on one core.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmclarity.cli.main import finish
from mmclarity.utils.files import replacing, write_text
from mmclarity.utils.tables import markdown_table, replace_part

if TYPE_CHECKING:
    from mmclarity.restoration import Restorer

FIT, JUDGE = range(6, 36), range(36, 51)
FLOORS = (0.01, 0.02, 0.03, 0.05)  # least strengths of the particles that are judged
RECALLS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.8)
PARTS = 10
HALF = 0.5  # of the marked ones, wrong
FEW = 10  # marked particles, of which a share says nothing
NEVER = 1.1  # a mark that no chance reaches
# Noise of the simulated pictures, in units of the contrast; and their side.
NOISE, SIDE, SEED = (0.02, 0.35), 320, 77
SIMULATED = 1000  # their numbers, in the place of a pair's, start here


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--data', type=Path, required=True, help='folder that holds sem_pairs')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/fit_doubts'))
    parser.add_argument('--simulated', type=int, default=150, help='pictures, beside the pairs')
    parser.add_argument('--evidence', type=Path, help='evidence.npz of an earlier run')
    parser.add_argument('--ship', action='store_true', help='replace the rule of the package')
    parser.add_argument('--page', type=Path, help='Markdown page: its table of doubts is replaced')
    return parser.parse_args(argv)


Row = tuple[np.ndarray, ...]


def gather(data: Path, simulated: int) -> dict[str, np.ndarray]:
    """Evidence, strength, truth and number of the picture of every particle."""
    from mmclarity.restoration import Restorer
    from mmclarity.restoration.datasets import SEMFolderDataset
    from mmclarity.restoration.inference.doubts import BOLDER

    restorers = Restorer(), Restorer(strength=BOLDER)
    rows: list[Row] = []
    for number in [*FIT, *JUDGE]:
        source = dict(gt='sem_pairs/high', img='sem_pairs/low', include=f'{number:03d}')
        pair = SEMFolderDataset([source], str(data))[0]
        noisy, reference = (pair[key][..., 0] / np.float32(255) for key in ('img', 'gt'))
        rows.append(judged(restorers, noisy, reference, number))
    for number, (noisy, reference) in enumerate(made_worse(data, simulated), SIMULATED):
        rows.append(judged(restorers, noisy, reference, number))
    names = ('evidence', 'strength', 'wrong', 'pair', 'noise')
    return {name: np.concatenate(part) for name, part in zip(names, zip(*rows))}


def judged(
    restorers: tuple[Restorer, Restorer], noisy: np.ndarray, reference: np.ndarray, number: int
) -> Row:
    """The particles of one picture; levels in [0, 1]."""
    from mmclarity.restoration.evaluation.doubt import wrong_particles
    from mmclarity.restoration.evaluation.fabrication import inside
    from mmclarity.restoration.evaluation.particles import detect_particles
    from mmclarity.restoration.general.appraising import appraise
    from mmclarity.restoration.inference.doubts import particle_evidence

    like = appraise(noisy)
    answers = (restorer(noisy, data_range=1.0) for restorer in restorers)
    noisy, reference, restored, bolder = (
        np.asarray(image, np.float32) * np.float32(like.gain) + np.float32(like.offset)
        for image in (noisy, reference, *answers)
    )
    particles = detect_particles(restored)
    particles = particles[inside(particles, restored.shape)]
    evidence = particle_evidence(noisy, restored, bolder, particles)
    wrong = wrong_particles(particles, restored, reference)
    print(f'{number:03d}: {len(particles)} particles, {wrong.sum()} wrong', flush=True)
    alike = (np.full(len(particles), value) for value in (number, like.sigma))
    return evidence, particles[:, 3], wrong, *alike


def made_worse(data: Path, count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Noisy and clean pictures (SIDE, SIDE) of training, but for those that the tool warns of."""
    from mmclarity.restoration.general.appraising import appraise
    from mmclarity.restoration.general.examples import ExampleBatches
    from mmclarity.restoration.general.patches import Ranges

    low, high = NOISE
    ranges = Ranges(
        NOISE, (low, 2 * low), (high / 2, high), impulses=(1e-5, 2e-5), contrast=(0.7, 1.0)
    )
    batches = ExampleBatches(data, 1, SIDE, SEED, 8, 20, 0, renewed=1.0, ranges=ranges)
    for noisy, clean, _ in batches:
        noisy, clean = (image[0, 0].numpy().clip(0, 1) for image in (noisy, clean))
        if not count:
            return
        if not appraise(noisy).warnings():
            count -= 1
            yield noisy, clean


def fit(found: dict[str, np.ndarray]) -> tuple[dict, np.ndarray]:
    """The rule, and the chance of every particle by rules that did not see it.

    Args:
        found: of the pairs that fit and of simulated pictures.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    fits = np.isin(found['pair'], FIT)
    evidence, wrong, pair = (found[key][fits] for key in ('evidence', 'wrong', 'pair'))
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    seen = cross_val_predict(
        model, evidence, wrong, groups=pair, cv=GroupKFold(PARTS), method='predict_proba'
    )[:, 1]
    model.fit(evidence, wrong)
    chance = model.predict_proba(found['evidence'])[:, 1]
    chance[fits] = seen
    scaler, regression = model[0], model[1]
    weights = regression.coef_[0] / scaler.scale_
    intercept = regression.intercept_[0] - weights @ scaler.mean_
    rule = dict(
        weights=[round(float(weight), 6) for weight in weights],
        intercept=round(float(intercept), 6),
        mark=round(lowest_mark(chance, found['wrong']), 4),
        columns=['log strength / noise', 'log radius', 'share left', 'log around / strength'],
    )
    return rule, chance


def lowest_mark(chance: np.ndarray, wrong: np.ndarray) -> float:
    """The lowest chance such that half of the particles from there on are wrong; NEVER without."""
    order = np.argsort(-chance)
    share = np.cumsum(wrong[order]) / np.arange(1, len(order) + 1)
    enough = np.flatnonzero(share >= HALF)
    if not len(enough) or enough[-1] + 1 < FEW:
        return NEVER
    return float(chance[order[enough[-1]]])


def at_recall(chance: np.ndarray, wrong: np.ndarray, recall: float) -> float:
    """Share of the marked ones that are wrong when so many of the wrong ones are marked."""
    order = np.argsort(-chance)
    hits = np.cumsum(wrong[order])
    index = int(np.searchsorted(hits, np.ceil(recall * hits[-1])))
    return hits[index] / (index + 1)


def tables(found: dict[str, np.ndarray], chance: np.ndarray, mark: float) -> list[list[str]]:
    """Rows of the marks at each least strength."""
    rows, pictures = [], len(np.unique(found['pair']))
    for floor in FLOORS:
        strong = found['strength'] >= floor
        wrong, marked = found['wrong'][strong], chance[strong] >= mark
        both = (wrong & marked).sum()
        counts = [wrong.sum(), chance[strong].sum(), marked.sum(), (wrong & ~marked).sum()]
        rows.append(
            [
                f'{floor:g}',
                f'{strong.sum() / pictures:.0f}',
                *(f'{count / pictures:.1f}' for count in counts),
                f'{100 * both / marked.sum():.0f} %' if marked.any() else '',
                f'{100 * both / max(wrong.sum(), 1):.0f} %',
            ]
        )
    return rows


def parts_of(found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Which particles belong to each row of the tables, (K,) bool each."""
    pair, noise = found['pair'], found['noise']
    parts = {'036-050': np.isin(pair, JUDGE), '006-035': np.isin(pair, FIT)}
    levels = (0, 0.06, 0.12, 0.2, np.inf)
    for low, high in zip(levels, levels[1:]):
        name = f'simulated, noise above {100 * low:.0f} %'
        parts[name] = (pair >= SIMULATED) & (noise >= low) & (noise < high)
    return {name: part for name, part in parts.items() if part.any()}


def report(found: dict[str, np.ndarray], rule: dict, seen: np.ndarray) -> str:
    """The Markdown of both tables."""
    from mmclarity.restoration.inference.doubts import DoubtRule

    shipped = DoubtRule(tuple(rule['weights']), rule['intercept'], rule['mark'])
    chance = shipped.chance(found['evidence'])
    chance[~np.isin(found['pair'], JUDGE)] = seen
    head = ['pictures', 'least strength', 'particles a picture', 'wrong', 'wrong, expected']
    head += ['marked', 'wrong, not marked', 'of the marked, wrong', 'of the wrong, marked']
    marks, curves = [], []
    for name, part in parts_of(found).items():
        of_part = {key: value[part] for key, value in found.items()}
        marks += [[name, *row] for row in tables(of_part, chance[part], rule['mark'])]
        shares = (at_recall(chance[part], of_part['wrong'], recall) for recall in RECALLS)
        curves.append([name, *(f'{100 * share:.0f} %' for share in shares)])
    recalls = ['pictures', *(f'{100 * recall:.0f} %' for recall in RECALLS)]
    return (
        markdown_table(head, marks)
        + '\n\nOf the marked ones, so many are wrong when the mark is moved until this share of '
        'the wrong ones is marked:\n\n' + markdown_table(recalls, curves)
    )


def run(args: argparse.Namespace) -> None:
    """Gathers, fits, judges and writes."""
    from mmclarity.restoration.general.weights import WEIGHTS
    from mmclarity.restoration.inference.doubts import RULE

    if args.evidence:
        found = dict(np.load(args.evidence))
    else:
        found = gather(args.data, args.simulated)
        args.out.mkdir(parents=True, exist_ok=True)
        with replacing(args.out / 'evidence.npz') as part, part.open('wb') as file:
            np.savez_compressed(file, **found)
    fitted = ~np.isin(found['pair'], JUDGE)
    rule, seen = fit({name: value[fitted] for name, value in found.items()})
    rule['network'] = hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()[:16]
    fits = np.isin(found['pair'], FIT)
    rule['made_by'] = (
        f'tools/fit_doubts.py on sem_pairs 006-035: {int(fits.sum())} particles, '
        f'{int(found["wrong"][fits].sum())} of them wrong'
    )
    text = report(found, rule, seen)
    print(text)
    write_text(args.out / 'doubts.md', text + '\n', parents=True)
    target = RULE if args.ship else args.out / 'doubts.json'
    write_text(target, json.dumps(rule, indent=1) + '\n')
    print(f'written: {target}')
    if args.page:
        replace_part(args.page, 'doubts', text)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns its exit status."""
    return finish(run, parse_args(argv), 'fit_doubts.py')


if __name__ == '__main__':
    sys.exit(main())
