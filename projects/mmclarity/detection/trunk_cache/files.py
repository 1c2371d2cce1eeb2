"""A trunk's feature maps and proposals on disk: format, writer, reader.

A cache is a folder of three files: ``maps.bin`` holds the numbers of all samples one after the
other, ``index.jsonl`` says for each sample where they begin, their shapes, and what belongs to it
(boxes, names, size, file); ``manifest.json``, written last, says what made the cache. It is written
beside its place and moved there when it is whole.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmclarity.errors import UsageError
from mmclarity.utils.files import making_folder, write_text
from mmclarity.utils.memory import memory_of_machine

FORMAT = 1
MAPS, INDEX, MANIFEST = 'maps.bin', 'index.jsonl', 'manifest.json'
DTYPES = {'bfloat16': torch.bfloat16, 'float16': torch.float16, 'float32': torch.float32}
# What a trunk is; the box head is what is trained from its cache.
TRUNK_PARTS = ('backbone', 'neck', 'rpn_head')
# Kept free beside what the cache is expected to take.
SPARE_BYTES = 1 << 30


def trunk_fingerprint(model: nn.Module) -> str:
    """SHA-256 of the names, types and values of a detector's backbone, neck and RPN.

    Args:
        model: With the attributes ``backbone``, ``neck`` (or none) and ``rpn_head``.

    Returns:
        64 hexadecimal digits; the same on every machine, whatever the memory layout.

    Examples:
        >>> from torch import nn
        >>> from mmclarity.detection.trunk_cache import trunk_fingerprint
        >>> model = nn.Module()
        >>> model.backbone = nn.Linear(2, 2)
        >>> before = trunk_fingerprint(model)
        >>> _ = nn.init.zeros_(model.backbone.weight)
        >>> len(before), before == trunk_fingerprint(model)
        (64, False)
    """
    digest = hashlib.sha256()
    for part in TRUNK_PARTS:
        module = getattr(model, part, None)
        for name, value in (module.state_dict() if module is not None else {}).items():
            value = value.detach().cpu().contiguous()
            if value.is_floating_point():
                value = value + 0.0  # -0.0 too is 0: an average of the two is the other one
            digest.update(f'{part}.{name} {value.dtype} {tuple(value.shape)}\n'.encode())
            digest.update(value.view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def settings_fingerprint(settings: Mapping | Sequence | Any) -> str:
    """SHA-256 of settings (dicts, lists, numbers, strings), keys in any order, tuples as lists."""
    text = json.dumps(settings, sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Tensor):
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    return str(value)


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()


class CacheWriter:
    """Writes a cache; used as a context, at whose end the folder is there or nothing is.

    Args:
        folder: Where the cache is to be. Must not exist.
        manifest: What made it; ``trunk`` and ``settings`` are fingerprints.
        count: How many samples will come.
        dtype: 'bfloat16', 'float16' or 'float32', for the maps. Proposals stay in float32: an edge
            at 600 pixels would move by up to a quarter of a pixel in float16.

    Raises:
        UsageError: If the folder is there already, the type is unknown, or the disk is or becomes
            too full.

    Examples:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import torch
        >>> from mmclarity.detection.trunk_cache import CacheWriter
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with CacheWriter(f'{folder}/cache', dict(trunk='', settings=''), count=1) as writer:
        ...         writer.add([torch.rand(8, 6, 4)], torch.rand(5, 4), torch.rand(5), dict(id=7))
        ...     sorted(path.name for path in Path(folder, 'cache').iterdir())
        ['index.jsonl', 'manifest.json', 'maps.bin']
    """

    def __init__(
        self, folder: str | Path, manifest: Mapping, count: int, dtype: str = 'bfloat16'
    ) -> None:
        self.folder = Path(folder)
        if dtype not in DTYPES:
            raise UsageError(f'cache: dtype must be one of {", ".join(DTYPES)}, got {dtype!r}')
        if self.folder.exists():
            raise UsageError(f'{self.folder} exists already; remove it or name another folder')
        self.manifest, self.count, self.dtype = dict(manifest), count, dtype
        self._size = self._written = 0

    def __enter__(self) -> CacheWriter:
        with ExitStack() as stack:
            self.part = stack.enter_context(making_folder(self.folder))
            self._maps = stack.enter_context((self.part / MAPS).open('wb'))
            self._index = stack.enter_context((self.part / INDEX).open('w', encoding='utf-8'))
            self._stack = stack.pop_all()
        return self

    def add(
        self, maps: Sequence[Tensor], boxes: Tensor, scores: Tensor, sample: Mapping[str, Any]
    ) -> None:
        """Append one image.

        Args:
            maps: Feature maps (C, H, W), finest first.
            boxes: Proposals (n, 4) in pixels of the network's input.
            scores: Their objectness (n,), falling.
            sample: What JSON can hold (arrays become lists): boxes, labels, meta information.
        """
        parts = [_bytes(m.to(DTYPES[self.dtype])) for m in maps]
        parts += [_bytes(boxes.float()), _bytes(scores.float())]
        entry = dict(
            offset=self._size,
            shapes=[list(m.shape) for m in maps],
            proposals=len(boxes),
            sample=sample,
        )
        size = sum(map(len, parts))
        if not self._written:
            self._check_space(size)
        self._maps.writelines(parts)
        self._index.write(json.dumps(entry, default=_plain) + '\n')
        self._size += size
        self._written += 1

    def _check_space(self, size: int) -> None:
        needed, free = size * self.count, shutil.disk_usage(self.part).free
        if needed + SPARE_BYTES > free:
            raise UsageError(
                f'cache: {self.count} samples would take about {needed / 1e9:.1f} GB, but only '
                f'{free / 1e9:.1f} GB are free at {self.folder.parent} (1 GB is to stay free); '
                'cache fewer views, or name a folder on another disk'
            )

    def __exit__(self, kind: type | None, error: BaseException | None, trace: Any) -> None:
        if kind is not None:  # the folder's context explains a full disk
            self._stack.__exit__(kind, error, trace)
            return
        with self._stack:
            self._finish()

    def _finish(self) -> None:
        if self._written != self.count:
            raise ValueError(f'cache: {self.count} samples were announced, {self._written} came')
        manifest = dict(
            self.manifest, format=FORMAT, dtype=self.dtype, samples=self._written, bytes=self._size
        )
        text = json.dumps(manifest, indent=1, default=_plain)
        write_text(self.part / MANIFEST, text)


class TrunkCache:
    """Reads a cache.

    Args:
        folder: Made by :class:`CacheWriter`.

    Attributes:
        manifest: What made the cache.

    Raises:
        UsageError: If the folder is no cache, of another format, or cut off.

    Examples:
        >>> import tempfile
        >>> import torch
        >>> from mmclarity.detection.trunk_cache import CacheWriter
        >>> from mmclarity.detection.trunk_cache import TrunkCache
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with CacheWriter(f'{folder}/cache', dict(trunk='', settings=''), count=1) as writer:
        ...         writer.add([torch.rand(8, 6, 4)], torch.rand(5, 4), torch.rand(5), dict(id=7))
        ...     len(TrunkCache(f'{folder}/cache'))
        1
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.manifest = self._json(MANIFEST)
        if self.manifest.get('format') != FORMAT:
            raise UsageError(
                f'{self.folder}: cache of format {self.manifest.get("format")}, this '
                f'version reads {FORMAT}; make it anew with tools/cache_trunk.py'
            )
        self.entries = self._entries()
        size = self._existing(MAPS).stat().st_size
        if size != self.manifest['bytes'] or len(self.entries) != self.manifest['samples']:
            raise UsageError(
                f'{self.folder}: the cache is cut off: {size} bytes of maps and '
                f'{len(self.entries)} samples instead of {self.manifest["bytes"]} and '
                f'{self.manifest["samples"]}; copy it again or make it anew'
            )
        self._is_large = hasattr(os, 'posix_fadvise') and size > memory_of_machine() / 2

    def __len__(self) -> int:
        return len(self.entries)

    def _existing(self, name: str) -> Path:
        path = self.folder / name
        if not path.is_file():
            raise UsageError(
                f'{self.folder} is no cache of a trunk: it has no {name}; make one '
                'with tools/cache_trunk.py CONFIG CHECKPOINT FOLDER'
            )
        return path

    def _json(self, name: str) -> dict:
        path = self._existing(name)  # its error is one of values, too
        try:
            return json.loads(path.read_text(encoding='utf-8'))
        except ValueError as error:
            raise UsageError(f'{self.folder / name} is damaged: {error}') from error

    def _entries(self) -> list[dict]:
        lines = self._existing(INDEX).read_text(encoding='utf-8').splitlines()
        try:
            return [json.loads(line) for line in lines]
        except ValueError as error:
            raise UsageError(f'{self.folder / INDEX} is damaged or cut off: {error}') from error

    def read(self, index: int) -> tuple[list[Tensor], Tensor, Tensor, dict]:
        """Maps (C, H, W), proposals (n, 4), their scores (n,), and what belongs to the sample."""
        entry = self.entries[index]
        dtype = DTYPES[self.manifest['dtype']]
        shapes = [(tuple(shape), dtype) for shape in entry['shapes']]
        shapes += [((entry['proposals'], 4), torch.float32), ((entry['proposals'],), torch.float32)]
        sizes = [math.prod(shape) * kind.itemsize for shape, kind in shapes]
        content = self._part(entry['offset'], sum(sizes))
        starts = itertools.accumulate(sizes, initial=0)
        *maps, boxes, scores = (
            content[start : start + size].clone().view(kind).view(shape)  # aligned
            for start, size, (shape, kind) in zip(starts, sizes, shapes, strict=False)
        )
        return maps, boxes, scores, entry['sample']

    def _part(self, place: int, size: int) -> Tensor:
        """Bytes of the maps' file, which is let go of if memory cannot keep all of it.

        Who reads more than the memory holds finds nothing of it there the next time, and has
        driven out what all other programs had there. The file is opened anew each time: processes
        that share an open one would move each other's place in it.
        """
        content = torch.empty(size, dtype=torch.uint8)
        rest = memoryview(content.numpy())
        with (self.folder / MAPS).open('rb', buffering=0) as file:
            file.seek(place)
            while rest:
                count = file.readinto(rest)
                if not count:
                    raise UsageError(
                        f'{self.folder / MAPS} has become shorter; make the cache anew'
                    )
                rest = rest[count:]
            if self._is_large:
                os.posix_fadvise(file.fileno(), place, size, os.POSIX_FADV_DONTNEED)
        return content
