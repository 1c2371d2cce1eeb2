"""A detector that ships, as a checkpoint to start from.

    python tools/model_converters/shipped_to_checkpoint.py plain plain.pth

What ships is one file for all detectors, and only names in a test find into it. A checkpoint of one
of them is what everything else takes: ``load_from`` of a config that goes on training, on other
data too; tools/cache_trunk.py, to try box heads on its trunk; plain_to_stages.py.
"""

from __future__ import annotations

import argparse
import sys

import torch

from mmclarity.cli.main import run
from mmclarity.detection.shipped import DETECTORS, shipped_config, shipped_weights
from mmclarity.utils.files import replacing


def convert(args: argparse.Namespace) -> None:
    """Read and write."""
    told = shipped_config(args.name)
    meta = dict(dataset_meta=told['metainfo'])
    with replacing(args.out, overwrite=args.overwrite) as part:
        torch.save(dict(meta=meta, state_dict=shipped_weights(args.name)), part)
    print(f'written: {args.out}, weights of configs/{told["config"]}')


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = argparse.ArgumentParser(
        prog='shipped_to_checkpoint.py', description=__doc__.splitlines()[0]
    )
    options.add_argument('name', choices=DETECTORS, help='which (plain: one look, no attention)')
    options.add_argument('out', metavar='OUT.pth', help='file to write')
    options.add_argument('--overwrite', action='store_true', help='replace an existing file')
    return options


if __name__ == '__main__':
    sys.exit(run(convert, parser()))
