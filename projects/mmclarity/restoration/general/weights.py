"""The weights that ship with the package, and one batch restored with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mmclarity.errors import CheckpointError

from ..ops.edges import narrow_edges
from ..ops.gaussian import gaussian_taps, smooth
from .appraisal import BRIGHT, DARK, Appraisal
from .manner import Manner
from .network import GeneralUNet, widths_of

__all__ = ['WEIGHTS', 'agreement', 'load_general', 'restore_general', 'sharpen_general']

WEIGHTS = Path(__file__).parent / 'general.safetensors'
# Pixels mirrored around an image: training priced the outermost ones of a patch too little.
EDGE = 16
# Pixels by which the second look's grid is off the first one's; odd, to split pixels otherwise too.
PHASE = 7
# Levels that the network is shown, and deviations of the noise around them: a hot pixel of 50 times
# the contrast would spoil all around it.
DARKEST, BRIGHTEST, NOISE = -1.0, 3.0, 6.0
# Deviation in pixels of the Gaussian beyond which there is detail, that both looks must have.
DETAIL = 3.0


def load_general(path: str | Path = WEIGHTS, device: str = 'cpu') -> GeneralUNet:
    """The general network, in evaluation mode, as wide as its weights are.

    Args:
        path: safetensors of ``tools/train_general_restorer.py`` or ``mmclarity-adapt``.
        device: of torch.

    Raises:
        CheckpointError: missing, damaged, or weights of another network.
    """
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import load_file

    path = Path(path)
    if not path.is_file():
        remedy = 'install the package again' if path == WEIGHTS else 'check the name'
        raise CheckpointError(f'{path}: no such file; {remedy}')
    try:
        state = load_file(path)
        with safe_open(path, 'pt') as file:
            manner = Manner.told(file.metadata() or {})
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f'{path}: can not be read: {error}; copy it again') from error
    try:
        net = GeneralUNet(widths_of(state))
        net.load_state_dict({name: value.float() for name, value in state.items()})
    except (RuntimeError, ValueError) as error:
        raise CheckpointError(
            f'{path}: are weights of another network than the general restorer; those of '
            'mmclarity-adapt fit, others need their config'
        ) from error
    net.manner = manner
    return net.to(device, memory_format=torch.channels_last).eval()


def restore_general(
    net: GeneralUNet,
    levels: Tensor,
    image: Appraisal,
    strength: float = 1.0,
    twice: bool = True,
    spare: Sequence[int] = (0, 0, 0, 0),
) -> Tensor:
    """Restores tiles of one image: what two looks agree on, the second turned by 180 degrees.

    What a network takes for a particle in noise depends on how the noise lies, and on how much of
    it the network is told of. The second look is told of more (:attr:`.Appraisal.second_look`); see
    :func:`agreement`. Quarter turns would put the scan lines upright, which training did not have.

    Args:
        net: from :func:`load_general`.
        levels: (N, 1, H, W), 0 black and 1 white.
        image: of the whole image.
        strength: factor on the noise the network is told of.
        twice: else the first look alone, in half of the time.
        spare: pixels above, below, left and right that are read and not restored.

    Returns:
        (N, 1, H, W) float32 in [0, 1], less what is spare.
    """
    if image.upright:  # the network knows noise that is smeared along rows
        top, bottom, left, right = spare
        laid, image = levels.transpose(2, 3).contiguous(), replace(image, upright=False)
        restored = restore_general(net, laid, image, strength, twice, (left, right, top, bottom))
        return restored.transpose(2, 3)
    first, second = (
        levels.new_tensor(image.told(strength * factor)).expand(len(levels), 3)
        for factor in (1.0, max(1.0, net.manner.caution * image.second_look))
    )
    whole = levels * image.gain + image.offset
    margin = NOISE * image.sigma
    stretched = whole.clamp(DARKEST - margin, BRIGHTEST + margin)
    beyond = whole - stretched  # stays as it is
    kept = tuple(slice(s, n - e) for s, e, n in zip(spare[::2], spare[1::2], levels.shape[2:]))
    # of what is spare, agreement reads this far
    reach = len(gaussian_taps(DETAIL)) // 2 if twice else 0
    top, bottom, left, right = (max(0, pixels - reach) for pixels in spare)
    unused = (top + EDGE, bottom + EDGE, left + EDGE, right + EDGE)
    restored = net(_mirrored(stretched, EDGE, EDGE), first, unused)
    if twice:
        # Its grid of pooled pixels starts at the far end, PHASE beyond that of the first look:
        # in every tile alike, since tiles start at multiples of the stride.
        rows, columns = (EDGE + (PHASE - EDGE - length) % net.stride for length in levels.shape[2:])
        unused = (bottom + rows, top + EDGE, right + columns, left + EDGE)
        turned = net(_mirrored(stretched, rows, columns).flip(2, 3), second, unused).flip(2, 3)
        restored = agreement(restored, turned)
        read = [min(reach, pixels) for pixels in spare]
        height, width = restored.shape[2:]
        restored = restored[..., read[0] : height - read[1], read[2] : width - read[3]]
    restored = restored + beyond[(..., *kept)]
    return ((restored - image.offset) / image.gain).clamp(0, 1)


@torch.no_grad()
def restore_levels(net: GeneralUNet, levels: np.ndarray, image: Appraisal) -> np.ndarray:
    """Restores an image that is in the network's levels already, without what is put back.

    Args:
        net: from :func:`load_general`.
        levels: (H, W) float32.
        image: of the whole image, before it was brought to these levels.

    Returns:
        (H, W) float32 in [0, 1].
    """
    like = replace(image, low=DARK, high=BRIGHT)
    shown = torch.from_numpy(levels)[None, None].to(next(net.parameters()).device)
    return restore_general(net, shown, like)[0, 0].cpu().numpy()


def agreement(first: Tensor, second: Tensor) -> Tensor:
    """The detail that two restorations share, on the grey levels of the first.

    With d what a restoration has beyond a Gaussian of :data:`DETAIL` pixels: of both d the smaller
    where they have one sign, else none (the minmod of Roe, Annu. Rev. Fluid Mech. 1986). Detail
    that one of them invents is gone, where a mean would leave half of it. Grey levels over larger
    distances come from the first alone: told of too much noise, a network shifts them.

    Args:
        first: (N, 1, H, W) float32.
        second: the same.

    Returns:
        (N, 1, H, W) float32.
    """
    with torch.autocast(first.device.type, enabled=False):
        taps = gaussian_taps(DETAIL).to(first)
        base = smooth(first, taps)
        one, other = first - base, second - smooth(second, taps)
    # half of the sum of signs is the common sign, or zero
    return base + (one.sign() + other.sign()) / 2 * torch.minimum(one.abs(), other.abs())


def sharpen_general(restored: Tensor, image: Appraisal, amount: float = 1.0) -> Tensor:
    """Narrows the edges of what :func:`restore_general` gave; see :func:`..ops.narrow_edges`.

    Args:
        restored: (N, 1, H, W), 0 black and 1 white.
        image: of the noisy image.
        amount: factor on how much; 0 gives it back.

    Returns:
        (N, 1, H, W) in [0, 1].
    """
    stretched = restored * image.gain + image.offset
    narrow = narrow_edges(stretched, *image.narrowing(amount))
    return ((narrow - image.offset) / image.gain).clamp(0, 1)


def _mirrored(levels: Tensor, below: int, right: int) -> Tensor:
    """With its mirror image around it; with its edge where it is too small for that."""
    height, width = levels.shape[2:]
    mode = 'reflect' if max(EDGE, below) < height and max(EDGE, right) < width else 'replicate'
    return F.pad(levels, (EDGE, right, EDGE, below), mode=mode)
