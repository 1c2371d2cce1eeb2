"""Files as MATLAB writes them, where scipy does not."""

import io
import struct
import zlib

import h5py
import numpy as np
from scipy.io import savemat


class Matlab73:
    """Writes what MATLAB's save -v7.3 does: axes reversed, references, classes as attributes."""

    def __init__(self, path):
        self.path, self.count = path, 0

    def __enter__(self):
        self.file = h5py.File(self.path, 'w', userblock_size=512)
        return self

    def __exit__(self, *error):
        self.file.close()
        with open(self.path, 'r+b') as file:
            file.write(b'MATLAB 7.3 MAT-file'.ljust(116) + bytes(8) + b'\x00\x02IM')

    def put(self, name, value):
        if isinstance(value, dict):
            group = self.file.create_group(name)
            group.attrs['MATLAB_class'] = np.bytes_('struct')
            for key, inner in value.items():
                self.put(f'{name}/{key}', inner)
        elif isinstance(value, str):
            self.file[name] = np.array([[ord(c)] for c in value], np.uint16)
            self.file[name].attrs['MATLAB_class'] = np.bytes_('char')
        elif isinstance(value, np.ndarray) and value.dtype == object:
            # A cell array, or a field of a struct array: without a class then.
            self.file[name] = self.references(value).T
        else:
            self.file[name] = np.atleast_2d(value).T
            self.file[name].attrs['MATLAB_class'] = np.bytes_('double')

    def references(self, value):
        found = np.empty(value.shape, h5py.ref_dtype)
        for place in np.ndindex(value.shape):
            self.count += 1
            self.put(f'#refs#/r{self.count}', value[place])
            found[place] = self.file[f'#refs#/r{self.count}'].ref
        return found


def with_objects(path, plain, classes):
    """A file of version 7 with variables of MATLAB's own classes.

    Compressed, and with the nameless block at the end that keeps what the objects hold.
    """
    buffer = io.BytesIO()
    savemat(buffer, plain, do_compression=True)
    hidden = _element(6, struct.pack('<II', 9, 0)) + _element(5, struct.pack('<ii', 1, 200))
    hidden = _element(14, hidden + _element(1, b'') + _element(2, bytes(200)))
    blocks = map(zlib.compress, [*map(_object, classes.items()), hidden])
    more = b''.join(struct.pack('<II', 15, len(block)) + block for block in blocks)
    path.write_bytes(buffer.getvalue() + more)


def _element(kind, data):
    return struct.pack('<II', kind, len(data)) + data + bytes(-len(data) % 8)


def _object(item):
    name, kind = (text.encode() for text in item)
    handle = _element(6, struct.pack('<II', 13, 0)) + _element(5, struct.pack('<ii', 6, 1))
    handle += _element(1, b'') + _element(6, struct.pack('<6I', 0xDD000000, 2, 1, 1, 1, 1))
    parts = _element(6, struct.pack('<II', 17, 0)) + _element(1, name) + _element(1, b'MCOS')
    return _element(14, parts + _element(1, kind) + _element(14, handle))
