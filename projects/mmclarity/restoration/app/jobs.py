"""Uploaded files and their restoration, one at a time, in a folder that nobody else sees.

Names from outside never become paths: a file is stored as ``source`` with one of the known endings
in a folder named by a random token, and whoever does not know the token has no way to it.
"""

from __future__ import annotations

import queue
import re
import secrets
import shutil
import tempfile
import threading
import time
import unicodedata
import warnings
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mmclarity.errors import UsageError, said
from mmclarity.utils.files import readable_size

from ..general.appraising import appraise
from ..inference.doubts import Doubts, circles
from ..io.files import copy_suffix
from ..io.micrograph import READABLE, SEMImage
from ..io.sidecars import MOST_TEXT
from ..io.sidecars import SUFFIXES as TEXT_SUFFIXES
from ..io.stack import rewriting_stack
from ..io.stored import ColourImageError
from ..io.tiff_write import name_itself
from .previews import save_previews
from .watched import WatchedRestorer

__all__ = ['Cancelled', 'Job', 'Refused', 'RefusedUpload', 'Workshop', 'safe_name']

KEEP_SECONDS = 4 * 3600  # results are kept this long
SWEEP_SECONDS = 300  # without work; then what is old is looked for
MOST_JOBS = 500  # at once, waiting and done
MOST_PAGES = 100  # of a stack that are shown
NAME_LENGTH = 120
TEXT_BESIDE = re.compile(rf'({"|".join(end[1:] for end in TEXT_SUFFIXES)})-(\d{{1,7}})')
TOKEN = re.compile(r'[A-Za-z0-9_-]{22}')


class Refused(UsageError):
    """What is asked for is not done; ``status`` is that of HTTP."""

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.status = status


class RefusedUpload(Refused):
    """An upload that is not taken."""


class Cancelled(Exception):
    """The user does not want the result any more."""


@dataclass
class Job:
    """One uploaded file.

    Attributes:
        token: names it in addresses; not to be guessed.
        name: the user's, for showing and for the download.
        folder: of its files.
        source: the upload.
        doubts: whether doubtful particles are looked for.
        channel: of a coloured picture, the one to restore.
        channels: of a coloured picture, how many there are to choose from; else 0.
        state: 'waiting', 'working', 'done', 'failed' or 'cancelled'.
        result: the restored file.
        sharp: the same with narrower edges; None of another network than the general one.
    """

    token: str
    name: str
    folder: Path
    source: Path
    doubts: bool = True
    channel: int | None = None
    channels: int = 0
    state: str = 'waiting'
    progress: float = 0.0
    report: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    error: str = ''
    sigma: float | None = None
    pages: list[dict] = field(default_factory=list)
    page_count: int = 1
    pixel_size: float | None = None
    vendor: str | None = None
    seconds: float = 0.0
    ended: float = 0.0
    result: Path | None = None
    sharp: Path | None = None
    cancelled: bool = False

    def download_name(self, sharp: bool = False) -> str:
        """``NAME_restored`` with the ending of the result; ``NAME_restored_sharp``."""
        stem, inner = Path(self.name).stem, ''
        if stem.lower().endswith('.ome'):
            stem, inner = stem[:-4], stem[-4:]
        suffix = self.result.suffix if self.result is not None else Path(self.name).suffix
        return f'{stem}_restored{"_sharp" if sharp else ""}{inner}{suffix}'

    def text_beside(self, told: str) -> tuple[Path, int]:
        """Where the text file beside the upload goes, and its bytes; of 'txt-812'.

        Raises:
            RefusedUpload: it is no such file, or too large for one.
        """
        found = TEXT_BESIDE.fullmatch(told)
        if found is None or int(found[2]) > MOST_TEXT:
            raise RefusedUpload(f'{self.name}: beside={told} is no text file of a microscope')
        return self.source.with_suffix(f'.{found[1]}'), int(found[2])

    def told(self, ahead: int = 0) -> dict:
        """What the page is told; nothing in it names a place on the disk."""
        return dict(
            token=self.token,
            name=self.name,
            state=self.state,
            ahead=ahead,
            progress=round(self.progress, 3),
            report=self.report,
            warnings=self.warnings,
            error=self.error,
            sigma=self.sigma,
            pages=self.pages,
            page_count=self.page_count,
            pixel_size=self.pixel_size,
            vendor=self.vendor,
            seconds=round(self.seconds, 1),
            download=self.download_name() if self.result is not None else None,
            sharp=self.download_name(True) if self.sharp is not None else None,
            doubts=self.doubts,
            channels=self.channels if self.state == 'failed' else 0,
        )


