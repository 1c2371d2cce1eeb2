"""Pictures that the hook's tests train on."""

import pytest

from mmclarity.synthetic.surfaces import make_surfaces


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp('surfaces')
    make_surfaces(root, train=4, val=1, stimuli=1)
    return root
