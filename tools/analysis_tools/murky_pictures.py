"""Paint the detections of tools/test.py beside the ground truth of the embedded data set.

python tools/analysis_tools/murky_pictures.py data/murky results.pkl work_dirs/pictures
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from mmclarity.synthetic.murky_pictures import paint_scenes


def main(argv: Sequence[str] | None = None) -> None:
    """Paints and says where."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('root', type=Path, help='data set made by make_murky.py')
    parser.add_argument('results', type=Path, help='predictions of tools/test.py --out')
    parser.add_argument('out', type=Path, help='folder for the pictures')
    parser.add_argument('--count', type=int, default=8, help='scenes to paint (default 8)')
    args = parser.parse_args(argv)
    print(paint_scenes(args.root, args.results, args.out, args.count))


if __name__ == '__main__':
    main()
