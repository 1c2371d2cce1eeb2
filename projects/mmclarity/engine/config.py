"""Reading a config for the command line, and checking what can be known before it is built."""

import hashlib
import inspect
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from mmengine import registry
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

from mmclarity.errors import UsageError
from mmclarity.utils import places
from mmclarity.utils.places import own_config, own_files, tool

from .names import close_ones, close_to, parameters, registered
from .variables import set_options

# What makes the embedded data sets, by where the configs look for them.
_GENERATORS = {
    f'data/{name}': f'dataset_generators/make_{name}.py'
    for name in ('murky', 'sem_phantom', 'surfaces')
}
OF_REPOSITORY = " mmclarity's own are in its repository (configs/), which is not installed along."
# What parts raise of their options.
_OF_PARTS = (TypeError, ValueError, LookupError, AttributeError, AssertionError, ArithmeticError)


def find_config(path: str) -> Path:
    """The config file, looked for in the current directory and then among mmclarity's own.

    Raises:
        UsageError: if it is in neither.
    """
    tried, own = [Path(path).expanduser()], own_files()
    if path.startswith(places.SCOPE):
        tried = [own_config(path)]
    elif own and not tried[0].is_absolute():
        tried += [own / path, own / 'configs' / path]
    for candidate in tried:
        if candidate.is_file():
            return candidate
    if tried[0].is_dir():
        raise UsageError(f'config {path}: is a folder; name a file in it')
    known = _own_configs()
    stem = tried[0].stem
    near = close_ones(f'{stem}.py', known) or [name for name in known if name.startswith(stem)][:3]
    hint = OF_REPOSITORY
    if own:
        hint = f' {own / "configs"} holds {len(known)} others.'
    if near:
        hint = f' Did you mean {" or ".join(near)}?'
    raise UsageError(f'config not found: {path} (looked at {", ".join(map(str, tried))}).{hint}')


def _own_configs() -> list[str]:
    own = own_files()
    return sorted(file.name for file in (own / 'configs').glob('*.py')) if own else []


def load_config(path: str, options: dict | None = None) -> Config:
    """Read a config and merge ``--cfg-options`` into it.

    Python has already put the value of a variable such as ``data_root`` into the settings when
    options are merged: they are carried on, see :func:`.variables.set_options`.

    Raises:
        UsageError: if the file is missing; if it changes a list by a dict; or if an option is close
            to a setting that the config has but is none: mmengine would take it as a new one that
            nothing reads.
    """
    cfg = _read(find_config(path))
    options = dict(options or {})
    _check_option_names(cfg, options)
    set_options(cfg, options)
    return cfg


def content_hash(path: str, options: dict | None = None) -> str:
    """A hash of what a config says: of the same name it may say other things next week."""
    text = load_config(path, options).pretty_text
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def scope_of(cfg: Config) -> AbstractContextManager:
    """While a config's parts are built: its default scope, and afterwards that of before.

    ``init_default_scope`` sets one for good, and what the caller builds later, of another part or
    another library, would be looked up there.
    """
    return DefaultScope.overwrite_default_scope(cfg.get('default_scope') or 'mmengine')


@contextmanager
def building(cfg: Config) -> Iterator[None]:
    """Around what is built from a config.

    Raises:
        UsageError: If a part of it cannot be built, with what the part says.
    """
    try:
        yield
    except (UsageError, OSError):
        raise
    except _OF_PARTS as error:
        text = error.args[0] if isinstance(error, KeyError) and error.args else error
        hint = ''
        if 'need at least one array to concatenate' in str(text):  # of mmengine's BaseDataset
            text = (
                'a data set is left without an image: its file has none, or its filter_cfg leaves '
                'out all of them (filter_empty_gt: those without an object of metainfo.classes; '
                'min_size: small ones)'
            )
        if 'is not in the' in str(text) and 'mmclarity' not in str(cfg.get('custom_imports')):
            hint = (
                ". A class of mmclarity? Then the config needs custom_imports = dict(imports=['"
                "mmclarity.detection'], allow_failed_imports=False), or mmclarity.restoration"
            )
        raise UsageError(
            f'{cfg.filename or "the config"}: cannot be built: {text or type(error).__name__}'
            f'{hint} (MMCLARITY_TRACEBACK=1 in the environment shows where)'
        ) from error


