"""Run at the start of every Python session of an environment that has mmclarity.

The file ``mmclarity.pth`` beside the installed packages imports this module, so that mmdet and
mmagic work in any session, whether or not mmclarity is imported. Until one of OpenMMLab's packages
is imported it costs one look into a table for each import; then mmclarity's own finder takes over.
It imports nothing but ``sys`` and never lets a session fail.
"""

import sys

OPENMMLAB = frozenset({'mmengine', 'mmcv', 'mmdet', 'mmagic'})


class FirstUse:
    """A meta path finder that waits for the first of :data:`OPENMMLAB` and makes way."""

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        """What the import system asks of a finder: None for "not mine"."""
        if name not in OPENMMLAB or cls not in sys.meta_path:
            return None
        sys.meta_path.remove(cls)
        try:
            from mmclarity.compat.finder import install

            return install().find_spec(name, path, target)
        except Exception as error:
            import warnings

            warnings.warn(
                f'mmclarity cannot make {name} ready for this environment: {error!r}. '
                'In a clone of mmclarity `make check` says what is wrong.',
                RuntimeWarning,
                stacklevel=2,
            )
            return None


if not any(getattr(item, '__name__', '') == 'FirstUse' for item in sys.meta_path):
    sys.meta_path.insert(0, FirstUse)
