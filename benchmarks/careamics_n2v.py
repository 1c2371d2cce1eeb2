"""CAREamics' Noise2Void and structN2V on the noisy images of pairs, for the table of restorers.

CAREamics wants other versions of its dependencies than this project: it runs in an environment of
its own, on arrays that the report has written.

    python tools/analysis_tools/restoration_report.py --data CONFIG --export-low LOW
    python -m venv care && care/bin/pip install careamics
    care/bin/python benchmarks/careamics_n2v.py LOW RESTORED --struct --steps 500
    python tools/analysis_tools/restoration_report.py --data CONFIG --restored structN2V=RESTORED
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('low', type=Path, help='folder of .npy, (H, W) in [0, 1]')
    parser.add_argument('out', type=Path, help='folder for the restored ones')
    parser.add_argument('--steps', type=int, default=500, help='of training')
    parser.add_argument('--batch', type=int, default=8)
    parser.add_argument('--struct', action='store_true', help='hide 5 pixels of the line')
    return parser.parse_args()


def main() -> None:
    """Trains on all noisy images and restores them."""
    args = parse_args()
    import torch
    from careamics import CAREamist
    from careamics.config import create_advanced_n2v_config

    torch.set_num_threads(1)
    paths = sorted(args.low.glob('*.npy'))
    images = [np.load(path).astype(np.float32) for path in paths]
    # one array: what all of them have
    height, width = (min(image.shape[axis] for image in images) for axis in (0, 1))
    together = np.stack([image[:height, :width] for image in images])
    config = create_advanced_n2v_config(
        experiment_name='n2v',
        data_type='array',
        axes='SYX',
        patch_size=(64, 64),
        batch_size=args.batch,
        num_epochs=10,
        num_steps=max(1, args.steps // 10),
        augmentations=['x_flip', 'y_flip'],  # quarter turns would put the scan lines upright
        struct_n2v_axes='horizontal' if args.struct else 'none',
        struct_n2v_span=5,
        num_workers=0,
        seed=1,
    )
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        begun = time.process_time()
        careamist = CAREamist(config, work_dir=folder, enable_progress_bar=False)
        careamist.train(train_data=together)
        trained = time.process_time() - begun
        for path, image in zip(paths, images):
            # its U-net takes multiples of four
            missing = [(0, -length % 8) for length in image.shape]
            padded = np.pad(image, missing, mode='reflect')
            restored, _ = careamist.predict(padded[None], batch_size=1)
            plane = np.asarray(restored[0]).reshape(padded.shape)
            plane = plane[: image.shape[0], : image.shape[1]]
            np.save(args.out / path.name, np.clip(plane, 0, 1))
    print(f'{len(paths)} images; {args.steps} steps, {trained:.0f} s of processor time')


if __name__ == '__main__':
    main()
