"""The first tools that a newcomer starts, with a Python that has no mmclarity yet."""

import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / 'tools'


@pytest.mark.parametrize(
    'tool', ['adapt', 'detect', 'export_onnx', 'restore', 'rsa', 'test', 'train']
)
def test_what_to_install_is_said_in_one_line(tool, tmp_path):
    done = subprocess.run(
        [sys.executable, '-I', '-S', TOOLS / f'{tool}.py', '--help'],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "No module named 'mmclarity': make env" in done.stderr
    assert 'pip install -e' in done.stderr
