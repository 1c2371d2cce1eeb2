"""The images that networks are shown, each with its id."""

from __future__ import annotations

import copy
import csv
import json
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from mmclarity.errors import DataError, said
from mmclarity.utils.cpus import available_cpus
from mmclarity.utils.files import listing
from mmclarity.utils.names import as_text

from .ids import SUFFIXES, natural_order

# Bytes of resized pictures that are kept for the next network.
KEPT = 256 << 20
# Level below which all pictures of 16 bit stay where a camera's 14 bits or fewer lie in them.
DARK = 1 << 14
# Part of the range by which a picture in floating point may leave [0, 1], as resized ones do.
OVERSHOOT = 0.1


class StimulusSet:
    """Images in a fixed order, read when they are shown.

    Make it with :meth:`from_folder`.

    Args:
        ids: One a stimulus.
        paths: Their files.
        size: Shorter side to resize to, then the square centre is cut out. None
            keeps images as they are; they must all be of one size.
        mean, std: Of red, green and blue in [0, 1]; images are normalised by
            them. Default to 0 and 1.
        background: Grey level in [0, 1] behind transparent pixels. Defaults to 0.5.

    Examples:
        >>> import tempfile
        >>> from PIL import Image
        >>> from mmclarity.rsa import StimulusSet
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name in ('10.png', '2.png', '1.png'):
        ...         Image.new('RGB', (48, 32)).save(f'{folder}/{name}')
        ...     stimuli = StimulusSet.from_folder(folder, size=32)
        ...     ids, images = next(stimuli.batches(2))
        >>> stimuli.ids, ids, images.shape
        (['1', '2', '10'], ['1', '2'], torch.Size([2, 3, 32, 32]))
    """

    def __init__(
        self,
        ids: Sequence[str],
        paths: Sequence[Path],
        size: int | None = None,
        mean: Sequence[float] = (0.0, 0.0, 0.0),
        std: Sequence[float] = (1.0, 1.0, 1.0),
        background: float = 0.5,
    ) -> None:
        if size is not None and (not isinstance(size, int | np.integer) or size < 1):
            raise DataError(f'size must be a whole number of pixels, 1 or more, got {size!r}')
        if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
            raise DataError(
                'mean and std need a value for red, green and blue, std above zero; '
                f'got {mean} and {std}'
            )
        self.ids, self.paths = [str(i) for i in ids], [Path(p) for p in paths]
        if len(self.ids) != len(self.paths) or len(set(self.ids)) != len(self.ids):
            raise DataError(
                f'each stimulus needs an id of its own and a file; got {len(ids)} ids,'
                f' {len(set(self.ids))} of them different, and {len(paths)} files'
            )
        self.size, self.background = size, background
        self._pixels: dict[int, np.ndarray] = {}
        self._block: np.ndarray | None = None
        # Highest level of pictures of 16 bit; None where there was none.
        self._highest: float | None = None
        self._mean = torch.tensor(mean, dtype=torch.float32)[:, None, None]
        self._std = torch.tensor(std, dtype=torch.float32)[:, None, None]

    @classmethod
    def from_folder(
        cls, folder: str | Path, manifest: str | Path | None = None, **kwargs: Any
    ) -> StimulusSet:
        """All images of a folder in the order of their names, or those of a manifest in its order.

        Names are sorted as people do, 1, 2, 10, with a warning where the alphabet has another
        order.

        Args:
            folder: Folder of images.
            manifest: CSV or TSV with columns ``id`` and ``file``; JSON, an object of files by
                id or a list of such pairs or of files; or a text file of a file a line, whose stem
                is the id. Files are relative to the folder.
            kwargs: See :class:`StimulusSet`.

        Raises:
            FileNotFoundError: If the folder, the manifest or an image is missing.
            NotADirectoryError: If ``folder`` is a file.
            ValueError: If there is no image, an id comes twice, or the manifest cannot be read.
        """
        folder = Path(folder)
        if not folder.is_dir():
            if folder.exists():
                raise NotADirectoryError(
                    f'{folder}: is a file; give the folder of the stimuli. Pictures within a .mat, '
                    '.npz or .npy file: save each as .png first'
                )
            raise FileNotFoundError(f'{folder}: there is no such folder of stimuli')
        if manifest is None:
            images = listing(folder, SUFFIXES)
            paths = natural_order(images, lambda p: p.name, what=f'{folder}: images')
            pairs = [(as_text(p.stem), p) for p in paths]
            source = folder
        else:
            source = Path(manifest)
            pairs = [(i, folder / name) for i, name in read_manifest(source)]
        if not pairs:
            raise DataError(
                f'{source}: no image is there; stimuli are files that end in {", ".join(SUFFIXES)}'
                '. Those in folders below are listed in a manifest (--manifest)'
            )
        seen: dict[str, Path] = {}
        for stimulus, path in pairs:
            if stimulus in seen:
                raise DataError(
                    f'{source}: the id {stimulus!r} comes twice ({seen[stimulus].name}'
                    f' and {path.name}); give each stimulus its own'
                )
            if not path.is_file():
                raise FileNotFoundError(
                    f'{path}: the image of stimulus {stimulus!r} (named in {source}) is missing'
                )
            seen[stimulus] = path
        return cls(list(seen), list(seen.values()), **kwargs)

    def __len__(self) -> int:
        return len(self.ids)

    def subset(self, ids: Sequence[str]) -> StimulusSet:
        """The same images without those that are not named, in the order of ``ids``.

        Raises:
            KeyError: If an id is unknown.
        """
        paths = dict(zip(self.ids, self.paths))
        chosen = copy.copy(self)
        chosen.ids = [str(i) for i in ids]
        chosen.paths = [paths[i] for i in chosen.ids]
        chosen._pixels, chosen._block = {}, None
        return chosen

    def image(self, index: int) -> Tensor:
        """One normalised image (3, H, W), float32.

        Raises:
            ValueError: If the file cannot be read as an image.
        """
        pixels = torch.from_numpy(self._shown(index).astype(np.float32) / 255).permute(2, 0, 1)
        return (pixels - self._mean) / self._std

    def _shown(self, index: int) -> np.ndarray:
        """(H, W, 3), uint8, resized; the first ones are kept, so that they are decoded once."""
        pixels = self._pixels.get(index)
        if pixels is None:
            picture = self.picture(index)
            pixels = np.asarray(picture if self.size is None else _centre(picture, self.size))
            if pixels.nbytes * (len(self._pixels) + 1) <= KEPT:
                if self._block is not None and index < len(self._block):
                    self._block[index] = pixels
                    pixels = self._block[index]
                self._pixels[index] = pixels
        return pixels

    def _reserve(self) -> None:
        """One block for the resized pictures that are kept.

        Blocks of their own would lie in the holes that a network's answers leave, and these would
        find no room again: 60 MB a batch of SqueezeNet.
        """
        if self.size is not None and self._block is None:
            count = min(len(self), KEPT // (3 * self.size**2))
            self._block = np.empty((count, self.size, self.size, 3), np.uint8)

    def picture(self, index: int) -> Image.Image:
        """One stimulus as it is shown: upright, 8-bit colours, in its own size.

        Raises:
            DataError: If the file cannot be read as an image.
        """
        path = self.paths[index]
        try:
            with Image.open(path) as file:
                # Photographs are shown upright, as their camera says.
                return self._rgb(ImageOps.exif_transpose(file))
        except Exception as error:  # of a damaged file the decoders make errors of any kind
            raise DataError(
                f'{path}: stimulus {self.ids[index]!r} cannot be read as an image '
                f'({said(error)}); replace the file'
            ) from error

    def _rgb(self, file: Image.Image) -> Image.Image:
        if file.mode.startswith('I;16') or file.mode in ('I', 'F'):
            values = np.asarray(file, np.float32)
            top = 65535.0 if file.mode != 'F' else 1.0
            low, high = float(values.min()), float(values.max())
            # NaN is neither.
            if not (low >= -OVERSHOOT * top and high <= (1 + OVERSHOOT) * top):
                raise ValueError(
                    f'its levels go from {low:g} to {high:g}, and those of a picture in '
                    f'{"floating point" if top == 1 else "whole numbers"} must lie in [0, {top:g}]'
                )
            if file.mode != 'F':
                self._highest = max(self._highest or 0.0, high)
            grey = np.clip(values / top * 255, 0, 255).round().astype(np.uint8)
            return Image.fromarray(grey).convert('RGB')
        if file.mode in ('RGBA', 'LA', 'PA') or 'transparency' in file.info:
            front = file.convert('RGBA')
            level = round(255 * self.background)
            behind = Image.new('RGBA', front.size, (level, level, level, 255))
            return Image.alpha_composite(behind, front).convert('RGB')
        return file.convert('RGB')

    def batches(self, batch_size: int = 32) -> Iterator[tuple[list[str], Tensor]]:
        """Ids and images (b, 3, H, W) of ``batch_size`` stimuli at a time.

        Raises:
            ValueError: If images differ in size and ``size`` was not given.
        """
        if batch_size < 1:
            raise DataError(f'batch_size must be 1 or more, got {batch_size}')
        first = None
        self._reserve()
        with ThreadPoolExecutor(available_cpus()) as pool:
            for start in range(0, len(self), batch_size):
                places = range(start, min(start + batch_size, len(self)))
                images = list(pool.map(self.image, places))
                first = images[0] if first is None else first
                for i, image in zip(places, images):
                    if image.shape != first.shape:
                        height, width = image.shape[1:]
                        raise DataError(
                            f'{self.paths[i]} is {width} x {height} pixels, {self.paths[0]} '
                            f'{first.shape[2]} x {first.shape[1]}; give size= to bring all to one'
                        )
                yield self.ids[start : start + batch_size], torch.stack(images)
        if self._highest is not None and self._highest < DARK:
            warnings.warn(
                f'no picture of 16 bit is brighter than {self._highest:g} of 65535: they are shown '
                'nearly black. If they hold 8, 10, 12 or 14 bits, save them with the full range',
                stacklevel=2,
            )


def _centre(picture: Image.Image, size: int) -> Image.Image:
    """Shorter side to ``size``, then the square in the middle."""
    scale = size / min(picture.size)
    width, height = (max(size, round(side * scale)) for side in picture.size)
    if (width, height) != picture.size:
        picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - size) // 2, (height - size) // 2
    return picture.crop((left, top, left + size, top + size))


