"""Whole files of every kind that is read, and seeded damage to them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import h5py
import nibabel
import numpy as np
import tifffile
import torch
from PIL import Image
from scipy.io import savemat

CONFIG = """
model = dict(type='ToyModel', noise=True)
train_dataloader = dict(batch_size=4, num_workers=0, dataset=dict(type='ToyImages', length=12))
train_cfg = dict(by_epoch=True, max_epochs=4, val_interval=1)
"""


def _grey(seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(1, 255, (24, 20), np.uint8)
    return cv2.GaussianBlur(noise, (5, 5), 1)


def images(folder: Path) -> list[Path]:
    """Micrographs and photographs: TIFF in several packings, PNG, BMP, JPEG, WebP."""
    grey, colour = _grey(), np.stack([_grey(i) for i in range(3)], -1)
    for name, options in dict(
        plain={}, deflate=dict(compression='zlib', predictor=2), tiles=dict(tile=(16, 16)),
        lzw=dict(compression='lzw'), jpeg=dict(compression='jpeg'), packed=dict(
            compression='packbits'), strips=dict(rowsperstrip=5),
    ).items():  # fmt: skip
        tifffile.imwrite(folder / f'{name}.tif', grey, **options)
    tifffile.imwrite(folder / 'deep.tif', grey.astype(np.uint16) * 200)
    tifffile.imwrite(folder / 'colour.tif', colour, photometric='rgb')
    pages = np.stack([grey, grey[::-1], grey[:, ::-1]])
    tifffile.imwrite(folder / 'imagej.tif', pages, imagej=True, resolution=(40, 40))
    tifffile.imwrite(folder / 'ome.tif', pages, ome=True, metadata=dict(axes='ZYX'))
    for kind in ('png', 'bmp', 'jpg', 'webp'):
        Image.fromarray(grey).save(folder / f'grey.{kind}')
        Image.fromarray(colour).save(folder / f'colour.{kind}')
        if kind in ('png', 'bmp'):
            Image.fromarray(colour).quantize(16).save(folder / f'palette.{kind}')
    Image.fromarray(grey.astype(np.uint16) * 200).save(folder / 'deep.png')
    return sorted(folder.iterdir())


def labels(folder: Path) -> list[Path]:
    """Scalabel of three layouts."""
    box = dict(x1=1.5, y1=2, x2=30, y2=40)
    label = dict(id='1', category='car', box2d=box, attributes=dict(occluded=True))
    frame = dict(name='a.jpg', attributes=dict(weather='foggy'), labels=[label])
    one = dict(name='a', frames=[dict(timestamp=1, objects=[label])], attributes={})
    for name, content in dict(list=[frame] * 2, frames=dict(frames=[frame]), one=one).items():
        (folder / f'{name}.json').write_text(json.dumps(content))
    return sorted(folder.iterdir())


def recordings(folder: Path) -> list[Path]:
    """Responses of 6 stimuli in npz, npy, mat (three versions, cells, structs), HDF5, NIfTI."""
    values = np.random.default_rng(0).random((6, 9))
    ids = [f's{i}' for i in range(6)]
    np.savez(folder / 'a.npz', it=values, ids=ids)
    np.savez_compressed(folder / 'packed.npz', it=values)
    np.save(folder / 'a.npy', values)
    savemat(folder / 'a.mat', dict(it=values, ids=np.array(ids, object)))
    savemat(folder / 'packed.mat', dict(it=values), do_compression=True)
    savemat(folder / 'old.mat', dict(it=values), format='4')
    savemat(folder / 'cells.mat', dict(it=np.array([values, values + 1, None], object)[:2]))
    savemat(folder / 'structs.mat', dict(it=dict(RDM=1 - np.corrcoef(values), name='v4')))
    with h5py.File(folder / 'new.mat', 'w', userblock_size=512) as file:
        file['one'] = values.T
        file['it'] = np.array([[file['one'].ref]], h5py.ref_dtype)
    nibabel.save(
        nibabel.Nifti1Image(values.reshape(6, 3, 3, 1).T + 1, np.eye(4)), folder / 'a.nii.gz'
    )
    (folder / 'a.csv').write_text('\n'.join(','.join(map(str, row)) for row in values))
    with h5py.File(folder / 'a.h5', 'w') as file:
        file['it'], file['ids'] = values, ids
        file.create_dataset('more/v4', data=values, chunks=True, compression='gzip')
    return sorted(folder.iterdir())


def checkpoints(folder: Path) -> list[Path]:
    """A state dict, a training's checkpoint, one of the old format, safetensors if there."""
    state = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4)).state_dict()
    torch.save(state, folder / 'bare.pth')
    torch.save(dict(state_dict=state, meta=dict(epoch=1)), folder / 'whole.pth')
    torch.save(state, folder / 'old.pth', _use_new_zipfile_serialization=False)
    try:
        from safetensors.torch import save_file
    except ModuleNotFoundError:
        return sorted(folder.iterdir())
    save_file(state, folder / 'a.safetensors')
    return sorted(folder.iterdir())


def configs(folder: Path) -> list[Path]:
    """One config."""
    (folder / 'a.py').write_text(CONFIG)
    return [folder / 'a.py']


KINDS: dict[str, Callable[[Path], list[Path]]] = dict(
    images=images, labels=labels, recordings=recordings, checkpoints=checkpoints, configs=configs
)


def mutated(data: bytes, random: np.random.Generator) -> bytes:
    """The file with one kind of damage."""
    out = bytearray(data)
    kind = random.integers(0, 8)
    if kind == 0:  # cut
        return bytes(out[: random.integers(0, len(out))])
    if kind == 1:  # the header
        for _ in range(random.integers(1, 6)):
            out[random.integers(0, min(64, len(out)))] = random.integers(0, 256)
    elif kind == 2:  # anywhere
        for _ in range(random.integers(1, 30)):
            out[random.integers(0, len(out))] = random.integers(0, 256)
    elif kind == 3:  # a run of zeros, as a broken download leaves it
        start = random.integers(0, len(out))
        out[start : start + random.integers(1, 200)] = bytes(min(100, len(out) - start))
    elif kind == 4:  # a part twice
        start = random.integers(0, len(out))
        out[start:start] = out[start : start + random.integers(1, 50)]
    elif kind == 5:  # a part gone
        start = random.integers(0, len(out))
        del out[start : start + random.integers(1, 50)]
    elif kind == 6:  # extreme numbers
        start = random.integers(0, max(1, min(200, len(out)) - 4))
        out[start : start + 4] = random.choice([b'\xff\xff\xff\xff', b'\0\0\0\x80', b'\x7f' * 4])
    else:  # bits
        for _ in range(random.integers(1, 8)):
            out[random.integers(0, len(out))] ^= 1 << random.integers(0, 8)
    return bytes(out)


def damaged(kind: str, count: int, folder: Path, seed: int) -> Iterator[Path]:
    """Paths of mutated files, one after the other, each deleted when the next is made."""
    (folder / 'whole').mkdir()
    (folder / 'damaged').mkdir()
    originals = [(path, path.read_bytes()) for path in KINDS[kind](folder / 'whole')]
    random = np.random.default_rng(seed)
    for index in range(count):
        source, data = originals[random.integers(len(originals))]
        path = folder / 'damaged' / f'{index:04d}_{source.name}'
        path.write_bytes(mutated(data, random))
        yield path
        path.unlink()
