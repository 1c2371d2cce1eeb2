import pytest

from tests.restoration.general.scan_folders import make_scans


@pytest.fixture(scope='module')
def scans(tmp_path_factory):
    """Folders of quick and slow scans; tests leave them as they are."""
    folder = tmp_path_factory.mktemp('scans')
    make_scans(folder)
    return folder
