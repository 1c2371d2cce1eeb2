"""Representational similarity while a network trains."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmengine.dist import broadcast_object_list, get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import IterBasedTrainLoop, Runner
from numpy import allclose

from mmclarity.utils.models import unwrap
from mmclarity.utils.tables import NOT_AVAILABLE, number, write_csv

from ..analysis import RSAResult, RSASettings, analyse, network_rdms
from ..data.neural import NeuralArea, align, load_neural
from ..data.stimuli import StimulusSet
from ..models.networks import MODULES, fitting_forward, shown_part
from ..models.normalisation import is_known, preprocessing
from ..models.recorder import resolve_layers
from ..models.untrained import untrained_copy
from ..report import figures as plots
from ..report import tables as report
from ..report.epoch_files import analyses_in, put_aside
from .options import grouped
from .processes import alone, refuse_sharded


@HOOKS.register_module()
class RSAHook(Hook):
    """Compares layers with brain areas before and during training.

    Training with the hook gives the same losses as without: it runs in evaluation mode, without
    gradients, and leaves modes, statistics and random states as they were. With several processes
    the first works and the others wait for its word. A failure before training ends it; one
    during training (ValueError, RuntimeError or OSError: a layer that is not run, a full disk) is
    logged, and training goes on. A layer whose answers have no RDM, as those of a dead one that
    are constant, is NaN in that analysis, which is logged when it begins. Beside an ``EMAHook``
    the weights that are trained are analysed, not their mean. RDMs of the last analysis are kept
    in memory, those of earlier ones in their files. Parameters that are spread over processes are
    refused.

    Written to ``WORK_DIR/rsa``: ``epoch_N.npz`` (or ``iter_N.npz``; all RDMs, ids, settings),
    ``scores.csv``, and figures. Scalars ``rsa/<area>/<layer>`` go to all visualisation backends.
    What lies there of another training, or was made otherwise, is moved to a folder ``earlier_...``
    in it, which is said. Several hooks need an ``output=dict(folder=...)`` each.

    Args:
        stimuli: Folder of images; or a dict with ``folder`` and what else
            :meth:`StimulusSet.from_folder` takes (``manifest``, ``size``; ``mean`` and ``std`` in
            the place of those of the model's data preprocessor, or ImageNet's if it has none).
        areas: For each area ``file[:key]``; or a dict with ``file``, ``assume_order`` (see
            :func:`align`) and further arguments of :func:`load_neural`.
        layers: Names or regular expressions of the model's submodules; or a dict of ``names`` and
            :class:`Shown`'s others.
        settings: :class:`RSASettings`, or a dict of its arguments.
        output: A dict of :class:`Output`'s arguments: when, where and what is written.
        flat: Names of earlier versions, each now in one of the above (:data:`RENAMED`).

    Raises:
        ValueError, TypeError: If an option is unknown or out of range.
    """

    priority = 'LOW'

    def __init__(
        self,
        stimuli: str | Mapping[str, Any] | None = None,
        areas: Mapping[str, Any] | None = None,
        layers: Sequence[str] | Mapping[str, Any] | None = None,
        settings: RSASettings | Mapping[str, Any] | None = None,
        output: Mapping[str, Any] | None = None,
        **flat: Any,
    ) -> None:
        given = grouped(
            dict(stimuli=stimuli, areas=areas, layers=layers, settings=settings, output=output),
            flat,
        )
        self.source, self.areas_given = given.stimuli, given.areas
        self.shown, self.settings, self.output = given.shown, given.settings, given.output
        self.results: dict[int, RSAResult] = {}
        self._untrained_rdms: dict[str, Any] | None = None
        self._undefined: dict[str, str] = {}

    # What happens when.

    def before_train(self, runner: Runner) -> None:
        """Read everything, and analyse the network as it starts."""
        refuse_sharded(runner.model)
        self._refuse_shared_folder(runner)
        self._on_first(lambda: self._set_up(runner))
        if self.output.at_start and runner.iter == 0:
            self._on_first(lambda: self._analyse(runner, 0))

    def after_train_epoch(self, runner: Runner) -> None:
        """Every ``interval`` epochs, and after the last one."""
        due = self.every_n_epochs(runner, self.output.interval) or self.is_last_train_epoch(runner)
        if self.output.by_epoch and due:
            self._on_first(lambda: self._go_on(runner, runner.epoch + 1))

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Every ``interval`` iterations, and after the last one."""
        due = self.every_n_train_iters(runner, self.output.interval)
        if not self.output.by_epoch and (due or self.is_last_train_iter(runner)):
            self._on_first(lambda: self._go_on(runner, runner.iter + 1))

    def after_train(self, runner: Runner) -> None:
        """Draw the last analysis and the course of training."""
        if self.output.figures != 'none':
            self._on_first(lambda: self._draw(final=True))

    # How.

    def _on_first(self, work: Any) -> None:
        """Run on the first process; the others wait, and stop if it fails."""
        error = None
        if is_main_process():
            try:
                work()
            except Exception as caught:
                error = caught
        if get_world_size() > 1:
            status = [None if error is None else f'{type(error).__name__}: {error}']
            broadcast_object_list(status)
            if error is None and status[0] is not None:
                raise RuntimeError(f'the analysis failed on the first process: {status[0]}')
        if error is not None:
            raise error

    def _set_up(self, runner: Runner) -> None:
        if self.output.by_epoch and isinstance(runner.train_loop, IterBasedTrainLoop):
            runner.logger.warning(
                'RSA: this training counts iterations, and its one epoch is all of it: the hook '
                'analyses its start and its end at most. For the course between give '
                'output=dict(by_epoch=False, interval=...)'
            )
        self.folder = self._folder(runner)
        model = unwrap(runner.model)
        self._names = resolve_layers(model, self.shown.names)
        part = self.shown.module
        if part is None:
            part = shown_part(model, (*MODULES, 'network'))
        elif part not in dict(model.named_modules()):
            children = ', '.join(name for name, _ in model.named_children())
            raise ValueError(f'RSAHook: the model has no module {part!r}; its parts are {children}')
        self._part = part
        self.stimuli = self._read_stimuli(runner, getattr(model, 'data_preprocessor', None))
        self._how['part'] = part
        self.areas = [self._area(name, spec) for name, spec in self.areas_given.items()]
        self._untrained_rdms = None
        self._settle(runner)
        if self.shown.untrained and self._untrained_rdms is None:
            copy = untrained_copy(model, self.settings.seed)
            self._untrained_rdms, undefined = self._rdms(copy)
            self._say_undefined(runner, undefined, 'of the untrained network')

    def _folder(self, runner: Runner) -> Path:
        return Path(self.output.folder or Path(runner.work_dir) / 'rsa')

    def _refuse_shared_folder(self, runner: Runner) -> None:
        """Raise a ValueError where two hooks would write the same files."""
        mine = self._folder(runner).absolute()
        for other in runner.hooks:
            if other is self or not isinstance(other, RSAHook):
                continue
            if other._folder(runner).absolute() == mine:
                raise ValueError(
                    f'two RSAHooks write to {mine}, and each would replace what the other wrote; '
                    f"give one of them output=dict(folder='{mine}_2'), or one hook all areas"
                )

    def _read_stimuli(self, runner: Runner, preprocessor: Any) -> StimulusSet:
        """The images as the model is shown them in training, which is said."""
        mean, std, self._bgr = preprocessing(preprocessor)
        source = {**dict(mean=mean, std=std), **self.source}
        self._how = dict(
            size=source.get('size'),
            background=source.get('background'),
            mean=[float(value) for value in source['mean']],
            std=[float(value) for value in source['std']],
            bgr=self._bgr,
        )
        first = 'blue' if self._bgr else 'red'
        values = ' and '.join(', '.join(f'{v:.4g}' for v in source[of]) for of in ('mean', 'std'))
        said = f'RSA: images of [0, 1] are shown {first} first, by mean and deviation {values}'
        if is_known(preprocessor) or 'mean' in self.source:
            runner.logger.info(said)
        else:
            runner.logger.warning(
                f'{said}, as for ImageNet: the data preprocessor of the model does not say how. If '
                'the data set does it otherwise, give stimuli=dict(folder=..., mean=..., std=...)'
            )
        return StimulusSet.from_folder(**source)

    def _settle(self, runner: Runner) -> None:
        """Take over what this training wrote before; what else lies in the folder is put aside.

        So all in it belongs together, for the curves, for movies, and for a run that goes on later.
        """
        now = runner.epoch if self.output.by_epoch else runner.iter
        aside = self.folder / f'earlier_{runner.timestamp}'
        refused: dict[str, list[str]] = {}
        for (unit, step), path in analyses_in(self.folder).items():
            if not runner.iter:
                why = 'of an earlier training'
            elif unit != self._unit:
                why = f'counted in another unit than {self._unit}'
            elif step > now:
                why = f'of a training that went on beyond {unit} {now}, where this one begins'
            else:
                why = self._take_over(step, path)
            if why:
                put_aside(path, aside)
                refused.setdefault(why, []).append(path.name)
        for why, names in refused.items():
            more = f' and {len(names) - 3} more' if len(names) > 3 else ''
            runner.logger.warning(
                f'RSA: {self.folder}: {", ".join(names[:3])}{more}: {why}; moved to {aside.name}, '
                'and left out of the curves and of scores.csv'
            )

    def _take_over(self, step: int, path: Path) -> str:
        """Put an earlier analysis on the curve; or say why it cannot be there."""
        try:
            result = report.load_npz(path)
        except ValueError:
            return 'damaged'
        other = self._differences(result)
        if other:
            return f'made with other {", ".join(other)}'
        untrained = result.untrained_rdms if self.shown.untrained else None
        if untrained is not None and result.settings.seed == self.settings.seed:
            # A copy made now would be another one: weights that nothing resets are those that the
            # network has learned since, shuffled.
            self._untrained_rdms = dict(zip(result.layers, untrained))
        self._keep(step, result)
        return ''

    def _keep(self, step: int, result: RSAResult) -> None:
        """Put a result on the curve; only the last has its RDMs, or memory would grow with time."""
        self.results[step] = result
        last = max(self.results)
        for other, kept in self.results.items():
            if other != last:
                few = dict(rdms=kept.rdms[:, :0].copy(), untrained_rdms=None, area_rdms={})
                self.results[other] = replace(kept, **few)

    def _differences(self, result: RSAResult) -> list[str]:
        """What an analysis does not share with this hook's: scores cannot be compared then."""
        mine, theirs = self.settings, result.settings
        same = dict(
            stimuli=result.ids == self.stimuli.ids,
            layers=result.layers == self._names,
            areas=result.areas == [area.name for area in self.areas],
            metric=theirs.metric == mine.metric,
            method=theirs.method == mine.method,
            pictures=result.meta.get('shown', self._how) == self._how,
        )
        if same['stimuli'] and same['areas'] and same['metric']:
            same['recordings'] = all(
                result.area_rdms[area.name].shape == area.rdms.shape
                and allclose(result.area_rdms[area.name], area.rdms, rtol=1e-5, equal_nan=True)
                for area in self.areas
            )
        return [what for what, is_same in same.items() if not is_same]

    @property
    def _unit(self) -> str:
        return 'epoch' if self.output.by_epoch else 'iter'

    def _area(self, name: str, spec: Any) -> NeuralArea:
        options = dict(spec) if isinstance(spec, Mapping) else dict(file=spec)
        file = options.pop('file', None)
        if file is None:
            raise ValueError(
                f'RSAHook: area {name!r} names no file; write '
                f"{name}='recordings.npz:key' or {name}=dict(file=...)"
            )
        options.setdefault('metric', self.settings.metric)
        options.setdefault('count', len(self.stimuli))
        assume_order = options.pop('assume_order', False)
        return align(load_neural(name, file, **options), self.stimuli.ids, assume_order)

    def _rdms(self, model: Any) -> tuple[dict, dict[str, str]]:
        """RDM by layer, NaN where there is none; and why there is none, by layer."""
        part = model.get_submodule(self._part)
        forward = fitting_forward(part, self._bgr)
        undefined: dict[str, str] = {}
        with alone(model):
            rdms = network_rdms(
                model,
                self.shown.names,
                self.stimuli,
                self.settings.metric,
                self.shown.batch_size,
                forward=forward,
                undefined=undefined.__setitem__,
            )
        if len(undefined) == len(rdms):
            layer, why = next(iter(undefined.items()))
            raise ValueError(f'no layer has an RDM; {layer}: {why}')
        return rdms, undefined

    def _say_undefined(self, runner: Runner, undefined: Mapping[str, str], when: str) -> None:
        """Which layers are left out, and why: all of one reason together."""
        reasons: dict[str, list[str]] = {}
        for layer, why in undefined.items():
            reasons.setdefault(why, []).append(layer)
        for why, layers in reasons.items():
            runner.logger.warning(f'RSA {when} without {", ".join(layers)} (NaN): {why}')

    def _go_on(self, runner: Runner, step: int) -> None:
        try:
            self._analyse(runner, step)
        except (ValueError, RuntimeError, OSError) as error:
            # A layer that is not run, or no memory; a full disk. Days of training are worth more
            # than one measurement; errors of programming are not caught.
            runner.logger.warning(f'RSA at {self._unit} {step} left out: {error}')

    def _analyse(self, runner: Runner, step: int) -> None:
        name = type(unwrap(runner.model)).__name__
        meta = {'model': name, self._unit: step, 'shown': self._how}
        rdms, undefined = self._rdms(unwrap(runner.model))
        new = {layer: why for layer, why in undefined.items() if layer not in self._undefined}
        self._say_undefined(runner, new, f'at {self._unit} {step}')
        self._undefined = undefined
        if undefined:
            meta['undefined'] = undefined
        with warnings.catch_warnings():
            warnings.filterwarnings('ignore', '.*there is no RDM')  # said, with the reason
            warnings.filterwarnings('ignore', '.* pairs are NaN in some RDM')  # as it was read
            if self.results:
                warnings.filterwarnings('ignore', '.*noise ceiling')  # at the first analysis
            result = analyse(
                rdms,
                self.areas,
                self.settings,
                self._untrained_rdms,
                ids=self.stimuli.ids,
                meta=meta,
            )
        self._keep(step, result)
        report.save_npz(result, self.folder / f'{self._unit}_{step}.npz')
        self._save_scores()
        # A step alone is taken for an epoch, as that of a validation.
        counted = {} if self.output.by_epoch else dict(iter=step)
        runner.visualizer.add_scalars({**result.scalars(), **counted}, step=step)
        best = [
            f'{area}: {layer} {score:.3f}'
            for area in result.areas
            for layer, score in [result.best_layer(area) or ('none', float('nan'))]
        ]
        runner.logger.info(f'RSA at {self._unit} {step}, most alike: {", ".join(best)}')
        if self.output.figures == 'each':
            self._draw()

    def _save_scores(self) -> None:
        columns = [
            self._unit,
            'area',
            'layer',
            'score',
            'untrained',
            'ceiling_lower',
            'ceiling_upper',
        ]
        rows = []
        for step, result in sorted(self.results.items()):
            untrained = result.untrained_scores
            for column, area in enumerate(result.areas):
                ceiling = result.ceilings[area]
                bounds = [number(b) or NOT_AVAILABLE for b in (ceiling.lower, ceiling.upper)]
                for row, layer in enumerate(result.layers):
                    other = None if untrained is None else untrained[row, column]
                    rows.append((step, area, layer, result.scores[row, column], other, *bounds))
        write_csv(self.folder / 'scores.csv', columns, rows)

    def _draw(self, final: bool = False) -> None:
        if not self.results:
            return
        last = self.results[max(self.results)]
        plots.heat_map(last, self.folder / 'heat_map.png')
        plots.layer_curves(last, self.folder / 'layer_curves.png')
        plots.epoch_curves(self.results, self.folder / f'{self._unit}_curves.png', self._unit)
        if final:
            plots.rdm_grid(last, self.folder / 'rdm_grid.png')
            plots.mds(last, self.folder / 'mds.png')
