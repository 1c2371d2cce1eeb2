"""Fit the rule that marks doubtful particles, and judge it on other pairs.

    python tools/fit_doubts.py --data DATA

Every pair of a quick and a slow scan (DATA/sem_pairs/low and high) is restored by the general
network; of each particle it is found what speaks against it (see inference/doubts.py) and, by the
slow scan, whether it is wrong. Pairs 006-035 fit a logistic regression and the chance from which a
particle is marked: the lowest of which half of the marked particles are wrong, judged on fields
that the regression did not see (ten parts). Pairs 036-050 are used once, at the end, for the table.

Written are OUT/evidence.npz (used again by --evidence), OUT/doubts.md, and OUT/doubts.json, or with
--ship the file of the package, general/doubts.json. Run it again whenever the network changes.
Some five minutes on one core.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmclarity.cli.main import finish
from mmclarity.errors import DataError
from mmclarity.utils.files import replacing, write_text
from mmclarity.utils.tables import markdown_table, replace_part

FIT, JUDGE = range(6, 36), range(36, 51)
FLOORS = (0.01, 0.02, 0.03, 0.05)  # least strengths of the particles that are judged
RECALLS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.8)
PARTS = 10
HALF = 0.5  # of the marked ones, wrong


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--data', type=Path, required=True, help='folder that holds sem_pairs')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/fit_doubts'))
    parser.add_argument('--evidence', type=Path, help='evidence.npz of an earlier run')
    parser.add_argument('--ship', action='store_true', help='replace the rule of the package')
    parser.add_argument('--page', type=Path, help='Markdown page: its table of doubts is replaced')
    return parser.parse_args(argv)


def gather(data: Path) -> dict[str, np.ndarray]:
    """Evidence, strength, truth and pair of every particle."""
    from mmclarity.restoration import Restorer
    from mmclarity.restoration.datasets import SEMFolderDataset
    from mmclarity.restoration.evaluation.doubt import wrong_particles
    from mmclarity.restoration.evaluation.fabrication import inside
    from mmclarity.restoration.general.appraisal import appraise

    restorer = Restorer()
    rows: list[tuple[np.ndarray, ...]] = []
    for number in [*FIT, *JUDGE]:
        source = dict(gt='sem_pairs/high', img='sem_pairs/low', include=f'{number:03d}')
        pair = SEMFolderDataset([source], str(data))[0]
        noisy, reference = (pair[key][..., 0] / np.float32(255) for key in ('img', 'gt'))
        like = appraise(noisy)
        found = restorer.with_doubts(noisy, data_range=1.0)
        restored, reference = (
            image * np.float32(like.gain) + np.float32(like.offset)
            for image in (found.restored, reference)
        )
        kept = inside(found.particles, noisy.shape)
        particles, evidence = found.particles[kept], found.evidence[kept]
        wrong = wrong_particles(particles, restored, reference)
        rows.append((evidence, particles[:, 3], wrong, np.full(len(particles), number)))
        print(f'{number:03d}: {len(particles)} particles, {wrong.sum()} wrong', flush=True)
    names = ('evidence', 'strength', 'wrong', 'pair')
    return {name: np.concatenate(part) for name, part in zip(names, zip(*rows))}


def fit(found: dict[str, np.ndarray]) -> tuple[dict, np.ndarray]:
    """The rule, and the chance of every particle it was fitted to by rules that did not see it."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    evidence, wrong = found['evidence'], found['wrong'].astype(int)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    chance = cross_val_predict(
        model, evidence, wrong, groups=found['pair'], cv=GroupKFold(PARTS), method='predict_proba'
    )[:, 1]
    model.fit(evidence, wrong)
    scaler, regression = model[0], model[1]
    weights = regression.coef_[0] / scaler.scale_
    intercept = regression.intercept_[0] - weights @ scaler.mean_
    rule = dict(
        weights=[round(float(weight), 6) for weight in weights],
        intercept=round(float(intercept), 6),
        mark=round(lowest_mark(chance, wrong), 4),
        columns=['log strength / noise', 'log radius', 'share left', 'log around / strength'],
    )
    return rule, chance


