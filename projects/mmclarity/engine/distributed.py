"""Several processes without a GPU: what mmengine's launchers leave out."""

import gc
import os
import subprocess
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.device import get_device

from mmclarity.errors import UsageError
from mmclarity.utils.cpus import available_cpus


def _slurm_environment() -> None:
    """Set torch's rendezvous variables from Slurm's, where they are not set yet.

    Raises:
        UsageError: outside a Slurm job step.
    """
    if 'SLURM_PROCID' not in os.environ:
        raise UsageError(
            '--launcher slurm, but SLURM_PROCID is not set. Start it with srun '
            '(tools/slurm_train.sh, tools/slurm_test.sh).'
        )
    os.environ['RANK'] = os.environ['SLURM_PROCID']
    os.environ['WORLD_SIZE'] = os.environ['SLURM_NTASKS']
    os.environ['LOCAL_RANK'] = os.environ.get('SLURM_LOCALID', '0')
    # Of its own for each job, and for each of its steps: others may be on these nodes.
    job, step = (int(os.environ.get(name, 0)) for name in ('SLURM_JOB_ID', 'SLURM_STEP_ID'))
    os.environ.setdefault('MASTER_PORT', str(20000 + (101 * job + step) % 12000))
    if 'MASTER_ADDR' not in os.environ:
        nodes = subprocess.run(
            ['scontrol', 'show', 'hostname', os.environ['SLURM_NODELIST']],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.split()
        os.environ['MASTER_ADDR'] = nodes[0]


def setup_cpu_processes(cfg: Config) -> None:
    """Make ``--launcher`` work without a GPU; with one, nothing is changed.

    mmengine's launchers call ``torch.cuda.set_device``, and its default wrapper asks for a device
    id. The gloo group is therefore started here, which mmengine then finds and uses, and the
    wrapper is configured for host memory. Must be called before the Runner is built.

    Args:
        cfg: ``launcher`` is read, and the ``timeout`` (seconds) of ``env_cfg.dist_cfg``;
            ``model_wrapper_cfg`` and ``env_cfg`` are changed.

    Raises:
        UsageError: if the launcher's environment variables are missing, or for ``mpi``.
    """
    launcher = cfg.get('launcher', 'none')
    if launcher == 'none' or get_device() != 'cpu':
        return
    if launcher == 'slurm':
        _slurm_environment()
    elif launcher == 'mpi':
        raise UsageError('--launcher mpi needs GPUs; without them use --launcher pytorch')
    missing = [
        name
        for name in ('RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT')
        if name not in os.environ
    ]
    if missing:
        raise UsageError(
            f'--launcher {launcher}, but {", ".join(missing)} not set in the environment. '
            'Start it with torchrun (tools/dist_train.sh, tools/dist_test.sh).'
        )
    env = cfg.get('env_cfg') or {}
    if not dist.is_initialized():
        dist.init_process_group(backend='gloo', **_timeout(env.get('dist_cfg') or {}))
    cfg.env_cfg = dict(env, dist_cfg=dict(backend='gloo'))
    wrapper = dict(
        type='MMDistributedDataParallel',
        broadcast_buffers=False,
        find_unused_parameters=cfg.get('find_unused_parameters', False),
    )
    wrapper.update(cfg.get('model_wrapper_cfg') or {})
    if wrapper['type'].endswith('DistributedDataParallel'):
        cfg.model_wrapper_cfg = dict(wrapper, device_ids=None)
    # Each process would otherwise take all cores.
    if 'OMP_NUM_THREADS' not in os.environ:
        local = int(os.environ.get('LOCAL_WORLD_SIZE', os.environ['WORLD_SIZE']))
        torch.set_num_threads(max(1, available_cpus() // local))


def _timeout(given: dict[str, Any]) -> dict[str, timedelta]:
    """How long processes wait for one that evaluates or analyses alone, as mmengine takes it."""
    if given.get('timeout') is None:
        return {}
    seconds = given['timeout']
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds <= 0:
        raise UsageError(f'env_cfg.dist_cfg.timeout must be a number of seconds, got {seconds!r}')
    return dict(timeout=timedelta(seconds=seconds))


def close_cpu_processes() -> None:
    """End the gloo group in step: a process that exits first makes the others abort at exit.

    To be called when nothing refers to the Runner any more: its wrapper of the model holds the
    group, in circles of references. The threads of gloo would live on into the exit of Python,
    which ends threads that give something back by then, and the process with them ("terminate
    called without an active exception"). The last reference is dropped here by itself: only so do
    the threads get Python's lock while they are waited for.
    """
    if dist.is_initialized() and dist.get_backend() == 'gloo':
        group = dist.group.WORLD
        dist.barrier()
        dist.destroy_process_group()
        gc.collect()
        del group


def is_first(launcher: str) -> bool:
    """Whether this process is alone, or the first of its work's."""
    rank = int(os.environ.get('RANK') or os.environ.get('SLURM_PROCID') or 0)
    return launcher == 'none' or rank == 0
