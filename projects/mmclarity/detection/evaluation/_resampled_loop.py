"""The compiled loop of :class:`.resampled_ap.ResampledAP`: many resamples side by side.

Every curve is walked from its end, so that the highest precision from a recall on is at hand when
it is asked for. :data:`LANES` resamples are walked together: what differs between them is only how
often an image counts, so that each step is the same arithmetic on a short row of numbers, which the
compiler turns into vector code. Two things are written as they are for its sake: an array has a
place for every lane as its last axis and is indexed as a whole (a slice is an object, and costs
more than the sum), and ``a if a > b else b`` stands for ``max`` (which must look for NaN).
"""

import numpy as np

from mmclarity.utils.jit import compiled

#: Resamples at a time: state of ten curves (18 KB) stays in the first cache.
LANES = 64
#: What an event is: right; the last of its streak; the first of its streak.
RIGHT, LAST, FIRST = 1, 2, 4
#: COCO's area ranges in the order of ``BoxEval``, its IoU thresholds, its recall thresholds.
AREAS, IOUS = 4, 10
RECALLS = np.arange(101) * 0.01  # bit by bit COCO's np.linspace(0, 1, 101)


@compiled
def _reached(rights, share, total):  # pragma: no cover
    """The highest of :data:`RECALLS`, by place, that a recall of rights / total is not below.

    ``share`` is 100 / total. The division decides where both are equal but for rounding.
    """
    place = np.floor(rights * share + 1e-9)
    return place if rights / total >= place * 0.01 else place - 1.0


@compiled
def _walk_run(
    weights, lane, first, last, before, length, image, upto, iou, kind, extra,
    wrong, rights, extras, best, area, reached, share, total,
):  # fmt: skip  # pragma: no cover
    """Walks events of one image with one score: as a whole, as often as the image counts."""
    weight = weights[image[first], lane]
    ahead = wrong[lane] - weight * length
    for copy in range(weight - 1, -1, -1):
        for event in range(last - 1, first - 1, -1):
            place = iou[event]
            if kind[event] & RIGHT:
                count = rights[place, lane]
                found = ahead + copy * length + upto[event] - before + extras[place, lane]
                best[place, lane] = max(best[place, lane], count / found)
                rights[place, lane] = count - 1
                now = _reached(count - 1, share[lane], total[lane])
                area[place, lane] += (reached[place, lane] - now) * best[place, lane]
                reached[place, lane] = now
            extras[place, lane] -= extra[event]
    wrong[lane] = ahead


@compiled
def _sum_up(
    w, low, high, first, last, base_image, image, iou, kind, extra, wrong, rights, extras
):  # pragma: no cover
    """What the counts are at the end of a cell's lists."""
    wrong[:] = 0
    rights[:] = 0
    extras[:] = 0
    for item in range(low, high):
        place = base_image[item]
        for lane in range(LANES):
            wrong[lane] += w[place, lane]
    for event in range(first, last):
        place, row, more = image[event], iou[event], extra[event]
        if kind[event] & RIGHT:
            for lane in range(LANES):
                rights[row, lane] += w[place, lane]
        if more != 0:
            for lane in range(LANES):
                extras[row, lane] += w[place, lane] * more


@compiled
def _back_to(w, item, end, base_image, wrong):  # pragma: no cover
    """Takes base detections off until ``end`` are left."""
    while item > end:
        item -= 1
        place = base_image[item]
        for lane in range(LANES):
            wrong[lane] -= w[place, lane]
    return item


