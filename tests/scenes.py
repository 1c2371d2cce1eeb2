"""Pictures with their truth, in the levels of the general network."""

import numpy as np
from scipy.ndimage import convolve1d

from mmclarity.restoration.general import appraise
from mmclarity.restoration.general.caution import Scene
from mmclarity.synthetic.phantom import PhantomSettings, make_phantom

SIDE = 160


def spheres(seed):
    """(SIDE, SIDE) of particles, from 0.1 to 0.9."""
    return 0.1 + 0.8 * make_phantom(PhantomSettings(SIDE, median_radius=6), seed).image


def lines(seed):
    """Of three pixels, which the network does not know."""
    place = np.arange(SIDE) + seed
    return np.tile(0.5 + 0.2 * np.cos(2 * np.pi * place / 3), (SIDE, 1))


def scene(clean, seed, sigma=0.06):
    """A quick scan of ``clean`` with noise of the deviation ``sigma``, smeared along the line."""
    white = np.random.default_rng(seed).standard_normal(clean.shape)
    smeared = convolve1d(white, [1, 2, 1], axis=1, mode='wrap')
    noisy = (clean + sigma * smeared / smeared.std()).astype(np.float32)
    like = appraise(noisy)
    return Scene(
        *(np.asarray(i * like.gain + like.offset, np.float32) for i in (noisy, clean)), like
    )
