"""A whole step of the small detector, beside torchvision's own Faster R-CNN.

    python benchmarks/small_detector.py --rounds 15

The same sizes on either side: EfficientNet-Lite0 trained from stride 8 on with fixed batch norm
statistics, a pyramid of 64 channels from stride 4 on, anchors, numbers of proposals and of sampled
regions, heads, image size, batch, AdamW, bfloat16 and channels-last where the processor has it.
Contenders run in turn on the same images (random grey levels; boxes of the sizes of BDD100K at
640x360), so that a change in the machine's load meets all of them; ratios are those of runs of the
same round. Weights are ImageNet's where they are installed, so that the RPN's proposals are many
and of all sizes, as in training.

- `torchvision`: its FasterRCNN on timm's network, as one would write it.
- `torchvision, our backbone`: the same on this package's backbone.
- `mmclarity`: configs/frcnn_bdd100k_fine.py. `mmclarity, mmdet's RPN`: with mmdet's own assigner
  and RPN head.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import TwoMLPHead
from torchvision.ops import MultiScaleRoIAlign

import mmclarity.detection  # noqa: F401  (makes mmdet importable)
from mmclarity.detection.backbones import EfficientNetLite0
from mmclarity.engine.config import load_config
from mmclarity.engine.hooks.precision import has_bfloat16_units, keep_float32
from mmclarity.utils.allocator import keep_freed_memory
from mmclarity.utils.efficientnet_lite import build_efficientnet_lite, imagenet_weights
from mmclarity.utils.files import write_text
from timing import (
    machine_line,
    measure,
    megabytes,
    milliseconds,
    quartiles,
    table,
)

CONFIG = 'configs/frcnn_bdd100k_fine.py'
HEIGHT, WIDTH, CLASSES = 360, 640, 10
OURS = 'mmclarity'


def pretrained() -> bool:
    """Whether the ImageNet weights are at hand."""
    try:
        return imagenet_weights().is_file()
    except ModuleNotFoundError:
        return False


class TimmStages(nn.Module):
    """timm's network as torchvision's tutorials take one: four stages, the first two frozen."""

    def __init__(self) -> None:
        super().__init__()
        network = build_efficientnet_lite(pretrained=pretrained())
        self.conv_stem, self.bn1, self.blocks = network.conv_stem, network.bn1, network.blocks
        for part in (self.conv_stem, self.bn1, self.blocks[:2]):
            part.requires_grad_(False)

    def train(self, mode: bool = True) -> TimmStages:
        """Batch norm keeps its statistics."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Images to maps of strides 4, 8, 16 and 32."""
        x = self.blocks[1](self.blocks[0](self.bn1(self.conv_stem(x))))
        maps = [x]
        for blocks in ((2,), (3, 4), (5, 6)):
            for block in blocks:
                x = self.blocks[block](x)
            maps.append(x)
        return {str(i): m for i, m in enumerate(maps)}


