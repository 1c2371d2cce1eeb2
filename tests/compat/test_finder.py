"""The finder in sessions of their own: what is imported first, and what is not there."""

import textwrap
from pathlib import Path

import pytest

from tests import running

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ('torch', 'numpy', 'scipy', 'cv2', 'matplotlib', 'mmengine', 'mmcv', 'mmdet', 'mmagic')
# A plain session: the start-up file has been run, as in every environment with mmclarity.
PLAIN = 'import _mmclarity_startup\n'


def session(code: str, *options: str) -> str:
    """The output of a Python session that ends well."""
    # The start-up file takes the place of PYTHONPATH where -S or -I would leave it out.
    setting = f'import sys; sys.path.insert(0, {str(ROOT / "projects")!r})\n'
    done = running.session(setting + textwrap.dedent(code), *options)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip()


@pytest.mark.parametrize(
    'name',
    [
        'mmclarity',
        'mmclarity.compat',
        'mmclarity.detection',
        'mmclarity.detection.datasets.scalabel',
        'mmclarity.restoration',
        'mmclarity.rsa',
        '_mmclarity_startup',
    ],
)
def test_light_imports(name):
    code = f'import {name}; print([m for m in {HEAVY} if m in sys.modules])'
    assert session(code) == '[]'


def test_the_start_up_file_imports_nothing_and_waits():
    code = PLAIN + (
        'import json; print([m for m in sys.modules if m.startswith("mmclarity")], '
        'sys.meta_path[0].__name__)'
    )
    assert session(code) == '[] FirstUse'
    code = 'before = set(sys.modules)\n' + PLAIN + 'print(set(sys.modules) - before)'
    # -S: without site-packages, whose start-up file may have imported it already.
    assert session(code, '-S') == "{'_mmclarity_startup'}"


def test_importing_mmdet_says_nothing():
    """imagecorruptions, which mmdet imports if it is there, asks setuptools with a warning."""
    done = running.session('import _mmclarity_startup, mmdet.apis', '-W', 'default::UserWarning')
    assert done.returncode == 0, done.stderr[-3000:]
    assert 'pkg_resources' not in done.stderr + done.stdout


def test_mmdet_in_a_plain_session():
    code = PLAIN + textwrap.dedent("""
        from mmdet.apis import DetInferencer, init_detector
        import torch
        from mmcv.ops import nms
        boxes = torch.tensor([[0.0, 0, 9, 9], [0, 0, 9, 8], [20, 20, 30, 30]])
        print(nms(boxes, torch.tensor([0.5, 0.9, 0.1]), 0.5)[1].tolist())
        print([type(item).__module__ for item in sys.meta_path].count('mmclarity.compat.finder'))
        print(any(getattr(item, '__name__', '') == 'FirstUse' for item in sys.meta_path))
    """)
    assert session(code).split('\n') == ['[1, 2]', '1', 'False']


def test_a_session_goes_on_where_mmclarity_is_broken(tmp_path):
    (tmp_path / 'mmclarity').mkdir()
    (tmp_path / 'mmclarity/__init__.py').write_text('raise OSError("disk")')
    code = PLAIN + textwrap.dedent(f"""
        import warnings
        sys.path.insert(0, {str(tmp_path)!r})
        for name in [name for name in sys.modules if name.startswith('mmclarity')]:
            del sys.modules[name]
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter('always')
            import mmengine
        print(mmengine.__version__, [str(w.message)[:60] for w in said if 'mmclarity' in str(w)])
    """)
    version, _, said = session(code).partition(' ')
    assert version and 'mmclarity cannot make mmengine ready' in said


LOOK_UP = """
    from mmengine.registry import DefaultScope
    from mmdet.registry import DATASETS, METRICS, MODELS
    print(MODELS.get('RegionAttentionRoIHead').__name__, DATASETS.get('BDD100KDataset').__name__,
          METRICS.get('BDD100KMetric').__name__)
"""
FOUND = 'RegionAttentionRoIHead BDD100KDataset BDD100KMetric'
ORDERS = {
    'ours first': 'import mmclarity.detection, mmdet',
    'a module of ours': 'import mmclarity.detection.datasets.scalabel',
    'mmdet first': 'import _mmclarity_startup, mmdet.registry, mmclarity.detection',
    'all of mmdet first': """
        import _mmclarity_startup
        from mmdet.registry import MODELS
        assert MODELS.get('FasterRCNN') and 'RegionLambda' not in MODELS.module_dict
        import mmclarity.detection
        assert 'RegionLambda' in MODELS.module_dict  # the registry looks no more: at once
    """,
    'custom_imports': """
        import _mmclarity_startup
        from mmengine.config import Config
        text = "custom_imports = dict(imports=['mmclarity.detection'], allow_failed_imports=False)"
        Config.fromstring(text, '.py')
    """,
    'custom_imports after mmdet': """
        import _mmclarity_startup, mmdet.models
        from mmengine.config import Config
        text = "custom_imports = dict(imports=['mmclarity.detection'], allow_failed_imports=False)"
        Config.fromstring(text, '.py')
    """,
}


