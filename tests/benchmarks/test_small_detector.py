"""The benchmark compares like with like, and reports what it timed."""

import pytest
import torch
from mmengine.registry import DefaultScope

from benchmarks import small_detector as bench


@pytest.fixture(scope='module')
def models():
    DefaultScope.get_instance('benchmark-test', scope_name='mmdet')
    with DefaultScope.overwrite_default_scope('mmdet'):
        return {
            'ours': bench.mmdet_detector(True),
            'theirs': bench.torchvision_detector(bench.TimmStages()),
            'mixed': bench.torchvision_detector(bench.OurStages()),
        }


def parameters(model, *parts):
    """Numbers of trainable values in the parts of a detector."""
    return {
        part: sum(
            p.numel()
            for name, p in model.named_parameters()
            if name.startswith(part) and p.requires_grad
        )
        for part in parts
    }


def test_both_frameworks_train_as_many_values(models):
    ours = parameters(models['ours'], 'backbone', 'neck', 'rpn_head', 'roi_head')
    for name in ('theirs', 'mixed'):
        theirs = parameters(models[name], 'backbone.body', 'backbone.fpn', 'rpn', 'roi_heads')
        assert list(theirs.values()) == list(ours.values()), name


def test_scenes_are_such_as_bdd100k_has():
    torch.manual_seed(0)
    images, boxes, labels = bench.scene(20)
    assert {tuple(image.shape) for image in images} == {(3, bench.HEIGHT, bench.WIDTH)}
    edge = torch.tensor([bench.WIDTH, bench.HEIGHT] * 2)
    every = torch.cat(boxes)
    assert (every >= 0).all() and (every <= edge).all() and len(every) == len(torch.cat(labels))
    sides = (every[:, 2:] - every[:, :2]).prod(1).sqrt()
    assert 11 < sides.median() < 17 and 10 <= len(every) / 20 <= 28


@pytest.mark.parametrize('name,call', [('ours', 'mmdet_call'), ('theirs', 'torchvision_call')])
def test_a_step_trains_and_an_inference_does_not(models, monkeypatch, name, call):
    monkeypatch.setattr(bench, 'WIDTH', 128)
    monkeypatch.setattr(bench, 'HEIGHT', 96)
    torch.manual_seed(0)
    model, data = models[name], bench.scene(1)
    for training in (False, True):
        model.train(training)
        before = [p.detach().clone() for p in model.parameters()]
        bench.step(model, getattr(bench, call)(model, data, training), training, False)()
        changed = [not torch.equal(a, b) for a, b in zip(before, model.parameters())]
        assert any(changed) == training
        wanted = [p.requires_grad for p in model.parameters()]
        assert not any(c and not w for c, w in zip(changed, wanted))


def test_the_report_divides_round_by_round():
    results = {
        bench.OURS: dict(seconds=[1.0, 2.0, 3.0], peak_mb=100.0),
        'torchvision': dict(seconds=[2.0, 4.0, 6.0], peak_mb=None),
    }
    lines = bench.report(results).splitlines()
    assert '1.00 (1.00-1.00)' in lines[2] and '2.00 (2.00-2.00)' in lines[3]