class OurStages(nn.Module):
    """This package's backbone for torchvision."""

    def __init__(self) -> None:
        super().__init__()
        self.network = EfficientNetLite0(pretrained=pretrained(), frozen_stages=1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """As :class:`TimmStages`."""
        return {str(i): m for i, m in enumerate(self.network(x))}


def torchvision_detector(stages: nn.Module) -> nn.Module:
    """Faster R-CNN with the numbers of the config."""
    names = ['0', '1', '2', '3']
    backbone = BackboneWithFPN(nn.Identity(), {}, [24, 40, 112, 320], 64)
    backbone.body = stages
    model = FasterRCNN(
        backbone,
        num_classes=None,
        min_size=HEIGHT,
        max_size=WIDTH,
        image_mean=[127 / 255] * 3,
        image_std=[128 / 255] * 3,
        rpn_anchor_generator=AnchorGenerator(
            tuple((12.8 * 2**i,) for i in range(5)), ((0.5, 1.0, 2.0),) * 5
        ),
        rpn_pre_nms_top_n_train=500,
        rpn_pre_nms_top_n_test=500,
        rpn_post_nms_top_n_train=500,
        rpn_post_nms_top_n_test=300,
        box_roi_pool=MultiScaleRoIAlign(names, 7, 1, canonical_scale=160, canonical_level=4),
        box_head=TwoMLPHead(64 * 49, 512),
        box_predictor=Predictor(),
        box_batch_size_per_image=128,
    )
    return model


class Predictor(nn.Module):
    """Scores and one box for all classes, as the config has it, in torchvision's form."""

    def __init__(self) -> None:
        super().__init__()
        self.names, self.boxes = nn.Linear(512, CLASSES + 1), nn.Linear(512, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 512) to (N, 11) and (N, 44)."""
        with torch.autocast('cpu', enabled=False):
            return self.names(x.float()), self.boxes(x.float()).repeat(1, CLASSES + 1)


def mmdet_detector(quick: bool) -> nn.Module:
    """The config's detector, or the same with mmdet's own RPN parts."""
    cfg = load_config(CONFIG).model
    cfg.backbone.pretrained = pretrained()
    if not quick:
        cfg.rpn_head.type = 'RPNHead'
        cfg.train_cfg.rpn.assigner.type = cfg.train_cfg.rcnn.assigner.type = 'MaxIoUAssigner'
    model = MODELS.build(cfg)
    model.init_weights()
    keep_float32(model)
    return model


def scene(batch: int) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Images (3, 360, 640) of 0..255, boxes (n, 4) and classes (n,) of each."""
    images, boxes, labels = [], [], []
    for _ in range(batch):
        count = int(torch.randint(10, 28, ()))
        size = (torch.randn(count, 2) * 0.8 + 2.66).exp().clamp(3, 200)  # median 14 px
        corner = torch.rand(count, 2) * (torch.tensor([WIDTH, HEIGHT]) - size)
        coarse = torch.rand(1, 3, 23, 40)
        image = nn.functional.interpolate(coarse, (HEIGHT, WIDTH), mode='bilinear')[0]
        images.append(((image + torch.rand_like(image) * 0.2) * 212).round())
        boxes.append(torch.cat([corner, corner + size], 1))
        labels.append(torch.randint(0, CLASSES, (count,)))
    return images, boxes, labels


def mmdet_call(model: nn.Module, data: tuple, training: bool) -> Callable[[], dict | list]:
    """One forward pass of mmdet's kind, preprocessing included."""

    def call() -> dict | list:
        samples = []
        for boxes, labels in zip(*data[1:], strict=True):
            sample = DetDataSample(
                metainfo=dict(
                    img_shape=(HEIGHT, WIDTH), ori_shape=(HEIGHT, WIDTH), scale_factor=(1.0, 1.0)
                )
            )
            sample.gt_instances = InstanceData(bboxes=boxes, labels=labels)
            samples.append(sample)
        batch = model.data_preprocessor(dict(inputs=list(data[0]), data_samples=samples), training)
        return model(**batch, mode='loss' if training else 'predict')

    return call


def torchvision_call(model: nn.Module, data: tuple, training: bool) -> Callable[[], dict | list]:
    """One forward pass of torchvision's kind."""

    def call() -> dict | list:
        targets = [
            dict(boxes=boxes, labels=labels + 1) for boxes, labels in zip(*data[1:], strict=True)
        ]
        images = [image / 255 for image in data[0]]
        return model(images, targets) if training else model(images)

    return call


def contenders(batch: int, training: bool, bfloat16: bool) -> dict[str, Callable[[], object]]:
    """A whole training step or inference of each."""
    data, calls = scene(batch), {}
    models = {
        OURS: (mmdet_detector(True), mmdet_call),
        "mmclarity, mmdet's RPN": (mmdet_detector(False), mmdet_call),
        'torchvision': (torchvision_detector(TimmStages()), torchvision_call),
        'torchvision, our backbone': (torchvision_detector(OurStages()), torchvision_call),
    }
    for name, (model, make) in models.items():
        model = model.to(memory_format=torch.channels_last).train(training)
        calls[name] = step(model, make(model, data, training), training, bfloat16)
    return calls


def step(model: nn.Module, call: Callable, training: bool, bfloat16: bool) -> Callable[[], None]:
    """Forward, and in training backward and AdamW."""
    wanted = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(wanted, lr=1e-6, fused=True)

    def run() -> None:
        with (
            torch.autocast('cpu', torch.bfloat16, enabled=bfloat16),
            torch.set_grad_enabled(training),
        ):
            found = call()
        if not training:
            return
        losses = [value for name, value in found.items() if 'loss' in name]
        total = sum(sum(v) if isinstance(v, list) else v for v in losses)
        optimizer.zero_grad()
        total.backward()
        nn.utils.clip_grad_norm_(wanted, 10.0)
        optimizer.step()

    return run


def report(results: dict[str, dict]) -> str:
    """Times, ratios to ours in the same round, and memory, as a table."""
    ours, rows = results[OURS]['seconds'], []
    for name, result in results.items():
        ratios = [a / b for a, b in zip(result['seconds'], ours, strict=True)]
        low, median, high = quartiles(ratios)
        rows.append(
            [
                name,
                milliseconds(result['seconds']),
                f'{median:.2f} ({low:.2f}-{high:.2f})',
                megabytes(result['peak_mb']),
            ]
        )
    return table(['', 'ms', 'times ours', 'peak MB'], rows)


def main(argv: list[str] | None = None) -> None:
    """Run both parts and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--rounds', type=int, default=9)
    parser.add_argument('--batch', type=int, default=4)
    parser.add_argument('--threads', type=int, help='of torch')
    parser.add_argument('--json', type=Path, help='write all times to this file')
    args = parser.parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    keep_freed_memory()
    MMLogger.get_instance('mmengine', log_level='ERROR')
    DefaultScope.get_instance('benchmark', scope_name='mmdet')
    bfloat16, device = has_bfloat16_units(), torch.device('cpu')
    print(
        f'{machine_line(device)}, {"bfloat16" if bfloat16 else "float32"}, '
        f'{args.batch} images of {WIDTH}x{HEIGHT}'
    )
    everything = {}
    for part, training in (('training step', True), ('inference', False)):
        torch.manual_seed(0)
        results = measure(contenders(args.batch, training, bfloat16), args.rounds, device)
        print(f'\n{part}\n\n{report(results)}', flush=True)
        everything[part] = results
    if args.json:
        write_text(args.json, json.dumps(everything, indent=1))


if __name__ == '__main__':
    main()
