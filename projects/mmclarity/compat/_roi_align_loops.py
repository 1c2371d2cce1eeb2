"""The compiled loops of :mod:`.roi_align_cpu`.

bfloat16 comes and goes as its 16 bits, the upper half of a float32's.
"""

import math

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

from mmclarity.utils.jit import compiled


@intrinsic
def _bits_as_float(context, bits):
    def generate(_context, builder, _signature, arguments):
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.uint32), generate


@intrinsic
def _float_as_bits(context, value):
    def generate(_context, builder, _signature, arguments):
        return builder.bitcast(arguments[0], ir.IntType(32))

    return types.uint32(types.float32), generate


def _read(value):
    """A number of the map as one to compute with."""
    raise NotImplementedError  # compiled code only


@overload(_read)
def _read_of(value):
    if value == types.uint16:
        return lambda value: _bits_as_float(np.uint32(value) << np.uint32(16))
    return lambda value: value


def _write(row, place, value):
    """Stores a sum, rounded as the array's type asks for."""
    raise NotImplementedError  # compiled code only


@overload(_write)
def _write_of(row, place, value):
    if row.dtype == types.uint16:

        def to_bfloat16(row, place, value):
            bits = _float_as_bits(np.float32(value))
            if value != value:
                row[place] = np.uint16(0x7FC0)
            else:  # to the nearest, ties to the even one
                half = np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
                row[place] = np.uint16((bits + half) >> np.uint32(16))

        return to_bfloat16

    def plain(row, place, value):
        row[place] = value

    return plain


@compiled
def _axis(start, size, ratio, cells, first, width, weight):  # pragma: no cover
    """Reduces the samples of one axis to weights of cells.

    Args:
        start: Where the region begins, in cells.
        size: How long it is, in cells.
        ratio: Samples per bin; 0 means ``ceil(size / bins)``.
        cells: Length of the map on this axis.
        first: (B,) takes the first cell that a bin reads.
        width: (B,) takes how many it reads.
        weight: (B, cells) takes their weights.

    Returns:
        First and last cell (not included) of the whole region.
    """
    bins = len(first)
    step = size / bins
    low, high = cells, 0
    count = ratio
    if ratio <= 0:
        count = int(math.ceil(step)) if 0.0 < step < 1e9 else 0
    for b in range(bins):
        first[b], width[b] = 0, 0
        if count <= 0:
            continue
        begin = start + b * step
        pitch = step / count
        if pitch < 0.0:  # a region inside out: the same samples from the other end
            begin, pitch = begin + step, -pitch
        # Only samples from -1 to the end count; there may be very many others.
        i, end = 0, count
        if begin < -1.0 and pitch > 0:
            i = max(0, min(count, int((-1.0 - begin) / pitch - 0.5) - 1))
        if begin + count * pitch > cells and pitch > 0:
            end = max(0, min(count, int((cells - begin) / pitch - 0.5) + 3))
        share = 1.0 / count
        last = -1
        while i < end:
            place = begin + (i + 0.5) * pitch
            i += 1
            if place < -1.0 or place > cells:
                continue
            place = min(max(place, 0.0), cells - 1.0)
            cell = int(place)
            part = place - cell
            if last < 0:
                first[b], last = cell, cell
                weight[b, 0] = 0.0
            while last < min(cell + 1, cells - 1):
                last += 1
                weight[b, last - first[b]] = 0.0
            weight[b, cell - first[b]] += (1.0 - part) * share
            if part > 0.0:
                weight[b, cell + 1 - first[b]] += part * share
        if last >= 0:
            width[b] = last - first[b] + 1
            low, high = min(low, first[b]), max(high, last + 1)
    return low, high


@compiled
def _room(bins, cells):  # pragma: no cover
    """For :func:`_axis`: what it fills."""
    return np.empty(bins, np.int64), np.empty(bins, np.int64), np.empty((bins, cells))


@compiled
def pool(table, regions, places, ratio, out):  # pragma: no cover
    """Pools regions.

    Args:
        table: (N, H, W, C) feature map.
        regions: (R, 5) image, first row and column, height and width in cells.
        places: (R,) where in ``out`` each goes.
        ratio: Samples per bin and axis.
        out: (K, C, rows, columns).
    """
    _, height, width, channels = table.shape
    rows, columns = out.shape[2:]
    y_first, y_width, y_weight = _room(rows, height)
    x_first, x_width, x_weight = _room(columns, width)
    flat = out.reshape(len(out), channels, rows * columns)
    zero = _read(table[0, 0, 0, 0]) * 0
    line = np.empty((columns, channels), type(zero))
    sums = np.empty((rows * columns, channels), type(zero))
    for r in range(len(regions)):
        place = places[r]
        for p in range(rows * columns):
            for c in range(channels):
                sums[p, c] = 0
        image = int(regions[r, 0])
        top, bottom = _axis(regions[r, 1], regions[r, 3], ratio, height, y_first, y_width, y_weight)
        _axis(regions[r, 2], regions[r, 4], ratio, width, x_first, x_width, x_weight)
        for y in range(top, bottom):
            for b in range(columns):
                for c in range(channels):
                    line[b, c] = 0
                for t in range(x_width[b]):
                    w = sums.dtype.type(x_weight[b, t])
                    x = x_first[b] + t
                    for c in range(channels):
                        line[b, c] += w * _read(table[image, y, x, c])
            for a in range(rows):
                t = y - y_first[a]
                if 0 <= t < y_width[a]:
                    w = sums.dtype.type(y_weight[a, t])
                    for b in range(columns):
                        for c in range(channels):
                            sums[a * columns + b, c] += w * line[b, c]
        for c in range(channels):
            for p in range(rows * columns):
                _write(flat[place, c], p, sums[p, c])


@compiled
def scatter(grad, regions, ratio, total, begin, end):  # pragma: no cover
    """Adds the gradient of pooled regions to the map they were pooled from.

    Args:
        grad: (R, rows, columns, C).
        regions: As of :func:`pool`.
        ratio: Samples per bin and axis.
        total: (N, H, W, C), added to.
        begin: First of the channels to work on.
        end: The one after the last.
    """
    _, height, width, _ = total.shape
    rows, columns = grad.shape[1:3]
    y_first, y_width, y_weight = _room(rows, height)
    x_first, x_width, x_weight = _room(columns, width)
    line = np.empty((columns, end - begin), grad.dtype)
    for r in range(len(regions)):
        image = int(regions[r, 0])
        top, bottom = _axis(regions[r, 1], regions[r, 3], ratio, height, y_first, y_width, y_weight)
        _axis(regions[r, 2], regions[r, 4], ratio, width, x_first, x_width, x_weight)
        for y in range(top, bottom):
            for b in range(columns):
                for c in range(end - begin):
                    line[b, c] = 0
            for a in range(rows):
                t = y - y_first[a]
                if 0 <= t < y_width[a]:
                    w = grad.dtype.type(y_weight[a, t])
                    for b in range(columns):
                        for c in range(end - begin):
                            line[b, c] += w * grad[r, a, b, begin + c]
            for b in range(columns):
                for t in range(x_width[b]):
                    w = grad.dtype.type(x_weight[b, t])
                    x = x_first[b] + t
                    for c in range(end - begin):
                        total[image, y, x, begin + c] += w * line[b, c]
