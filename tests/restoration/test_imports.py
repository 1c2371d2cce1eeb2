"""What importing and restoring must not pull in."""

import pytest

from tests.running import session

SCRIPT = """
import sys
import numpy as np
{body}
heavy = {{'mmagic', 'mmdet', 'diffusers', 'matplotlib'}} & set(sys.modules)
assert not heavy, heavy
"""


@pytest.mark.parametrize(
    'body',
    [
        'import mmclarity.restoration',
        'from mmclarity.restoration import Restorer, read_sem, write_sem',
    ],
)
def test_restoration_does_not_import_mmagic(body):
    done = session(SCRIPT.format(body=body))
    assert done.returncode == 0, done.stderr


def test_pix2pix_is_found_where_it_always_was():
    from mmengine.registry import MODELS

    from mmclarity.restoration import models
    from mmclarity.restoration.models.pix2pix import SEMPix2Pix

    assert models.SEMPix2Pix is SEMPix2Pix
    assert MODELS.get('SEMPix2Pix') is models.build_pix2pix
    with pytest.raises(AttributeError, match='SEMPix3Pix'):
        getattr(models, 'SEMPix3Pix')  # noqa: B009