def safe_name(name: str) -> str:
    """A file name to show and to offer for the download; never used as a path.

    Folders, control and direction-changing characters are dropped.

    Raises:
        RefusedUpload: its ending is not that of an image.
    """
    name = unicodedata.normalize('NFC', name).replace('\\', '/').rsplit('/', 1)[-1]
    name = ''.join(c for c in name if unicodedata.category(c)[0] != 'C' and c not in '<>:"|?*')
    stem, dot, suffix = name.strip('. ').rpartition('.')
    if not dot or f'.{suffix.lower()}' not in READABLE:
        known = ', '.join(READABLE)
        raise RefusedUpload(f'{name or "the file"}: is not one of {known}', 415)
    return f'{stem[:NAME_LENGTH] or "image"}.{suffix}'


class Workshop:
    """Takes files, restores them one after the other, and forgets them.

    Args:
        restorer: does the work; its ``tell`` and ``watch`` are taken.
        limit: bytes of one upload.
        folder: for the work; a temporary one that :meth:`close` removes if not given.
        reading: options of :func:`..io.read_sem`, for every file; its ``channel`` is not asked for.
    """

    def __init__(
        self,
        restorer: WatchedRestorer,
        limit: int,
        folder: str | Path | None = None,
        reading: Mapping[str, object] | None = None,
    ) -> None:
        self.restorer, self.limit, self.reading = restorer, limit, dict(reading or {})
        self.folder = Path(folder or tempfile.mkdtemp(prefix='mmclarity-'))
        self._jobs: dict[str, Job] = {}
        self._lock = threading.Lock()
        self._queue: queue.Queue[Job | None] = queue.Queue()
        self._thread = threading.Thread(target=self._work, name='restorer', daemon=True)
        self._thread.start()

    def new(self, name: str, doubts: bool = True) -> Job:
        """A job whose ``source`` is to be written, and then handed to :meth:`start`.

        Raises:
            RefusedUpload: the name is not that of an image, or there are too many jobs.
        """
        name = safe_name(name)
        self.forget_old()
        token = secrets.token_urlsafe(16)
        folder = self.folder / token
        with self._lock:
            if len(self._jobs) >= MOST_JOBS:
                raise RefusedUpload(
                    f'{name}: {MOST_JOBS} images are here already; remove some, or try later', 503
                )
            job = Job(token, name, folder, folder / f'source{Path(name).suffix.lower()}', doubts)
            self._jobs[token] = job
        folder.mkdir(mode=0o700)
        return job

    def start(self, job: Job) -> None:
        """Queues a job whose file is complete."""
        self._queue.put(job)

    def choose(self, job: Job, channel: int) -> None:
        """Queues a coloured picture once more, of which now one channel is restored.

        Raises:
            Refused: it was not asked for, or there is no such channel.
        """
        with self._lock:
            if job.state != 'failed' or not 0 <= channel < job.channels:
                raise Refused(f'{job.name}: there is no channel {channel} to choose', 409)
            job.channel, job.state, job.error = channel, 'waiting', ''
            job.ended = job.progress = 0.0
            job.report, job.warnings, job.pages = [], [], []
        self.start(job)

    def find(self, token: str) -> Job | None:
        """The job of a token."""
        return self._jobs.get(token) if TOKEN.fullmatch(token) else None

    def ahead(self, job: Job) -> int:
        """Jobs that come before a waiting one."""
        if job.state != 'waiting':
            return 0
        with self._lock:
            jobs = list(self._jobs.values())
        return sum(other.state in ('waiting', 'working') for other in jobs[: jobs.index(job)])

    def remove(self, job: Job) -> None:
        """Cancels a job and deletes its files."""
        job.cancelled = True
        with self._lock:
            self._jobs.pop(job.token, None)
        if job.state == 'waiting':
            job.state = 'cancelled'
        if job.state != 'working':  # else the worker does it
            shutil.rmtree(job.folder, ignore_errors=True)

    def forget_old(self) -> None:
        """Removes what ended long ago."""
        with self._lock:
            old = [
                j for j in self._jobs.values() if j.ended and time.time() - j.ended > KEEP_SECONDS
            ]
        for job in old:
            self.remove(job)

    def close(self) -> None:
        """Ends the work and deletes all files."""
        for job in list(self._jobs.values()):
            job.cancelled = True
        self._queue.put(None)
        try:
            self._thread.join(timeout=60)
        finally:  # after a second Ctrl-C, too
            shutil.rmtree(self.folder, ignore_errors=True)

    def _work(self) -> None:
        while (job := self._next()) is not None:
            if job.cancelled:
                continue
            job.state, started = 'working', time.monotonic()
            try:
                self._restore(job)
                end = 'done'
            except Cancelled:
                end = 'cancelled'
            except ColourImageError as error:
                job.channels = error.channels
                job.error, end = f'a colour image: which of its colours?{error.hint}', 'failed'
            except Exception as error:  # whatever it is: the page says it, the next file goes on
                job.error, end = _without_paths(_words(error), job), 'failed'
            job.seconds, job.ended = time.monotonic() - started, time.time()
            job.state = end  # last: who sees it asks no more
            if job.cancelled:
                shutil.rmtree(job.folder, ignore_errors=True)

    def _next(self) -> Job | None:
        while True:
            try:
                return self._queue.get(timeout=SWEEP_SECONDS)
            except queue.Empty:
                self.forget_old()

    def _restore(self, job: Job) -> None:
        def progress(done: int, total: int) -> None:
            job.progress = done / total
            if job.cancelled:
                raise Cancelled

        self.restorer.tell = lambda text: job.report.append(_without_paths(text, job))
        suffix = copy_suffix(job.source)
        target, sharp = (job.folder / f'{name}{suffix}' for name in ('result', 'sharp'))
        with ExitStack() as outputs, warnings.catch_warnings(record=True) as caught:
            put: Callable[[np.ndarray, SEMImage], None] | None = None

            def watch(
                image: SEMImage, plain: np.ndarray, narrow: np.ndarray | None, found: Doubts | None
            ) -> None:
                nonlocal put
                _watch(job, image, self.restorer.levels.of(image.unit), plain, narrow, found)
                if narrow is not None:
                    put = put or outputs.enter_context(rewriting_stack(sharp, job.source))
                    put(narrow, image)

            self.restorer.watch = watch
            warnings.simplefilter('always', UserWarning)
            reading = self.reading
            if job.channel is not None:
                reading = {**reading, 'channel': job.channel}
            self.restorer.restore_file(
                job.source,
                target,
                uncertainty=job.doubts,
                progress=progress,
                **reading,
            )
        texts = (str(w.message) for w in caught if str(job.source) in str(w.message))
        job.warnings += [_without_paths(text, job) for text in texts]
        job.result, job.progress = target, 1.0
        job.sharp = sharp if put is not None else None
        for file, name in ((target, job.download_name()), (job.sharp, job.download_name(True))):
            if file is not None:
                name_itself(file, name, job.name, job.source.name, file.name)