def read_manifest(path: str | Path) -> list[tuple[str, str]]:
    """(id, file) of each stimulus; see :meth:`StimulusSet.from_folder`.

    Raises:
        FileNotFoundError: If it is missing.
        ValueError: If it cannot be read, with the line or entry.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'{path}: there is no such manifest')
    try:
        text = path.read_text(encoding='utf-8-sig')
    except UnicodeDecodeError as error:
        raise DataError(f'{path} is no text in UTF-8 ({error})') from error
    if path.suffix.lower() == '.json':
        return _json_pairs(path, text)
    if path.suffix.lower() in ('.csv', '.tsv'):
        head = text.partition('\n')[0]
        mark = max(',;\t', key=head.count)
        rows = csv.DictReader(text.splitlines(), delimiter=mark, skipinitialspace=True)
        rows.fieldnames = [name.strip() for name in rows.fieldnames or ()]
        if not {'id', 'file'} <= set(rows.fieldnames):
            raise DataError(
                f'{path}: the first line must name the columns id and file, separated by a comma, '
                f'got {head.strip()!r}'
            )
        pairs = [((row['id'] or '').strip(), (row['file'] or '').strip()) for row in rows]
        for number, pair in enumerate(pairs, start=2):
            if not all(pair):
                raise DataError(f'{path}, line {number}: id or file is empty')
        return pairs
    return [(Path(line.strip()).stem, line.strip()) for line in text.splitlines() if line.strip()]


def _json_pairs(path: Path, text: str) -> list[tuple[str, str]]:
    try:
        # Pairs, not a dict: that would keep the last of several equal ids and say nothing.
        content = json.loads(text, object_pairs_hook=list)
    except json.JSONDecodeError as error:
        raise DataError(f'{path} is no JSON: {error}') from error
    if not isinstance(content, list):
        raise DataError(f'{path} must hold an object of files by id, or a list of files')
    pairs = []
    for number, item in enumerate(content):
        if isinstance(item, str):
            item = (Path(item).stem, item)
        if (
            not isinstance(item, list | tuple)
            or len(item) != 2
            or not all(isinstance(part, str) for part in item)
        ):
            raise DataError(
                f'{path}, entry {number}: must be a file or a pair of id and file, got {item!r}'
            )
        pairs.append((item[0], item[1]))
    return pairs