def _read(path: Path) -> Config:
    try:
        return Config.fromfile(str(path))
    except UsageError:
        raise
    except Exception as error:  # whatever Python says about a file of Python
        if 'in child config cannot inherit from base' in str(error):
            raise UsageError(f'config {path}: {_list_by_dict(str(error))}') from error
        base = Path(getattr(error, 'filename', None) or '')
        if isinstance(error, FileNotFoundError) and base.suffix == '.py':
            raise UsageError(
                f'config {path}: its _base_ {base} is not there{_other_base(base)}'
            ) from error
        place = f', line {error.lineno}' if isinstance(error, SyntaxError) else ''
        text = str(error).strip().splitlines()
        raise UsageError(
            f'config {path}{place}: cannot be read: {type(error).__name__}: '
            f'{text[0] if text else ""}'
        ) from error


def _other_base(base: Path) -> str:
    """What to write in the place of a ``_base_`` that is not there."""
    near = close_to(base.name, [file.name for file in base.parent.glob('*.py')])
    if near:
        return f'; did you mean {near}?'
    own, beside = own_files(), ' (a path counts from the config itself)'
    if own and base.name in _own_configs():
        return f"{beside}; mmclarity's own is 'mmclarity::{base.name}'"
    return beside


def _list_by_dict(said: str) -> str:
    """What mmengine says of a dict in the place of a list, and what to write instead."""
    key = said.partition('=')[0].strip()
    message = (
        f'{key} is a dict here and a list in its base, which keeps one item a stage: change the '
        'items in a loop'
    )
    if key != 'bbox_head':
        return f'{message} over _base_.model... and set the list'
    return (
        f'{message}, and give the cascade its own RoI head:\n'
        '    stages = _base_.model.roi_head.bbox_head\n'
        '    for stage in stages:\n'
        "        stage.update(type='RegionAttentionBBoxHead', "
        "attention=dict(type='RegionLambda'))\n"
        "    model = dict(roi_head=dict(type='CascadeRegionAttentionRoIHead', bbox_head=stages))"
    )


def _check_option_names(cfg: Config, options: dict) -> None:
    known = {*cfg, *inspect.signature(Runner.__init__).parameters}
    for option, value in options.items():
        if option == 'vis_backends':
            continue  # taken for visualizer.vis_backends
        name = option.partition('.')[0]
        if name not in known:
            near = close_to(name, known) or next(_deeper(cfg._cfg_dict, name), None)
            if near:
                raise UsageError(
                    f'--cfg-options {option}: the config has no {name!r}; did you mean {near!r}?'
                )
        with scope_of(cfg):
            _check_option(cfg._cfg_dict, option, value, options)


def _deeper(cfg: Any, name: str, place: str = '') -> Iterator[str]:
    """Where below the top level a name stands, perhaps spelt a little otherwise."""
    if isinstance(cfg, dict):
        if place:
            near = close_to(name, cfg)
            if near and len(name) > 1:
                yield f'{place}{near}'
        for key, value in cfg.items():
            yield from _deeper(value, name, f'{place}{key}.')


def _check_option(cfg: dict, option: str, value: Any, others: dict) -> None:
    """Refuse a name that is near to one beside it, and a text in the place of a number.

    Args:
        cfg: All of the config.
        option: Dotted name.
        value: What it is set to.
        others: All options; one of them may give the part another type.
    """
    at: Any = cfg
    *path, last = option.split('.')
    for name in path:
        if isinstance(at, list | tuple) and name.isdigit() and int(name) < len(at):
            at = at[int(name)]
        elif isinstance(at, dict) and name in at:
            at = at[name]
        elif isinstance(at, list | tuple) and at:
            raise UsageError(
                f'--cfg-options {option}: a list of {len(at)} stands before {name!r}; its items '
                f'are numbered from 0 to {len(at) - 1}'
            )
        elif isinstance(at, dict) and at and (near := _meant(name, at)):
            raise UsageError(f'--cfg-options {option}: no {name!r} there; did you mean {near!r}?')
        elif isinstance(at, str | int | float):
            break
        else:
            return
    if isinstance(at, str | int | float):
        raise UsageError(
            f'--cfg-options {option}: before {last!r} stands {at!r}, below which there is nothing; '
            'set that itself'
        )
    if isinstance(at, list | tuple) and not (last.isdigit() and int(last) < len(at)):
        raise UsageError(
            f'--cfg-options {option}: a list of {len(at)} stands before {last!r}; set all of it, '
            f'or one item by its number (the first is 0)'
        )
    if not isinstance(at, dict):
        return
    of_another = '.'.join([*path, 'type'])
    part = dict(at, type=others[of_another]) if of_another in others and last != 'type' else at
    if path and last not in at and (near := _meant(last, part)):
        raise UsageError(f'--cfg-options {option}: no {last!r} there; did you mean {near!r}?')
    old = at.get(last)
    if isinstance(old, bool) and isinstance(value, str):
        raise UsageError(f'--cfg-options {option}: must be True or False, got {value!r}')
    is_number = isinstance(old, int | float) and not isinstance(old, bool)
    if is_number and isinstance(value, str) and value != 'auto':
        raise UsageError(f'--cfg-options {option}: must be a number as {old!r} is, got {value!r}')


