import pytest

from tests.tools.rsa_runs import make_pictures


@pytest.fixture
def pictures(tmp_path):
    """A folder with pictures and a small network for tools/rsa.py."""
    make_pictures(tmp_path)
    return tmp_path
