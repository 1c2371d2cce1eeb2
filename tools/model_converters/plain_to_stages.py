"""A plain detector's box head as both stages of a detector with two looks.

    python tools/model_converters/plain_to_stages.py plain.pth stages.pth

The result is what ``load_from`` of configs/cached_context_frcnn_bdd100k_fine.py takes: the second
look starts as the first one. Its box offsets count half as much (``target_stds``): the layer that
gives them gets twice its weights.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping

import torch
from torch import Tensor

from mmclarity.cli.main import run
from mmclarity.errors import UsageError
from mmclarity.utils.checkpoints import load_checkpoint_file, weights_of
from mmclarity.utils.files import refuse_input, replacing

HEAD = 'roi_head.bbox_head.'


def as_stages(weights: Mapping[str, Tensor], finer: float = 2.0) -> dict[str, Tensor]:
    """Weights of a plain detector as those of one with two stages.

    Args:
        weights: State dict with one box head.
        finer: How many times smaller the second stage's ``target_stds`` are.

    Raises:
        UsageError: If there is no box head, or more than one.
    """
    own = [name for name in weights if name.startswith(HEAD)]
    if not own or any(name[len(HEAD)].isdigit() for name in own):
        raise UsageError('the checkpoint must hold one box head (roi_head.bbox_head.fc_cls, ...)')
    result = {}
    for name, value in weights.items():
        if not name.startswith(HEAD):
            result[name] = value
            continue
        part = name[len(HEAD) :]
        result[f'{HEAD}0.{part}'] = value.clone()
        result[f'{HEAD}1.{part}'] = value * finer if part.startswith('fc_reg.') else value.clone()
    return result


def convert(args: argparse.Namespace) -> None:
    """Read, convert, write."""
    refuse_input(args.out, args.checkpoint)
    checkpoint = load_checkpoint_file(args.checkpoint)
    weights = as_stages(weights_of(checkpoint))
    # The names of the classes go along: a test compares them with those of its data.
    told = (checkpoint.get('meta') or {}).get('dataset_meta')
    meta = dict(dataset_meta=told) if told else {}
    with replacing(args.out) as part:
        torch.save(dict(meta=meta, state_dict=weights), part)
    print(f'written: {args.out}')


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = argparse.ArgumentParser(
        prog='plain_to_stages.py', description=__doc__.splitlines()[0]
    )
    options.add_argument('checkpoint', help='of the plain detector')
    options.add_argument('out', help='file to write')
    return options


if __name__ == '__main__':
    sys.exit(run(convert, parser()))
