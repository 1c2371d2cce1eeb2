"""The command lines of tools/train.py and tools/test.py."""

import argparse

from mmengine.config import DictAction


def _common_parser(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument('config', help='config file; also looked for in the repository')
    parser.add_argument(
        '--work-dir', help='folder for logs and results (default: work_dirs/NAME_OF_CONFIG)'
    )
    parser.add_argument(
        '--amp',
        action='store_true',
        help='mixed precision: float16 on CUDA, bfloat16 on a CPU that has it',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='settings that replace those of the config, e.g. data_root=PATH '
        'train_cfg.max_epochs=3 key="[a,b]"',
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='what started the processes',
    )
    # torch.distributed.launch passes it with a hyphen, older versions with an underscore.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    return parser


def train_parser() -> argparse.ArgumentParser:
    """Command line of tools/train.py."""
    parser = _common_parser('Train a model')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='go on from this checkpoint, or without a value from the latest of the work directory',
    )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate with the batch size actually used (of all processes; '
        'accumulated steps do not count)',
    )
    parser.add_argument('--seed', type=int, help='random seed (replaces randomness.seed)')
    return parser


def test_parser() -> argparse.ArgumentParser:
    """Command line of tools/test.py."""
    parser = _common_parser('Test a model')
    parser.add_argument(
        'checkpoint', help='checkpoint file, or the word shipped: the weights of the package'
    )
    parser.add_argument('--out', metavar='FILE.pkl', help='write the predictions to this file')
    parser.add_argument('--show', action='store_true', help='show predictions in a window')
    parser.add_argument(
        '--show-dir', metavar='NAME', help='write painted images to WORK_DIR/TIMESTAMP/NAME'
    )
    parser.add_argument('--wait-time', type=float, default=2, help='seconds each window stays')
    parser.add_argument('--tta', action='store_true', help='test-time augmentation')
    return parser