@compiled
def _walk_back(
    w, low, high, first, last, base_image, image, upto, iou, kind, extra, run, run_base,
    wrong, rights, extras, best, area, reached, share, total,
):  # fmt: skip  # pragma: no cover
    """Adds up ``area``, the highest precisions at the recalls, from a cell's end to its start."""
    event, base = last, high
    while event > first:
        event -= 1
        place, row, what, more = image[event], iou[event], kind[event], extra[event]
        if run[event] > 0:  # equal scores in one image: lane by lane
            base = _back_to(w, base, low + run_base[event, 1], base_image, wrong)
            begin, before = event + 1 - run[event], run_base[event, 0]
            for lane in range(LANES):
                if w[place, lane] > 0:
                    _walk_run(
                        w, lane, begin, event + 1, before, base - low - before,
                        image, upto, iou, kind, extra,
                        wrong, rights, extras, best, area, reached, share, total,
                    )  # fmt: skip
            event, base = begin, low + before
            continue
        base = _back_to(w, base, low + upto[event], base_image, wrong)
        if what & LAST:
            for lane in range(LANES):
                found = wrong[lane] + extras[row, lane]
                found = found if found > 1 else 1
                value = rights[row, lane] / found
                known = best[row, lane]
                best[row, lane] = value if value > known else known
        if what & RIGHT:
            for lane in range(LANES):
                rights[row, lane] -= w[place, lane]
        if more != 0:
            for lane in range(LANES):
                extras[row, lane] -= w[place, lane] * more
        if what & FIRST:
            for lane in range(LANES):
                now = _reached(rights[row, lane], share[lane], total[lane])
                area[row, lane] += (reached[row, lane] - now) * best[row, lane]
                reached[row, lane] = now


@compiled
def _to_find(w, low, high, gt_image, gt_count, objects):  # pragma: no cover
    """Adds up what there is to find; whether there is anything in any lane."""
    objects[:] = 0
    for item in range(low, high):
        place, count = gt_image[item], gt_count[item]
        for lane in range(LANES):
            objects[lane] += w[place, lane] * count
    return objects.max() > 0


@compiled
def evaluate(
    weights, batches, num_groups, num_categories,
    base_image, base_start, image, upto, iou, kind, extra, run, run_base, event_start,
    gt_image, gt_count, gt_start, out,
):  # fmt: skip  # pragma: no cover
    """Fills ``out``, (batches, LANES, groups, categories, 6), for some of the batches.

    The last axis is AP, AP50, AP75, and AP of small, medium and large objects; what is in it stays
    where there is nothing to find.

    ``weights``, (batches, images, LANES), says how often each image counts; the lists are those of
    ``resampled_ap._Lists``.
    """
    shape = (IOUS, LANES)
    wrong, objects = np.zeros(LANES, dtype=np.int32), np.zeros(LANES, dtype=np.int32)
    rights, extras = np.zeros(shape, dtype=np.int32), np.zeros(shape, dtype=np.int32)
    best, area, reached = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    share, total = np.zeros(LANES), np.zeros(LANES)
    for batch in batches:
        w = weights[batch]
        for group in range(num_groups):
            for category in range(num_categories):
                for size in range(AREAS):
                    cell = (group * num_categories + category) * AREAS + size
                    if not _to_find(
                        w, gt_start[cell], gt_start[cell + 1], gt_image, gt_count, objects
                    ):
                        continue
                    low, high = base_start[cell], base_start[cell + 1]
                    first, last = event_start[cell], event_start[cell + 1]
                    _sum_up(
                        w, low, high, first, last, base_image, image, iou, kind, extra,
                        wrong, rights, extras,
                    )  # fmt: skip
                    best[:] = 0.0
                    area[:] = 0.0
                    for lane in range(LANES):
                        total[lane] = objects[lane] if objects[lane] > 0 else 1
                        share[lane] = 100.0 / total[lane]
                        for row in range(IOUS):
                            count = rights[row, lane]
                            reached[row, lane] = _reached(count, share[lane], total[lane])
                    _walk_back(
                        w, low, high, first, last, base_image, image, upto, iou, kind, extra, run,
                        run_base, wrong, rights, extras, best, area, reached, share, total,
                    )  # fmt: skip
                    for lane in range(LANES):
                        if objects[lane] == 0:
                            continue
                        mean = 0.0
                        for row in range(IOUS):  # nothing at all reaches a recall of zero
                            area[row, lane] = (area[row, lane] + best[row, lane]) / len(RECALLS)
                            mean += area[row, lane] / IOUS
                        place = out[batch, lane, group, category]
                        place[0 if size == 0 else 2 + size] = mean
                        if size == 0:
                            place[1], place[2] = area[0, lane], area[5, lane]
