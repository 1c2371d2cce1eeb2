"""The benchmark of whole detectors: what is compared is alike, and the page is of its results."""

import json

import detector_speed as bench
import pytest
import torch

from tests.docs.guides import ROOT

RESULTS = ROOT / 'docs/benchmarks/results/cost_gpu.json'
PAGE = ROOT / 'docs/benchmarks/cost.md'


@pytest.mark.slow
def test_heads_share_a_trunk_and_find_as_trained_ones_do(monkeypatch):
    few = {name: bench.HEADS[name] for name in ('plain', 'two looks')}
    monkeypatch.setattr(bench, 'HEADS', few)
    device = torch.device('cpu')
    models = bench.detectors(device, 30)
    plain, ours = (model.state_dict() for model in models.values())
    for name in plain:
        if not name.startswith('roi_head.'):
            assert torch.equal(plain[name], ours[name]), name
    assert not models['two looks'].roi_head.bbox_head[1].attention
    data = torch.randn(1, 3, 96, 160), bench.samples_of(1, (96, 160), device)
    for model in models.values():
        outputs = []
        first = model.roi_head.bbox_head
        first = first[0] if isinstance(first, torch.nn.ModuleList) else first
        bench.calibrate(model, lambda m=model: bench.inference(m, data, torch.float32))
        first.fc_cls.register_forward_hook(lambda *call, seen=outputs: seen.append(call[2]))
        bench.inference(model, data, torch.float32)
        share = (outputs[0].softmax(1)[:, :-1] > 0.05).float().mean()
        assert 0.003 < share < 0.04
        before = [p.detach().clone() for p in model.parameters()]
        optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
        bench.step(model, optimizer, data, torch.float32)
        assert all(torch.equal(a, b) for a, b in zip(before, model.parameters()))


def test_the_detectors_that_ship_are_timed():
    arguments = ['--device', 'cpu', '--quick', '--part', 'small', '--batch', '1', '--rounds', '1']
    args = bench.parse_args([*arguments, '--dtype', 'float32'])
    kinds = bench.measured(args)['small']['kinds']
    assert list(kinds) == ['1, float32']
    for rows in kinds.values():
        assert list(rows) == ['plain', 'two_looks', 'context']
        assert rows['plain']['ratio'] == [1, 1, 1]
        for row in rows.values():
            assert row['rounds'] == 1 and row['ms'][1] > 0


def test_ratios_are_of_the_same_round():
    seconds = dict(plain=[1.0, 2.0, 4.0], lambda_=[2.0, 2.0, 4.0])
    found = bench.summary({k: dict(seconds=v, peak_mb=None) for k, v in seconds.items()})
    assert found['lambda_']['ratio'] == [1, 1, 1.5] and found['lambda_']['ms'][1] == 2000


def test_every_round_begins_with_another():
    order = []
    runs = {name: lambda name=name: order.append(name) for name in 'abc'}
    bench.measure(runs, 3, torch.device('cpu'), rotated=True)
    assert ''.join(order[6:]) == 'abcbcacab'


def test_the_page_has_the_kept_results(tmp_path):
    page = tmp_path / 'cost.md'
    page.write_text('<!-- gpu: begin -->\nold\n<!-- gpu: end -->\nrest\n')
    bench.main(['--json', str(RESULTS), '--page', str(page)])
    text = page.read_text()
    assert 'old' not in text and text.endswith('-->\nrest\n')
    whole = PAGE.read_text(encoding='utf-8')
    assert text.removesuffix('rest\n') in whole
    results = json.loads(RESULTS.read_text(encoding='utf-8'))
    ratio = results['heads']['kinds']['step, bfloat16']['two looks']['ratio'][1]
    assert f'| two looks | {ratio:.2f} (' in text


def test_a_page_without_marks_or_results_is_refused(tmp_path):
    page = tmp_path / 'page.md'
    page.write_text('nothing\n')
    with pytest.raises(SystemExit, match='has no lines'):
        bench.main(['--json', str(RESULTS), '--page', str(page)])
    with pytest.raises(SystemExit):
        bench.main(['--page', str(page)])
