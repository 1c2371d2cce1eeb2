"""mmdet's own interfaces in a Python session that never heard of mmclarity."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from PIL import Image

import mmclarity.detection  # noqa: F401

REPO = Path(__file__).resolve().parents[2]
PLAIN = "_base_ = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'\n"
OURS = (
    PLAIN
    + """custom_imports = dict(imports=['mmclarity.detection'], allow_failed_imports=False)
model = dict(roi_head=dict(type='RegionAttentionRoIHead', bbox_head=dict(
    type='RegionAttentionBBoxHead', attention=dict(type='RegionLambda'))))
"""
)
SESSION = """
import sys
assert 'mmclarity' not in sys.modules
from mmdet.apis import DetInferencer, inference_detector, init_detector
for config in sys.argv[2:]:
    weights = config.replace('.py', '.pth')
    model = init_detector(config, weights, device='cpu')
    found = inference_detector(model, sys.argv[1]).pred_instances
    assert found.bboxes.shape[1] == 4 and len(found) == len(found.scores)
    inferencer = DetInferencer(model=config, weights=weights, device='cpu', show_progress=False)
    said = inferencer(sys.argv[1])['predictions'][0]
    assert len(said['scores']) == len(found) > 0
    assert max(abs(a - b) for a, b in zip(said['scores'], found.scores.tolist())) < 1e-6
    print('same', len(found))
"""


def _saved(folder: Path, name: str, text: str) -> str:
    """A small detector with random weights, as a training saves config and checkpoint."""
    (folder / f'base_{name}.py').write_text(text)
    cfg = Config.fromfile(folder / f'base_{name}.py')
    cfg.model.backbone = dict(type='ResNet', depth=18, base_channels=8, norm_cfg=dict(type='BN'))
    cfg.model.neck.in_channels = [8, 16, 32, 64]
    cfg.model.test_cfg.rpn.update(nms_pre=100, max_per_img=20)
    cfg.model.test_cfg.rcnn.update(score_thr=0.0, max_per_img=10)
    path = folder / f'{name}.py'
    cfg.dump(path)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    meta = dict(dataset_meta=dict(classes=tuple(f'c{i}' for i in range(80)), palette='random'))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), path.with_suffix('.pth'))
    return str(path)


@pytest.mark.slow
def test_mmdets_interfaces_run_without_importing_mmclarity(tmp_path):
    environment = dict(os.environ, PYTHONPATH=str(REPO / 'projects'))
    ready = 'import sys; sys.exit("_mmclarity_startup" not in sys.modules)'
    if subprocess.run([sys.executable, '-c', ready], env=environment, check=False).returncode:
        pytest.skip('mmclarity is not installed in this environment (`make env` does it)')
    picture = tmp_path / 'a.png'
    pixels = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    Image.fromarray(pixels).save(picture)
    configs = [_saved(tmp_path, 'plain', PLAIN), _saved(tmp_path, 'ours', OURS)]
    done = subprocess.run(
        [sys.executable, '-c', SESSION, str(picture), *configs],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count('same 10') == 2
