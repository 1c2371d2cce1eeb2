"""Imports of the packages in a process of their own: a broken one may take it with it."""

from __future__ import annotations

import subprocess
import sys

from wanted import ROOT

IMPORT_TIMEOUT = 300  # seconds; a first import from a cold network disk is slow


# Imported in this order; each line of output belongs to one step, so that a crash is attributed.
PROBE = """
import importlib, sys, warnings
warnings.simplefilter('ignore')
def step(name, action):
    print('try', name, flush=True)
    try:
        result = action()
    except BaseException as error:
        text = f'{type(error).__name__}: {error}'.replace('\\n', ' ')
        print('bad', name, text[:300], flush=True)
        return None
    print('ok', name, '' if result is None else result, flush=True)
    return result
def load(name):
    importlib.import_module(name)
def operators():
    from mmclarity import compat
    return compat.operators()
def run_nms():
    import torch
    from mmcv.ops import nms
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    boxes = torch.tensor([[0.0, 0, 9, 9], [0, 0, 9, 8], [20, 20, 30, 30]], device=device)
    kept = nms(boxes, torch.tensor([0.5, 0.9, 0.1], device=device), 0.5)[1].tolist()
    assert kept == [1, 2], f'nms kept {kept} in the place of [1, 2]'
def gpu():
    import torch
    if not torch.cuda.is_available():
        return 'none (everything runs on the CPU)'
    return f'{torch.cuda.get_device_name()} (CUDA {torch.version.cuda})'
for module in ('numpy', 'numba', 'torch', 'torchvision', 'cv2', 'mmengine', 'mmcv'):
    step(module, lambda: load(module))
step('gpu', gpu)
step('operators', operators)
step('nms', run_nms)
step('mmdet', lambda: load('mmdet.apis'))
step('mmagic', lambda: load('mmagic.models'))
"""


def probe(timeout: float = IMPORT_TIMEOUT) -> dict[str, tuple[bool, str]]:
    """Import the packages in a process of their own.

    Returns:
        Step -> (whether it went well, its result or its error).
    """
    try:
        done = subprocess.run(
            [sys.executable, '-c', PROBE, str(ROOT / 'projects')],
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        output, end = done.stdout, f'the interpreter died (status {done.returncode})'
    except subprocess.TimeoutExpired as error:
        output = error.stdout or ''
        output = output.decode(errors='replace') if isinstance(output, bytes) else output
        end = f'not finished after {timeout:.0f} s'
    steps: dict[str, tuple[bool, str]] = {}
    for line in output.splitlines():
        word, _, rest = line.partition(' ')
        name, _, text = rest.partition(' ')
        if word == 'try':
            steps[name] = (False, end)
        elif word in ('ok', 'bad') and name in steps:
            steps[name] = (word == 'ok', text)
    return steps
