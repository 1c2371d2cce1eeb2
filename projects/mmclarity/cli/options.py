"""The command lines of mmclarity-train and mmclarity-test."""

import argparse
import ast
from collections.abc import Iterator, Sequence
from typing import Any

from mmengine.config import DictAction


class ConfigOptions(DictAction):
    """``KEY=VALUE ...`` as mmengine takes them, and what mmengine's own action spoils.

    That takes the spaces out of all values (a folder ``my data``, a class ``traffic light``), takes
    text in quotes apart at its commas, and ends with a traceback where there is no ``=`` or a value
    is a dict. Lists, tuples and dicts may be written as in Python here, or as there without quotes.

    Examples:
        >>> import argparse
        >>> parser = argparse.ArgumentParser()
        >>> _ = parser.add_argument('--cfg-options', nargs='+', action=ConfigOptions)
        >>> words = ['data_root=my data/', 'a=[red light,3]', "hooks=[{'type': 'EMAHook'}]"]
        >>> parser.parse_args(['--cfg-options', *words]).cfg_options
        {'data_root': 'my data/', 'a': ['red light', 3], 'hooks': [{'type': 'EMAHook'}]}
    """

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Add them to those that were given before."""
        options = dict(getattr(namespace, self.dest, None) or {})
        for item in values or ():
            key, found, text = item.partition('=')
            if not found or not key:
                raise argparse.ArgumentError(self, f'{item!r} is no KEY=VALUE')
            try:
                options[key] = _value(text)
            except ValueError as error:
                raise argparse.ArgumentError(self, f'{key}: {error}') from None
        setattr(namespace, self.dest, options)


def _value(text: str) -> Any:
    """What stands behind the ``=``, or between two commas of it."""
    text = text.strip()
    begin, end = text[:1], text[-1:]
    if begin in tuple('[({"\''):
        try:
            written = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            written = None
        if isinstance(written, list | tuple | dict):
            return list(written) if begin in '"\'' else written
        if isinstance(written, str):  # of a shell in a shell: its quotes, around anything
            return _value(written) if written[:1] in tuple('[(') else _word(written)
    if begin == '{' or text.startswith('dict('):
        raise ValueError(
            f"a dict is written {{'type': 'NAME', 'key': 1}}, its words in quotes, got {text}; or "
            'set one item of what the config has: KEY.NAME=VALUE, of a list KEY.0=VALUE'
        )
    if begin == '(' and end == ')':
        return tuple(_value(part) for part in _parts(text[1:-1]))
    if begin == '[' and end == ']':
        return [_value(part) for part in _parts(text[1:-1])]
    if ',' not in text:
        return _word(text.strip('\'"'))
    return [_value(part) for part in _parts(text)]


def _word(text: str) -> Any:
    return DictAction._parse_int_float_bool(text)


def _parts(text: str) -> Iterator[str]:
    """The items of a list, which end at the commas that no bracket holds together."""
    depth, start = 0, 0
    for index, char in enumerate(text):
        depth += (char in '([{') - (char in ')]}')
        if char == ',' and depth == 0:
            yield text[start:index]
            start = index + 1
    if depth:
        raise ValueError(f'brackets without their other half in {text}')
    if text[start:].strip():
        yield text[start:]


def _common_parser(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument('config', help='config file; one of mmclarity also by its name')
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
        action=ConfigOptions,
        metavar='KEY=VALUE',
        help='settings that replace those of the config, e.g. data_root=PATH '
        'train_cfg.max_epochs=3 key="[a, b]" hooks="[{\'type\': \'EMAHook\'}]"',
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
    """Command line of mmclarity-train and tools/train.py."""
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
    """Command line of mmclarity-test and tools/test.py."""
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
