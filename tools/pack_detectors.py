"""Pack trained detectors with one trunk into the file that ships with the package.

    python tools/pack_detectors.py --context CONFIG CHECKPOINT --two_looks CONFIG CHECKPOINT \\
        --plain CONFIG CHECKPOINT

Weights in half precision, the trunk once; see mmclarity/detection/shipped.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import mmclarity.detection  # noqa: F401
from mmclarity.cli.main import run
from mmclarity.detection.shipped.weights import DETECTORS, FILE, split_weights
from mmclarity.engine.config import load_config
from mmclarity.utils.checkpoints import check_fits, load_checkpoint_file, weights_of
from mmclarity.utils.files import write_bytes


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = argparse.ArgumentParser(prog='pack_detectors.py', description=__doc__.splitlines()[0])
    for name in DETECTORS:
        options.add_argument(
            f'--{name}', nargs=2, required=True, metavar=('CONFIG', 'CHECKPOINT'), help='detector'
        )
    options.add_argument('--out', type=Path, default=FILE, help='default: %(default)s')
    return options


def description(path: str) -> dict:
    """What a detector is built from: see ``shipped_config``."""
    cfg = load_config(path)
    dataset = cfg.test_dataloader.dataset
    model = cfg.model.to_dict()
    model['backbone'].pop('init_cfg', None)
    if 'pretrained' in model['backbone']:
        model['backbone']['pretrained'] = False
    return dict(
        config=Path(path).name,
        model=model,
        dataset=dataset.type,
        pipeline=[dict(step) for step in dataset.pipeline],
    )


def pack(args: argparse.Namespace) -> None:
    """Write the file and say how large it is."""
    from mmdet.registry import DATASETS, MODELS
    from mmengine.registry import init_default_scope
    from safetensors.torch import save

    init_default_scope('mmdet')
    states, texts = {}, {}
    for name in DETECTORS:
        config, checkpoint = getattr(args, name)
        told = description(config)
        metainfo = DATASETS.get(told['dataset']).METAINFO
        told['metainfo'] = {key: metainfo[key] for key in ('classes', 'palette')}
        states[name] = weights_of(load_checkpoint_file(checkpoint))
        check_fits(states[name], MODELS.build(load_config(config).model), checkpoint)
        texts[name] = repr(told)
    content = save(split_weights(states), metadata=texts)
    write_bytes(args.out, content)
    print(f'written: {args.out} ({len(content) / 1e6:.1f} MB)')


if __name__ == '__main__':
    sys.exit(run(pack, parser()))
