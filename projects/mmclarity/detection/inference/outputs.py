"""Detections drawn, and as COCO JSON, Scalabel JSON and CSV."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mmclarity.utils.files import replacing
from mmclarity.utils.json_files import write_json
from mmclarity.utils.names import as_text, on_disk
from mmclarity.utils.tables import write_csv

from .detections import Detections
from .drawn_files import noted, remove_stale, strangers
from .sources import Picture
from .video import DrawnVideo

FILES = ('detections.coco.json', 'detections.scalabel.json', 'detections.csv')


class Results:
    """Collects what is found and writes it into one folder.

    ``detections.coco.json`` is a COCO data set whose annotations have a ``score``, and whose
    ``info`` notes what was drawn, so that a later run knows what of ``drawn/`` it may replace;
    ``detections.scalabel.json`` a list of frames, boxes with their last pixel, as BDD100K has them;
    ``detections.csv`` one line a detection.

    Attributes:
        removed: Pictures and videos of an earlier run, removed as this one has none of that name.
        strangers: What else lies in ``drawn/`` and is not of this run; it stays.

    Args:
        folder: Where to.
        classes: Names of the classes.
        overwrite: Replace files that are there.
        frames: Draw the frames of a video as single pictures, not as a video.

    Raises:
        FileExistsError: If there are results in the folder, and ``overwrite`` is not set.
    """

    def __init__(
        self, folder: str | Path, classes: tuple[str, ...], overwrite: bool, frames: bool = False
    ) -> None:
        self.folder, self.classes, self.overwrite = Path(folder), classes, overwrite
        there = [name for name in FILES if (self.folder / name).exists()]
        if there and not overwrite:
            raise FileExistsError(
                f'{self.folder / there[0]} exists; choose another folder, or give --overwrite '
                '(overwrite=True)'
            )
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []
        self.frames: list[dict[str, Any]] = []
        self.rows: list[list[Any]] = []
        self._as_pictures = frames
        self._earlier = noted(self.folder / FILES[0])
        self._drawn: set[Path] = set()
        self.removed, self.strangers = 0, list[str]()
        self._videos: dict[str, DrawnVideo] = {}

    def add(self, picture: Picture, found: Detections, draw: bool) -> None:
        """Note the detections of an image, and draw them."""
        height, width = picture.pixels.shape[:2]
        number = len(self.images) + 1
        self.images.append(dict(id=number, file_name=picture.name, width=width, height=height))
        frame: dict[str, Any] = dict(name=Path(picture.name).name, labels=[])
        if picture.video is None:
            frame['name'] = picture.name
        else:
            frame.update(videoName=picture.video, frameIndex=picture.frame)
        for box, score, label, name in zip(found.boxes, found.scores, found.labels, found.names):
            x1, y1, x2, y2 = (round(float(value), 2) for value in box)
            score = round(float(score), 5)
            self.annotations.append(
                dict(
                    id=len(self.annotations) + 1,
                    image_id=number,
                    category_id=int(label) + 1,
                    bbox=[x1, y1, round(x2 - x1, 2), round(y2 - y1, 2)],
                    area=round((x2 - x1) * (y2 - y1), 2),
                    iscrowd=0,
                    score=score,
                )
            )
            last = [round(max(low, high - 1), 2) for low, high in ((x1, x2), (y1, y2))]
            corners = dict(x1=x1, y1=y1, x2=last[0], y2=last[1])
            frame['labels'].append(
                dict(id=str(len(frame['labels'])), category=name, score=score, box2d=corners)
            )
            self.rows.append([picture.name, name, score, x1, y1, x2, y2])
        self.frames.append(frame)
        if draw:
            self._draw(picture, found)

    def _draw(self, picture: Picture, found: Detections) -> None:
        if picture.video is not None and not self._as_pictures:
            if picture.video not in self._videos:
                path = self.folder / 'drawn' / on_disk(f'{picture.video}.mp4')
                self._videos[picture.video] = DrawnVideo(path, picture.rate, self.overwrite)
                self._drawn.add(path)
            self._videos[picture.video].append(drawn(picture.pixels, found))
            return
        path = self.folder / 'drawn' / on_disk(picture.name)
        if path.suffix.lower() not in ('.jpg', '.jpeg', '.png'):
            path = path.with_name(f'{path.name}.jpg')
        while path in self._drawn:  # a.tif becomes a.tif.jpg, which may be an image, too
            path = path.with_name(path.name + path.suffix)
        self._drawn.add(path)
        coded = cv2.imencode(path.suffix, drawn(picture.pixels, found))[1]
        with replacing(path, overwrite=self.overwrite, parents=True) as part:
            part.write_bytes(coded.tobytes())

    def write(self) -> list[Path]:
        """Write the three files, and finish drawn videos; returns their paths.

        Then what an earlier run has drawn is removed, if this one has drawn anything.
        """
        folder = self.folder / 'drawn'
        names = sorted(as_text(path.relative_to(folder).as_posix()) for path in self._drawn)
        if not names:  # what an earlier run has drawn stays, and stays known
            names = [name for name in self._earlier if (folder / on_disk(name)).is_file()]
        paths = [self.folder / name for name in FILES]
        self.folder.mkdir(parents=True, exist_ok=True)
        categories = [dict(id=i, name=name) for i, name in enumerate(self.classes, 1)]
        write_json(
            paths[0],
            dict(
                info=dict(drawn=names),
                images=self.images,
                annotations=self.annotations,
                categories=categories,
            ),
        )
        write_json(paths[1], self.frames)
        write_csv(paths[2], ['image', 'name', 'score', 'x1', 'y1', 'x2', 'y2'], self.rows)
        while self._videos:
            name, video = self._videos.popitem()
            video.close()
            paths.append(folder / on_disk(f'{name}.mp4'))
        if self._drawn:
            self.removed = remove_stale(folder, self._earlier, self._drawn)
        self.strangers = strangers(folder, self._drawn)
        return paths

    def drop(self) -> None:
        """Leave nothing of videos that were not finished."""
        while self._videos:
            self._videos.popitem()[1].drop()


def colour_of(label: int) -> tuple[int, int, int]:
    """Blue, green, red of a class: hues that lie far from one another, of the same brightness."""
    hue = np.uint8([[[label * 47 % 180, 200, 255]]])
    blue, green, red = (int(value) for value in cv2.cvtColor(hue, cv2.COLOR_HSV2BGR)[0, 0])
    return blue, green, red


def drawn(pixels: np.ndarray, found: Detections) -> np.ndarray:
    """A copy of an image with boxes, names and scores on it, the surest on top and inside it."""
    canvas = pixels.copy()
    shorter, longer = sorted(canvas.shape[:2])
    # Of a panorama as of one of its parts: names would cover what they name.
    thickness = max(1, round(min(longer, shorter * 16 / 9) / 600))
    scale = 0.4 * max(1.0, thickness * 0.8)
    items = list(zip(found.boxes, found.scores, found.labels, found.names))[::-1]
    for box, _, label, _ in items:
        x1, y1, x2, y2 = (int(round(float(value))) for value in box)
        cv2.rectangle(canvas, (x1, y1), (x2, y2), colour_of(int(label)), thickness)
    for box, score, label, name in items:
        text = f'{name} {score:.2f}'
        (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
        left = max(min(round(float(box[0])), canvas.shape[1] - width - 3), 0)
        top = max(round(float(box[1])) - height - 4, 0)
        low = (left + width + 2, top + height + 4)
        cv2.rectangle(canvas, (left, top), low, colour_of(int(label)), -1)
        at = (left + 1, top + height + 1)
        cv2.putText(canvas, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, (0, 0, 0), 1)
    return canvas