def _meant(name: str, part: dict) -> str | None:
    """The key of a config's part that a name is close to, unless the part's class takes both."""
    near = close_to(name, part)
    if near is None:
        return None
    kinds = [kind for kind in vars(registry).values() if isinstance(kind, registry.Registry)]
    found = [registered(part.get('type'), kind) for kind in kinds]
    return None if any(name in parameters(one)[0] for one in found if one is not None) else near


def datasets(cfg: Config, key: str) -> Iterator[dict]:
    """The innermost dataset configs of a loader (wrappers like ``ConcatDataset`` are opened)."""
    for _, dataset in placed_datasets(cfg, key):
        yield dataset


def placed_datasets(cfg: Config, key: str) -> Iterator[tuple[str, dict]]:
    """:func:`datasets`, each with its dotted name, as ``--cfg-options`` takes it."""
    loader = cfg.get(key) or {}
    several = isinstance(loader, list | tuple)
    todo = [
        (f'{key}.{index}.dataset' if several else f'{key}.dataset', item.get('dataset'))
        for index, item in enumerate(loader if several else [loader])
    ]
    while todo:
        place, dataset = todo.pop(0)
        if not isinstance(dataset, dict):
            continue
        if dataset.get('datasets'):
            todo += [(f'{place}.datasets.{i}', one) for i, one in enumerate(dataset['datasets'])]
        elif 'dataset' in dataset:
            todo.append((f'{place}.dataset', dataset['dataset']))
        else:
            yield place, dataset


def resolve_data_roots(cfg: Config, keys: tuple[str, ...]) -> None:
    """Check that data sets are there, before anything expensive is built.

    A relative ``data_root`` that is missing in the current directory is looked for in the
    repository; ``~`` is the home directory.

    Args:
        cfg: data roots found in the repository or at home are made absolute.
        keys: names of the loaders that will be used.

    Raises:
        UsageError: naming the folder or file that is missing and the loader that wants it.
    """
    for key in keys:
        for place, dataset in placed_datasets(cfg, key):
            root = dataset.get('data_root')
            if not root or '://' in str(root) or is_remote(dataset):
                continue
            folder = Path(root).expanduser()
            if not folder.is_absolute() and not folder.is_dir() and (places.REPO / folder).is_dir():
                folder = places.REPO / folder
            if folder != Path(root):
                dataset['data_root'] = f'{folder}/'
            made = _GENERATORS.get(folder.as_posix())
            if not folder.is_dir():
                # Only what was made from the config's variable follows it.
                shared = str(cfg.get('data_root') or '').rstrip('/') == str(root).rstrip('/')
                option = 'data_root' if shared else f'{place}.data_root'
                raise UsageError(
                    f'{key}: data root not found: {root} (absolute: {folder.absolute()}). '
                    + (f'Make it (python {tool(made)} {root}), put' if made else 'Put')
                    + f' or link the data there, or name it: --cfg-options {option}=PATH/'
                )
            _check_annotations(dataset, folder, place)
            _check_image_folder(dataset, folder, place)


def is_remote(dataset: dict) -> bool:
    """Whether a data set's files are read from elsewhere than the disk."""
    backend = dataset.get('backend_args') or {}
    return backend.get('backend', 'local') not in ('local', 'atomic_local')


def _check_annotations(dataset: dict, root: Path, place: str) -> None:
    annotations = dataset.get('ann_file')
    if isinstance(annotations, list | tuple):
        raise UsageError(
            f'{place}: ann_file is a list of {len(annotations)} files; one data set has one. Join '
            "several by dict(type='ConcatDataset', datasets=[dict(..., ann_file=...), ...])"
        )
    if annotations and not (root / annotations).exists():
        raise UsageError(
            f'{place}: annotations not found: {root / annotations}. {root} holds: {_held(root)}. '
            f'Set {place}.ann_file, or choose another data_root.'
        )


def _check_image_folder(dataset: dict, root: Path, place: str) -> None:
    prefix = dataset.get('data_prefix')
    images = prefix.get('img') if isinstance(prefix, dict) else None
    if isinstance(images, str) and images and not (root / images).is_dir():
        raise UsageError(
            f'{place}: folder of images not found: {root / images}. {root} holds: {_held(root)}. '
            f'Set {place}.data_prefix.img, or choose another data_root.'
        )


def _held(folder: Path) -> str:
    return ', '.join(sorted(item.name for item in folder.iterdir())[:10]) or 'nothing'
