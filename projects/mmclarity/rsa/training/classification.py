"""Training torchvision's classifiers with mmengine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseDataPreprocessor, BaseModel
from mmengine.registry import DATASETS, METRICS, MODELS
from torch import Tensor, nn
from torch.utils.data import Dataset

from ..models.networks import IMAGENET_MEAN, IMAGENET_STD


@MODELS.register_module()
class RGBPreprocessor(BaseDataPreprocessor):
    """Stacks 8-bit RGB images and normalises them.

    Args:
        mean, std: Of red, green and blue in [0, 1]. Default to ImageNet's.
    """

    # Read by networks.preprocessing: the network gets RGB, normalised.
    _channel_conversion, _enable_normalize = True, True

    def __init__(
        self, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD
    ) -> None:
        super().__init__()
        for name, values in (('mean', mean), ('std', std)):
            self.register_buffer(name, 255 * torch.tensor(values)[:, None, None], False)

    def forward(self, data: dict, training: bool = False) -> dict:
        """``inputs``: list of (3, H, W) uint8 to (N, 3, H, W) float32; ``labels`` to (N,)."""
        data = self.cast_data(data)
        images = torch.stack(list(data['inputs'])).float()
        labels = torch.as_tensor(data['labels'], device=images.device)
        return dict(inputs=(images - self.mean) / self.std, labels=labels)


@MODELS.register_module()
class SmallAlexNet(nn.Module):
    """AlexNet with torchvision's layer names, for small images and machines.

    The five convolutions and three fully connected layers of Krizhevsky's "One weird trick"
    (2014), narrower; the first convolution has stride 2, so that 64 x 64 pixels suffice.

    Args:
        num_classes: Defaults to 8.
        width: Factor on the channels (64, 192, 384, 256, 256). Defaults to 0.5.
        hidden: Width of the two hidden fully connected layers. Defaults to 256.
        dropout: Before each of these. Defaults to 0.5.
    """

    def __init__(
        self, num_classes: int = 8, width: float = 0.5, hidden: int = 256, dropout: float = 0.5
    ) -> None:
        super().__init__()
        c1, c2, c3, c4, c5 = (max(8, round(width * c)) for c in (64, 192, 384, 256, 256))
        self.features = nn.Sequential(
            nn.Conv2d(3, c1, 11, 2, 4),
            nn.ReLU(True),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(c1, c2, 5, 1, 2),
            nn.ReLU(True),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(c2, c3, 3, 1, 1),
            nn.ReLU(True),
            nn.Conv2d(c3, c4, 3, 1, 1),
            nn.ReLU(True),
            nn.Conv2d(c4, c5, 3, 1, 1),
            nn.ReLU(True),
            nn.MaxPool2d(3, 2),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(3)
        self.classifier = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(9 * c5, hidden),
            nn.ReLU(True),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(True),
            nn.Linear(hidden, num_classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W), H and W of at least 63, to scores (N, num_classes)."""
        return self.classifier(self.avgpool(self.features(images)).flatten(1))


@MODELS.register_module()
class TorchvisionClassifier(BaseModel):
    """A classifier and its cross entropy.

    Args:
        network: A name of ``torchvision.models`` ('alexnet'), or a config of a
            registered module.
        num_classes: Defaults to 1000.
        weights: Of torchvision, e.g. 'IMAGENET1K_V1'. Defaults to None: random.
        data_preprocessor: Defaults to :class:`RGBPreprocessor`.
        init_cfg: mmengine initialisation. Defaults to None: torchvision's own.

    Raises:
        ValueError: If torchvision has no such network.
    """

    def __init__(
        self,
        network: str | dict = 'alexnet',
        num_classes: int = 1000,
        weights: str | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor or dict(type='RGBPreprocessor'), init_cfg)
        if isinstance(network, str):
            from torchvision import models

            if network not in models.list_models(models):
                raise ValueError(
                    f'torchvision has no classifier {network!r}; it has '
                    f'{", ".join(models.list_models(models))}'
                )
            self.network = models.get_model(network, weights=weights, num_classes=num_classes)
        else:
            self.network = MODELS.build(dict(network, num_classes=num_classes))

    def forward(self, inputs: Tensor, labels: Tensor | None = None, mode: str = 'tensor') -> Any:
        """Scores ('tensor'), the loss ('loss') or scores and labels of each image ('predict')."""
        scores = self.network(inputs)
        if mode == 'loss':
            accuracy = 100 * (scores.argmax(1) == labels).float().mean()
            return dict(loss=F.cross_entropy(scores.float(), labels), top1=accuracy)
        if mode == 'predict' and labels is not None:
            return [dict(scores=s, label=label) for s, label in zip(scores.float(), labels)]
        return scores


@DATASETS.register_module()
class ImageFolderDataset(Dataset):
    """Images in one folder a class, as torchvision's ``ImageFolder`` reads them.

    In training a random part of 8 to 100 % of the image is scaled to ``crop_size`` and flipped at
    random; else the shorter side is scaled to ``resize`` and the centre cut out.

    Args:
        data_root: Folder of the data set.
        split: Folder in it that holds the folders of the classes. Defaults to ''.
        training: See above. Defaults to False.
        crop_size: Pixels. Defaults to 224.
        resize: Pixels. Defaults to 256.
        min_area: Least part of the image in training. Defaults to 0.08.

    Raises:
        FileNotFoundError: If there is no such folder, or no image in it.
    """

    def __init__(
        self,
        data_root: str,
        split: str = '',
        training: bool = False,
        crop_size: int = 224,
        resize: int = 256,
        min_area: float = 0.08,
    ) -> None:
        from torchvision import transforms
        from torchvision.datasets import ImageFolder

        root = Path(data_root).expanduser() / split
        if not root.is_dir():
            raise FileNotFoundError(
                f'{root}: there is no such folder; it must hold one folder of images a class'
            )
        scale = (
            [
                transforms.RandomResizedCrop(crop_size, (min_area, 1.0)),
                transforms.RandomHorizontalFlip(),
            ]
            if training
            else [transforms.Resize(resize), transforms.CenterCrop(crop_size)]
        )
        self.images = ImageFolder(str(root), transforms.Compose([*scale, transforms.PILToTensor()]))
        self.metainfo = dict(classes=tuple(self.images.classes))

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict:
        image, label = self.images[index]
        return dict(inputs=image, labels=label)


@METRICS.register_module()
class TopKAccuracy(BaseMetric):
    """Share of images, in per cent, whose class is among the k highest scores.

    Args:
        topk: Values of k. Defaults to (1, 5).
        kwargs: See mmengine's ``BaseMetric``.
    """

    default_prefix = 'accuracy'

    def __init__(self, topk: Sequence[int] = (1, 5), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not topk or min(topk) < 1:
            raise ValueError(f'topk must be positive numbers, got {topk}')
        self.topk = tuple(topk)

    def metric_names(self) -> list[str]:
        """What :meth:`compute_metrics` gives, without prefix."""
        return [f'top{k}' for k in self.topk]

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Rank of the right class of each image."""
        for sample in data_samples:
            scores, label = sample['scores'], int(sample['label'])
            self.results.append(int((scores > scores[label]).sum()))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """``top1``, ``top5``, ..."""
        return {
            f'top{k}': 100 * sum(rank < k for rank in results) / len(results) for k in self.topk
        }