def _watch(
    job: Job,
    image: SEMImage,
    before: np.ndarray,
    restored: np.ndarray,
    narrow: np.ndarray | None,
    found: Doubts | None,
) -> None:
    """Makes the previews of one picture; ``before`` is it in the levels of the restoration."""
    page = len(job.pages)
    if page == 0:
        job.sigma = appraise(image.image, image.data_range - image.black, image.black).sigma
        job.pixel_size, job.vendor = image.pixel_size, image.vendor
        job.page_count = image.pages
    if page >= MOST_PAGES:
        return
    width, height, scale = save_previews(job.folder, page, before, restored, narrow)
    particles = [] if found is None else circles(found.particles, found.doubtful, scale)
    job.pages.append(
        dict(
            width=width,
            height=height,
            full=list(restored.shape[::-1]),
            particles=particles,
            sharp=narrow is not None,
            doubtful=sum(int(p[3]) for p in particles),
        )
    )


def _words(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return 'there is not enough memory for this image on this machine'
    return said(error)


def _without_paths(text: str, job: Job) -> str:
    """The text with the user's name in the place of ours, or without it at its beginning."""
    text = text.removeprefix(f'{job.source}: ').removeprefix(f'{job.source} ')
    text = text.replace(str(job.source), job.name).replace(job.source.name, job.name)
    for ending in TEXT_SUFFIXES:  # the text file beside it
        text = text.replace(f'{job.source.stem}{ending}', f'{Path(job.name).stem}{ending}')
    return text.replace(f'{job.folder}/', '').replace(str(job.folder), '')


def limit_text(limit: int) -> str:
    """The limit of an upload in words."""
    return readable_size(limit)
