"""Regions of several images, kept flat, and their padded view."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor


class RegionBatch:
    """Boxes of ``num_images`` images in one flat list, in any order.

    Attention runs on a padded ``(num_images, max_count, ...)`` view, so that images never see each
    other. Where every image has the same number of regions and they lie in order (the usual case
    in training, and always with one image) that view costs nothing.

    Args:
        rois: Shape (N, 5): image index, x1, y1, x2, y2 in pixels of the network's input.
            Gradients are cut: boxes say where, they are not learned through the attention.
        num_images: Number of images in the batch, images without regions included.
        key_valid: Bool, shape (N,). False for regions that nobody may attend
            to. Defaults to None: every region serves as context.

    Raises:
        ValueError: If a shape does not fit or an image index is out of range.

    Examples:
        >>> import torch
        >>> from mmclarity.detection.attention import RegionBatch
        >>> rois = torch.tensor([[0.0, 0, 0, 8, 8], [1, 2, 2, 6, 6], [0, 4, 0, 8, 8]])
        >>> regions = RegionBatch(rois, num_images=2)
        >>> regions.counts
        [2, 1]
        >>> regions.pad(torch.tensor([1.0, 2.0, 3.0])).tolist()
        [[1.0, 3.0], [2.0, 0.0]]
    """

    def __init__(self, rois: Tensor, num_images: int, key_valid: Tensor | None = None) -> None:
        if rois.dim() != 2 or rois.size(1) != 5:
            raise ValueError(
                f'rois must have shape (N, 5): image index and box; got {tuple(rois.shape)}'
            )
        if key_valid is not None and key_valid.shape != rois.shape[:1]:
            raise ValueError(
                f'key_valid must have shape ({rois.size(0)},), one flag a region; '
                f'got {tuple(key_valid.shape)}'
            )
        rois = rois.detach()
        self.boxes = rois[:, 1:]
        self.image_index = rois[:, 0].long()
        self.num_images = num_images
        self.key_valid = None if key_valid is None else key_valid.bool()

    def __len__(self) -> int:
        return self.boxes.size(0)

    @cached_property
    def counts(self) -> list[int]:
        """Number of regions of each image."""
        counts = torch.bincount(self.image_index, minlength=self.num_images).tolist()
        if len(counts) > self.num_images:
            raise ValueError(
                f'a region belongs to image {len(counts) - 1}, but the batch has '
                f'{self.num_images} image(s)'
            )
        return counts

    @cached_property
    def _slot(self) -> Tensor:
        """Place of each region among those of its image, shape (N,)."""
        order = torch.argsort(self.image_index, stable=True)
        start = torch.tensor([0, *self.counts[:-1]], device=order.device).cumsum(0)
        slot = torch.empty_like(order)
        slot[order] = torch.arange(len(self), device=order.device)
        return slot - start[self.image_index]

    @cached_property
    def is_dense(self) -> bool:
        """Whether the flat list is already the padded one."""
        if self.num_images <= 1:
            return True
        equal = len(set(self.counts)) == 1
        return equal and bool((self.image_index.diff() >= 0).all())

    def pad(self, x: Tensor) -> Tensor:
        """Flat (N, ...) to (num_images, max_count, ...), zeros where an image has fewer."""
        if self.is_dense:
            # len() would make a number of it, which an exporter has to leave open
            return x.view(self.num_images, -1 if self.boxes.size(0) else 0, *x.shape[1:])
        padded = x.new_zeros(self.num_images, max(self.counts), *x.shape[1:])
        return padded.index_put((self.image_index, self._slot), x)

    def unpad(self, padded: Tensor) -> Tensor:
        """The inverse of :meth:`pad`."""
        if self.is_dense:
            return padded.reshape(self.boxes.size(0), *padded.shape[2:])
        return padded[self.image_index, self._slot]

    @cached_property
    def key_mask(self) -> Tensor | None:
        """Bool (num_images, max_count): True where a key may be looked at; None if everywhere."""
        if self.is_dense and self.key_valid is None:
            return None
        valid = self.key_valid
        if valid is None:
            valid = torch.ones_like(self.image_index, dtype=torch.bool)
        return self.pad(valid)

    def select(self, index: Tensor | slice) -> RegionBatch:
        """The regions at ``index``, in that order, as a batch of the same images."""
        rois = torch.cat([self.image_index[index, None].to(self.boxes), self.boxes[index]], 1)
        valid = None if self.key_valid is None else self.key_valid[index]
        return RegionBatch(rois, self.num_images, valid)

    def split(self, weights: Tensor, keys: RegionBatch) -> list[Tensor]:
        """Cut padded pair weights (num_images, heads, Nq, Nk) into one tensor an image.

        Rows and columns stand in the flat order of the image's queries and keys.
        """
        return [w[:, :n, :m] for w, n, m in zip(weights, self.counts, keys.counts)]
