"""Which particles are wrong, and whether the doubted ones are those."""

import numpy as np

from mmclarity.restoration.evaluation.doubt import judge_doubt, wrong_particles
from mmclarity.restoration.evaluation.particles import detect_particles


def picture(places):
    y, x = np.indices((160, 160))
    image = np.full((160, 160), 0.2)
    for row, column in places:
        image += 0.4 * (np.hypot(y - row, x - column) < 6)
    return image


def test_only_what_the_reference_lacks_is_wrong():
    real, made_up = [(40, 40), (40, 110)], (110, 70)
    reference, restored = picture(real), picture([*real, made_up])
    particles = detect_particles(restored)[:3]
    wrong = wrong_particles(particles, restored, reference)
    assert wrong.sum() == 1 and np.allclose(particles[wrong][0, :2], made_up, atol=1)
    assert not wrong_particles(detect_particles(reference), reference, reference).any()


def test_counts_of_doubt():
    restored, reference = picture([(40, 40), (110, 70)]), picture([(40, 40)])
    lower = judge_doubt(restored, reference, lambda found: found[:, 0] > 80)
    nothing = judge_doubt(restored, reference, lambda found: np.zeros(len(found), bool))
    assert lower[2] == lower[1] == nothing[1] >= 1 and nothing[0] == nothing[2] == 0


def test_report_takes_restored_folders_and_writes_the_page(tmp_path, monkeypatch):
    import sys
    from pathlib import Path

    import pytest

    from mmclarity.errors import UsageError
    from mmclarity.utils.tables import replace_part

    tools = Path(__file__).resolve().parents[3] / 'tools/analysis_tools'
    monkeypatch.setattr(sys, 'path', [str(tools), *sys.path])
    import restoration_report as tool

    pairs = [(np.full((9, 9), i / 9), np.zeros((9, 9))) for i in range(2)]
    tool.export(pairs, tmp_path / 'low')
    folder = tool.Folder(tmp_path / 'low')
    assert all((folder(low) == low).all() for low, _ in pairs)
    with pytest.raises(UsageError, match='fewer'):
        folder(pairs[0][0])
    with pytest.raises(UsageError, match='its noisy image'):
        tool.Folder(tmp_path / 'low')(np.zeros((8, 9)))
    page = tmp_path / 'page.md'
    page.write_text('a\n<!-- table: begin -->\nold\n<!-- table: end -->\nb\n')
    replace_part(page, 'table', '| new |')
    assert page.read_text() == ('a\n<!-- table: begin -->\n\n| new |\n\n<!-- table: end -->\nb\n')
    page.write_text('nothing')
    with pytest.raises(UsageError, match='add them'):
        replace_part(page, 'table', '')
