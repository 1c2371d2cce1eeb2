"""A folder restored by several processes: a machine's cores or GPUs, or torchrun's ranks."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import queue
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmclarity.errors import UsageError
from mmclarity.utils.cpus import available_cpus

from .main import DONE, MISTAKE, counted

__all__ = [
    'default_workers',
    'rank_of_torchrun',
    'restore_by_workers',
    'summary',
    'told_how_to_go_on',
    'wait_for_ranks',
]

# A process loads its libraries for seconds: fewer images than this are done sooner by one.
IMAGES_EACH = 4


def rank_of_torchrun() -> tuple[int, int]:
    """Rank and number of ranks, (0, 1) where this process is alone.

    Raises:
        UsageError: the environment is half of torchrun's.
    """
    rank, world = os.environ.get('RANK'), os.environ.get('WORLD_SIZE')
    if rank is None or world is None:
        return 0, 1
    try:
        pair = int(rank), int(world)
    except ValueError:
        pair = -1, 0
    if not 0 <= pair[0] < pair[1]:
        raise UsageError(f'RANK={rank} and WORLD_SIZE={world} do not go together; use torchrun')
    return pair


def wait_for_ranks(failed: bool) -> None:
    """Under torchrun, say that this process is done; after a failure, wait until all are.

    torchrun ends all the others as soon as one process has ended with another status than 0: one
    damaged file would cost the images that others are at.
    """
    if 'TORCHELASTIC_RUN_ID' not in os.environ or rank_of_torchrun()[1] == 1:
        return
    import torch.distributed as dist

    store, _, world = next(iter(dist.rendezvous('env://')))
    done = store.add('restored', 1)
    while failed and done < world:
        time.sleep(0.2)
        done = store.add('restored', 0)


def device_of(device: str, rank: int) -> str:
    """The device of one of several processes: ``cuda`` becomes one GPU after the other."""
    import torch

    count = torch.cuda.device_count() if device == 'cuda' else 0
    return f'cuda:{rank % count}' if count else device


def default_workers(device: str, images: int) -> int:
    """How many processes a folder gets.

    Args:
        device: of torch.
        images: in the folder.

    Returns:
        One a core, or a GPU; no more than memory and images allow.
    """
    most = images // IMAGES_EACH
    if device.startswith('cuda'):
        import torch

        return max(1, min(torch.cuda.device_count() if device == 'cuda' else 1, most))
    from mmclarity.restoration.inference.planning import workers_by_memory

    return max(1, min(available_cpus(), workers_by_memory(), most))


def restore_by_workers(
    args: argparse.Namespace,
    reading: dict[str, Any],
    workers: int,
    say: Callable[[str], None],
    make: Callable[..., Any],
) -> tuple[list[Path], dict[Path | None, str], list[Path]]:
    """Restores a folder, each process its share of the images.

    Args:
        args: of the command line; a folder as input.
        reading: options of reading.
        workers: processes.
        say: gets what they say.
        make: a restorer from a class and ``args``; a function of a module.

    Returns:
        Files written; the reasons of failed images, the key is None for a process that died; and
        the images whose restorations were there already.
    """
    context = multiprocessing.get_context('spawn')
    messages = context.Queue()
    processes = [
        context.Process(target=_work, args=(args, reading, (rank, workers), make, messages))
        for rank in range(workers)
    ]
    done: list[Path] = []
    failed: dict[Path | None, str] = {}
    kept: list[Path] = []
    ended: set[int] = set()
    try:
        for process in processes:
            process.start()
        while len(ended) < workers:
            try:
                rank, kind, content = messages.get(timeout=0.5)
            except queue.Empty:
                for rank, process in enumerate(processes):
                    if rank not in ended and process.exitcode not in (None, 0):
                        ended.add(rank)
                        failed[None] = (
                            f'a process was ended ({process.exitcode}), for want of memory? Its '
                            'images are not all restored; try fewer --workers'
                        )
                continue
            if kind == 'say':
                say(content)
            else:
                done += content[0]
                failed.update(content[1])
                kept += content[2]
                ended.add(rank)
    finally:
        for process in processes:
            if process.is_alive() and len(ended) < workers:
                process.terminate()
        for process in processes:
            if process.pid is not None:
                process.join()
    return sorted(done), failed, sorted(kept)


def _work(
    args: argparse.Namespace,
    reading: dict[str, Any],
    share: tuple[int, int],
    make: Callable[..., Any],
    messages: Any,
) -> None:
    """One process."""
    rank = share[0]

    def say(text: str) -> None:
        messages.put((rank, 'say', text))

    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            import torch

            from mmclarity.restoration.inference.restorer import Restorer
            from mmclarity.utils.allocator import keep_freed_memory
        keep_freed_memory()
        torch.set_num_threads(max(1, available_cpus() // share[1]))
        args.device = device_of(args.device, rank)
        restorer = make(Restorer, args)
        if not args.quiet:
            restorer.tell = say
        with warnings.catch_warnings():
            warnings.showwarning = lambda text, *_, **__: say(f'warning: {text}')
            report = restorer.restore_folder(
                args.input,
                args.output,
                args.overwrite,
                args.uncertainty,
                None,
                args.recursive,
                share=share,
                **reading,
            )
        messages.put((rank, 'end', (report.done, report.failed, report.kept)))
    except (ValueError, OSError, RuntimeError, MemoryError) as error:
        messages.put((rank, 'end', ([], {args.input: str(error) or type(error).__name__}, [])))
    except KeyboardInterrupt:
        messages.put((rank, 'end', ([], {args.input: 'interrupted'}, [])))


@contextmanager
def told_how_to_go_on(args: argparse.Namespace, say: Callable[[str], None]) -> Iterator[None]:
    """After Ctrl-C in a folder: what is done is done."""
    try:
        yield
    except KeyboardInterrupt:
        same = 'the same command without --overwrite' if args.overwrite else 'the same command'
        say(f'what was restored is in {args.output}; {same} goes on with the rest')
        raise


def summary(
    done: list, failed: dict, kept: list, args: argparse.Namespace, say: Callable[[str], None]
) -> int:
    """Says what became of a folder; returns the exit status.

    Args:
        done: files written.
        failed: reasons by image.
        kept: images that were restored before.
        args: of the command line.
        say: gets the lines.
    """
    for reason in failed.values():
        say(f'failed: {reason}')
    if kept:
        say(f'{counted(len(kept), "image")} restored before and left alone (--overwrite: anew)')
    written, lost = counted(len(done), 'file'), counted(len(failed), 'image')
    say(f'{written} written to {args.output}, {lost} failed')
    return MISTAKE if failed else DONE
