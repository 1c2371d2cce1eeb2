"""Detectors to export, which have not learnt anything."""

import torch
from mmdet.registry import MODELS
from mmengine.registry import DefaultScope

from mmclarity.detection.datasets.scalabel import CLASSES
from mmclarity.engine.config import load_config


def build(change=None, config='configs/frcnn_murky.py'):
    """A detector of random weights that finds something, as init_detector would give it."""
    torch.manual_seed(0)
    cfg = load_config(config)
    if change is not None:
        change(cfg.model)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(cfg.model).eval()
    heads = model.roi_head.bbox_head
    for head in heads if isinstance(heads, torch.nn.ModuleList) else [heads]:
        torch.nn.init.normal_(head.fc_cls.weight, std=0.1)
        torch.nn.init.normal_(head.fc_reg.weight, std=0.05)
        for layer in getattr(head, 'attention', {}).values():
            torch.nn.init.normal_(layer.out_proj.weight, std=0.02)
    model.cfg, model.dataset_meta = cfg, dict(classes=CLASSES)
    return model