@pytest.mark.parametrize('order', ORDERS)
def test_detection_is_registered_at_the_first_look_up(order):
    assert session(textwrap.dedent(ORDERS[order]) + textwrap.dedent(LOOK_UP)) == FOUND


def test_names_are_found_from_any_scope():
    code = """
        import mmclarity.detection
        from mmengine.registry import DefaultScope, MODELS, init_default_scope
        print(MODELS.get('mmdet.RegionLambda').__name__)
        init_default_scope('mmdet')
        print(type(MODELS.build(dict(type='RegionSelfAttention', embed_dims=64))).__name__)
    """
    assert session(code).split() == ['RegionLambda', 'RegionSelfAttention']


@pytest.mark.parametrize(
    'first', ['import mmclarity.restoration', 'import _mmclarity_startup, mmagic.registry']
)
def test_restoration_is_registered_at_the_first_look_up(first):
    code = f"""
        {first}
        import mmclarity.restoration
        from mmagic.registry import DATASETS, METRICS, MODELS, TRANSFORMS
        print(MODELS.get('SEMUNet').__name__, DATASETS.get('SEMFolderDataset').__name__,
              METRICS.get('FidelityMetric').__name__, TRANSFORMS.get('RandomSEMCrop').__name__)
    """
    assert session(code) == 'SEMUNet SEMFolderDataset FidelityMetric RandomSEMCrop'


@pytest.mark.parametrize(('part', 'library'), [('detection', 'mmdet'), ('restoration', 'mmagic')])
def test_all_that_registers_is_in_the_list(part, library):
    """Every module of a part with a register_module() is imported by its registered.py."""
    folder = ROOT / 'projects/mmclarity' / part
    modules = {
        '.'.join(file.relative_to(ROOT / 'projects').with_suffix('').parts)
        for file in folder.rglob('*.py')
        if '.register_module(' in file.read_text(encoding='utf-8')
    }
    assert len(modules) > 5
    code = f"""
        import mmclarity.{part}.registered
        print(*[name for name in sys.modules if name.startswith('mmclarity.{part}.')])
    """
    assert modules - set(session(code).split()) == set()


@pytest.mark.parametrize(
    'package',
    [
        '.'.join(file.relative_to(ROOT / 'projects').parent.parts)
        for file in sorted((ROOT / 'projects/mmclarity').rglob('__init__.pyi'))
    ],
)
def test_lazy_names_are_there(package):
    import importlib

    stub = (ROOT / 'projects' / package.replace('.', '/') / '__init__.pyi').read_text()
    scope: dict = {}
    exec(stub[stub.index('__all__') :], scope)
    module = importlib.import_module(package)
    assert sorted(module.__all__) == sorted(scope['__all__']) == sorted(dir(module))
    for name in module.__all__:
        assert getattr(module, name) is not None
    with pytest.raises(AttributeError):
        module.not_there  # noqa: B018


def test_a_compiled_mmcv_and_a_real_package_win(tmp_path):
    """What any other finder finds, even one that was added later, is left alone."""
    code = """
        import mmclarity, mmcv, types
        from importlib.machinery import ModuleSpec
        from importlib.util import find_spec
        class Loader:
            def create_module(self, spec): return types.ModuleType(spec.name)
            def exec_module(self, module): module.mine = True
        class Late:
            @staticmethod
            def find_spec(name, path=None, target=None):
                if name in ('mmcv._ext', 'resize_right'):
                    return ModuleSpec(name, Loader())
        sys.meta_path.append(Late)
        import mmcv._ext
        from mmclarity import compat
        print(mmcv._ext.mine, compat.operators())
    """
    assert session(code) == 'True compiled mmcv'