def lowest_mark(chance: np.ndarray, wrong: np.ndarray) -> float:
    """The lowest chance such that half of the particles from there on are wrong."""
    order = np.argsort(-chance)
    share = np.cumsum(wrong[order]) / np.arange(1, len(order) + 1)
    enough = np.flatnonzero(share >= HALF)
    if not len(enough):
        raise DataError('at no chance are half of the particles wrong: more pairs are needed')
    return float(chance[order[enough[-1]]])


def at_recall(chance: np.ndarray, wrong: np.ndarray, recall: float) -> float:
    """Share of the marked ones that are wrong when so many of the wrong ones are marked."""
    order = np.argsort(-chance)
    hits = np.cumsum(wrong[order])
    index = int(np.searchsorted(hits, np.ceil(recall * hits[-1])))
    return hits[index] / (index + 1)


def tables(
    found: dict[str, np.ndarray], chance: np.ndarray, mark: float, pictures: int
) -> tuple[list[list[str]], list[str]]:
    """Rows of the marks at each least strength, and the curve of all particles."""
    rows = []
    for floor in FLOORS:
        strong = found['strength'] >= floor
        wrong, marked = found['wrong'][strong], chance[strong] >= mark
        both = (wrong & marked).sum()
        rows.append(
            [
                f'{floor:g}',
                f'{strong.sum() / pictures:.0f}',
                f'{wrong.sum() / pictures:.1f}',
                f'{marked.sum() / pictures:.1f}',
                f'{100 * both / max(marked.sum(), 1):.0f} %',
                f'{100 * both / max(wrong.sum(), 1):.0f} %',
            ]
        )
    return rows, [f'{100 * at_recall(chance, found["wrong"], r):.0f} %' for r in RECALLS]


def report(found: dict[str, np.ndarray], rule: dict, seen: np.ndarray) -> str:
    """The Markdown of both tables."""
    from mmclarity.restoration.inference.doubts import DoubtRule

    fitted = np.isin(found['pair'], FIT)
    judged = {name: value[~fitted] for name, value in found.items()}
    fields = {name: value[fitted] for name, value in found.items()}
    shipped = DoubtRule(tuple(rule['weights']), rule['intercept'], rule['mark'])
    rows, curve = tables(judged, shipped.chance(judged['evidence']), rule['mark'], len(JUDGE))
    before, before_curve = tables(fields, seen, rule['mark'], len(FIT))
    head = ['least strength', 'particles a picture', 'wrong', 'marked', 'of the marked, wrong']
    head.append('of the wrong, marked')
    marks = [['036-050', *row] for row in rows] + [['006-035', *row] for row in before]
    recalls = ['pairs', *(f'{100 * recall:.0f} %' for recall in RECALLS)]
    return (
        markdown_table(['pairs', *head], marks)
        + '\n\nOf the marked ones, so many are wrong when the mark is moved until this share of '
        'the wrong ones is marked:\n\n'
        + markdown_table(recalls, [['036-050', *curve], ['006-035', *before_curve]])
    )


def run(args: argparse.Namespace) -> None:
    """Gathers, fits, judges and writes."""
    from mmclarity.restoration.general.weights import WEIGHTS
    from mmclarity.restoration.inference.doubts import RULE

    if args.evidence:
        found = dict(np.load(args.evidence))
    else:
        found = gather(args.data)
        args.out.mkdir(parents=True, exist_ok=True)
        with replacing(args.out / 'evidence.npz') as part, part.open('wb') as file:
            np.savez_compressed(file, **found)
    fitted = np.isin(found['pair'], FIT)
    rule, seen = fit({name: value[fitted] for name, value in found.items()})
    rule['network'] = hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()[:16]
    rule['made_by'] = (
        f'tools/fit_doubts.py on sem_pairs 006-035: {int(fitted.sum())} particles, '
        f'{int(found["wrong"][fitted].sum())} of them wrong'
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
