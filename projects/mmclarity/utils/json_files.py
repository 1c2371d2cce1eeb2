"""JSON files of labels and detections: read with errors that tell what to do, written whole."""

import gzip
import json
import zlib
from pathlib import Path
from typing import Any

from mmclarity.errors import DataError, said

from .files import write_text

_GZIP = b'\x1f\x8b'


class LabelFileError(DataError):
    """Labels that cannot be used; the message names file, place and remedy."""


def read_json(path: str | Path) -> Any:
    """Reads a JSON file, plain or packed by gzip (``.json.gz``).

    Args:
        path: The file.

    Returns:
        Its content.

    Raises:
        FileNotFoundError: If there is no such file.
        LabelFileError: If it is empty, not text, cut off or no JSON; the message
            gives line, column and character.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such file')
    try:
        data = path.read_bytes()
        if data.startswith(_GZIP):
            data = gzip.decompress(data)
        text = data.decode('utf-8-sig')
    except (EOFError, zlib.error, gzip.BadGzipFile) as err:
        raise LabelFileError(
            f'{path}: the packed file is cut off or damaged ({err}); download it again'
        ) from err
    except UnicodeDecodeError as err:
        raise LabelFileError(
            f'{path}: byte {err.start} is not text, so this is no JSON file; unpack '
            'it if it is an archive, else download it again'
        ) from err
    if not text.strip():
        raise LabelFileError(f'{path}: the file is empty; download it again')
    try:
        return json.loads(text)
    except ValueError as err:
        if not isinstance(err, json.JSONDecodeError):  # an integer of thousands of digits
            raise LabelFileError(f'{path}: {said(err)}; mend it or download it again') from err
        cut = err.pos >= len(text.rstrip()) or err.msg.startswith('Unterminated string')
        why = 'the file is cut off' if cut else 'not valid JSON'
        raise LabelFileError(
            f'{path}: {why}: {err.msg} at line {err.lineno}, column {err.colno} (character '
            f'{err.pos} of {len(text)}); download the file again or mend that place'
        ) from err
    except RecursionError as err:
        raise LabelFileError(f'{path}: nested too deeply for labels; download it again') from err


def truth(value: Any) -> bool:
    """Whether a label says yes; tools write booleans as texts too.

    Examples:
        >>> truth(True), truth(1), truth('Yes'), truth('false'), truth('0'), truth(None)
        (True, True, True, False, False, False)
    """
    if isinstance(value, str):
        return value.strip().lower() not in ('', 'false', 'no', 'n', 'f', 'off', '0', 'none')
    return bool(value)


def write_json(path: str | Path, content: Any) -> None:
    """Writes JSON so that ``path`` holds either the old content or all of the new.

    Args:
        path: The file to write; its folder is made where missing.
        content: What ``json`` can write; NaN and infinity are refused.
    """
    # the C encoder of `dumps` is several times faster than `dump`
    write_text(path, json.dumps(content, allow_nan=False), parents=True, durable=True)
