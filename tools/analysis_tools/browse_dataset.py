"""Pictures of what a config feeds its model: boxes drawn, or input and target side by side.

    python tools/analysis_tools/browse_dataset.py CONFIG --out browse --count 20

Detection sets are drawn by mmdet's visualizer, boxes on the picture as the model gets it, also
those that a test leaves as they are in the file; of restoration sets input and target stand side by
side; pictures of classes are named by theirs. Augmentation is as in training: the same seed gives
the same pictures.
"""

import argparse
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmclarity import compat

compat.install()

from mmengine.registry import DATASETS, VISUALIZERS, init_default_scope  # noqa: E402
from mmengine.runner import set_random_seed  # noqa: E402

from mmclarity.cli.main import finish, mistakes  # noqa: E402
from mmclarity.cli.options import ConfigOptions  # noqa: E402
from mmclarity.engine.config import datasets, load_config, resolve_data_roots  # noqa: E402
from mmclarity.errors import UsageError  # noqa: E402
from mmclarity.utils.files import write_bytes  # noqa: E402


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        prog='browse_dataset.py',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add('config', help='also looked for in the repository')
    add('--out', type=Path, default=Path('browse'), help='folder (default %(default)s)')
    add('--split', choices=['train', 'val', 'test'], default='train', help='(%(default)s)')
    add('--count', type=int, default=16, help='pictures, spread over the set (%(default)s)')
    add('--seed', type=int, default=0, help='of the augmentation (%(default)s)')
    add('--cfg-options', nargs='+', action=ConfigOptions, metavar='KEY=VALUE')
    args = parser.parse_args(argv)
    if args.count < 1:
        parser.error('--count must be 1 or more')
    return args


def browse(args: argparse.Namespace) -> None:
    """Build the data set and draw some of it."""
    cfg = load_config(args.config, args.cfg_options)
    key = f'{args.split}_dataloader'
    if not cfg.get(key):
        raise UsageError(f'{args.config} has no {key}')
    resolve_data_roots(cfg, (key,))
    with warnings.catch_warnings(), mistakes(ValueError, TypeError, KeyError):
        warnings.simplefilter('ignore')
        init_default_scope(cfg.get('default_scope') or 'mmengine')
        set_random_seed(args.seed)
        dataset = DATASETS.build(cfg[key].dataset)
    places = np.unique(np.linspace(0, len(dataset) - 1, args.count).round().astype(int))
    detection = cfg.get('default_scope') == 'mmdet'
    draw = _boxes(cfg, key, dataset) if detection else _pixels
    for place in places.tolist():
        data = dataset[place]
        name = f'{place:06d}_{_name(data, dataset)}.png'
        write_bytes(args.out / name, _png(draw(data)), parents=True)
    print(f'written: {len(places)} of {len(dataset)} into {args.out}/')


def _name(data: dict, dataset) -> str:
    if 'labels' in data:
        return str(dataset.metainfo['classes'][data['labels']])
    sample = data.get('data_samples')
    path = getattr(sample, 'img_path', None) or getattr(sample, 'gt_path', None) or 'image'
    return Path(path if isinstance(path, str) else path[0]).stem


def _boxes(cfg, key: str, dataset):
    """Draws a detection sample; returns a function from the sample to pixels (RGB)."""
    from mmdet.structures.bbox import get_box_tensor

    settings = cfg.get('visualizer') or dict(type='DetLocalVisualizer')
    visualizer = VISUALIZERS.build(dict(settings, vis_backends=None, name='browse'))
    visualizer.dataset_meta = dataset.metainfo
    left = any(_annotated_behind_resize(one.get('pipeline') or ()) for one in datasets(cfg, key))

    def draw(data: dict) -> np.ndarray:
        sample, image = data['data_samples'], data['inputs']
        if isinstance(image, list):
            raise UsageError(
                f'{key} gives maps of a trunk, no pictures: browse the config whose trunk it was'
            )
        if 'gt_instances' in sample:  # a test may load none
            objects = sample.gt_instances
            objects.bboxes = get_box_tensor(objects.bboxes)
            if left:
                _resize(objects, sample)
        pixels = np.ascontiguousarray(image.permute(1, 2, 0).numpy()[..., ::-1])
        visualizer.add_datasample('', pixels, sample, draw_pred=False, show=False)
        return visualizer.get_image()

    return draw


def _annotated_behind_resize(pipeline: Sequence[dict]) -> bool:
    """Whether annotations stay as in the file: so in tests, whose results go back to that size."""
    kinds = [str(step.get('type')) for step in pipeline]
    loads = [place for place, kind in enumerate(kinds) if kind.endswith('LoadAnnotations')]
    return bool(loads) and any(kind.endswith('Resize') for kind in kinds[: loads[0]])


def _resize(objects, sample) -> None:
    """Brings boxes and masks from the file's size to that of the model's input."""
    height, width = sample.ori_shape
    across, down = sample.get('scale_factor') or (
        sample.img_shape[1] / width,
        sample.img_shape[0] / height,
    )
    objects.bboxes = objects.bboxes * objects.bboxes.new_tensor([across, down, across, down])
    if 'masks' in objects:
        objects.masks = objects.masks.resize((round(height * down), round(width * across)))


def _pixels(data: dict) -> np.ndarray:
    """Pixels (RGB) of a sample that has no boxes."""
    if 'labels' in data:
        return data['inputs'].permute(1, 2, 0).numpy()
    return _pair(data)


def _pair(data: dict) -> np.ndarray:
    """Input and target of a restoration sample, side by side."""
    inputs = data['inputs']
    tensors = inputs.values() if isinstance(inputs, dict) else [inputs]
    images = [tensor for tensor in tensors if hasattr(tensor, 'permute')]
    target = getattr(data['data_samples'], 'gt_img', None)
    if target is not None:
        images.append(target)
    pixels = [image.permute(1, 2, 0).float().numpy() for image in images]
    pixels = [np.repeat(one, 3, 2) if one.shape[2] == 1 else one[..., :3] for one in pixels]
    height = max(one.shape[0] for one in pixels)
    padded = [np.pad(one, ((0, height - one.shape[0]), (0, 4), (0, 0))) for one in pixels]
    return np.concatenate(padded, 1)[:, :-4].round().clip(0, 255).astype(np.uint8)[..., ::-1]


def _png(rgb: np.ndarray) -> bytes:
    import cv2

    return cv2.imencode('.png', np.ascontiguousarray(rgb[..., ::-1]))[1].tobytes()


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tool; returns its exit status."""
    return finish(browse, parse_args(argv), 'browse_dataset.py')


if __name__ == '__main__':
    sys.exit(main())
