"""What gives a plain detector's config a second look at every proposal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmclarity.errors import UsageError


def with_second_look(
    model: Mapping[str, Any],
    heads: Mapping[str, Any],
    second: Mapping[str, Any] | None = None,
    look_again: float = 0.0,
    suppression: Mapping[str, Any] | None = None,
    **box_head: Any,
) -> dict[str, Any]:
    """A config's ``model``: its base's, with a cascade of two looks in the place of the box head.

    Both looks are the base's box head but for what ``heads.two_looks`` says of each; the second is
    trained on closer boxes (``heads.second_look``). In a config, whose bases are read first::

        _base_ = ['./frcnn_aquarium.py', './_base_/heads.py']
        from mmclarity.detection.second_look import with_second_look

        model = with_second_look(_base_.model, _base_.heads)

    Args:
        model: ``_base_.model`` of a two-stage detector with one box head.
        heads: ``_base_.heads``, see ``configs/_base_/heads.py``.
        second: What the second look's box head has besides.
        look_again: Least probability that the first look gives what is looked at again: see
            :class:`.CascadeRegionAttentionRoIHead`.
        suppression: ``test_cfg.rcnn`` in the place of the base's. With the two options before it
            ``_base_.heads.closer_boxes``.
        box_head: What both looks' box heads have besides, such as ``reg_class_agnostic=True``.

    Returns:
        What differs from the base's model, for mmengine to merge.

    Raises:
        UsageError: If the detector has no box head, or one a stage.

    Examples:
        >>> from mmclarity.detection.second_look import with_second_look
        >>> plain = dict(
        ...     roi_head=dict(bbox_roi_extractor=dict(), bbox_head=dict(num_classes=7)),
        ...     train_cfg=dict(rcnn=dict(assigner=dict(pos_iou_thr=0.5))),
        ... )
        >>> heads = dict(
        ...     two_looks=dict(bbox_head=[dict(type='First'), dict(type='Second')]),
        ...     second_look=dict(pos_iou_thr=0.6),
        ... )
        >>> with_second_look(plain, heads)['roi_head']['bbox_head']
        [{'num_classes': 7, 'type': 'First'}, {'num_classes': 7, 'type': 'Second'}]
    """
    roi_head, looks = model.get('roi_head') or {}, heads['two_looks']
    if not isinstance(roi_head.get('bbox_head'), Mapping):
        raise UsageError(
            f'{model.get("type")}: a second look takes a two-stage detector with one box head '
            '(model.roi_head.bbox_head=dict(...)); this one has '
            + ('one a stage already' if roi_head.get('bbox_head') else 'none')
        )
    rcnn = model['train_cfg']['rcnn']
    closer = dict(rcnn['assigner'], **heads['second_look'])
    first, last = looks['bbox_head']
    changed: dict[str, Any] = dict(
        roi_head=dict(
            looks,
            _delete_=True,
            **(dict(look_again=look_again) if look_again else {}),
            bbox_roi_extractor=roi_head['bbox_roi_extractor'],
            bbox_head=[
                dict(roi_head['bbox_head'], **box_head, **look)
                for look in (first, {**last, **(second or {})})
            ],
        ),
        train_cfg=dict(rcnn=[rcnn, dict(rcnn, assigner=closer)]),
    )
    if suppression is not None:
        changed['test_cfg'] = dict(rcnn=dict(suppression, _delete_=True))
    return changed