@pytest.fixture(scope='module')
def slim_site(tmp_path_factory):
    """A start of a session in which what mmagic asks for is hidden from all path finders."""
    return textwrap.dedent("""
        import mmclarity
        from importlib.machinery import PathFinder
        from mmclarity.compat.stand_ins import PACKAGES
        hidden = set(PACKAGES) - {'requests', 'click', 'safetensors', 'huggingface_hub', 'imageio'}
        find = PathFinder.find_spec
        class Slim(PathFinder):
            @staticmethod
            def find_spec(name, path=None, target=None):
                if name.partition('.')[0] not in hidden:
                    return find(name, path, target)
        sys.meta_path[sys.meta_path.index(PathFinder)] = Slim
    """)


def test_mmagic_without_what_it_asks_for(slim_site):
    code = slim_site + textwrap.dedent("""
        import mmagic.models, mmagic.datasets, mmagic.evaluation
        from mmclarity.restoration import SEMImage
        from mmagic.registry import MODELS
        print(MODELS.get('SEMUNet').__name__, sorted(hidden & set(sys.modules)))
        try:
            import transformers
        except ImportError as error:
            print('absent for others:', error.name)
        from mmagic.models.editors.animatediff.unet_3d import UNet3DConditionMotionModel
        from mmagic.models.editors.fastcomposer.fastcomposer import CLIPTokenizer
        from mmclarity.compat.stand_ins import MissingPackageError
        for use in (UNet3DConditionMotionModel, lambda: CLIPTokenizer.from_pretrained('x')):
            try:
                use()
            except MissingPackageError as error:
                print(error)
        print(hasattr(CLIPTokenizer, 'x'), isinstance(1, CLIPTokenizer), CLIPTokenizer | None)
    """)
    lines = session(code).splitlines()
    assert lines[0] == 'SEMUNet []'
    assert lines[1] == 'absent for others: transformers'
    assert 'diffusers is not installed' in lines[2] and '"diffusers==0.28.2"' in lines[2]
    assert 'mmagic uses transformers.CLIPTokenizer.from_pretrained' in lines[3]
    assert lines[4].startswith('False False')


def test_other_packages_do_not_get_stand_ins(slim_site):
    """Not even while mmagic is imported."""
    code = slim_site + textwrap.dedent("""
        import types
        from mmclarity.compat import finder
        watch = finder.installed()
        def run(module):
            import importlib
            try:
                importlib.import_module('transformers')
            except ImportError:
                print('absent')
        watch._run_mmagic(run, None)
    """)
    assert session(code) == 'absent'


OWN_BASE = """
import sys
from pathlib import Path
folder = Path(sys.argv[1])
(folder / 'own.py').write_text("_base_ = 'mmclarity::two_looks_frcnn_bdd100k_fine.py'\\nmine = 1")
bases = ['mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py', 'mmclarity::_base_/heads.py']
(folder / 'two.py').write_text(f'_base_ = {bases}\\nheads = _base_.heads')
(folder / 'typo.py').write_text("_base_ = 'mmclarity::two_looks_frcnn.py'")
own = Config.fromfile(folder / 'own.py')
assert own._cfg_dict.pop('mine') == 1
print(own.pretty_text == Config.fromfile(sys.argv[2]).pretty_text)
two = Config.fromfile(folder / 'two.py')
print(two.model.type, len(two.heads) > 0)
try:
    Config.fromfile(folder / 'typo.py')
except FileNotFoundError as error:
    print('no such config' in str(error))
"""


@pytest.mark.parametrize(
    'first',
    [
        'import _mmclarity_startup; from mmengine.config import Config',
        'from mmengine.config import Config; import mmclarity.detection',
    ],
)
def test_a_config_anywhere_has_one_of_ours_as_its_base(first, tmp_path):
    """In mmengine's own reading, so that mmdet's functions and ours read it alike."""
    code = first + OWN_BASE.replace('sys.argv[1]', repr(str(tmp_path)))
    base = ROOT / 'configs/two_looks_frcnn_bdd100k_fine.py'
    said = session(code.replace('sys.argv[2]', repr(str(base))))
    assert said.split('\n') == ['True', 'FasterRCNN True', 'True']


def test_actions_run_once_and_in_their_time():
    code = """
        from mmclarity.compat import finder
        finder.when_imported('colorsys', lambda: print('ready', hasattr(sys.modules['colorsys'],
                                                                        'hls_to_rgb')))
        print('before')
        import colorsys, importlib
        importlib.reload(colorsys)
        finder.when_imported('colorsys', lambda: print('at once'))
        print(finder.install() is finder.install(), colorsys.__loader__.get_source('colorsys')[:3])
    """
    assert session(code).split('\n') == ['before', 'ready True', 'at once', 'True """']
