import pytest
import torch
from torch import nn

from mmclarity.errors import CheckpointError, UsageError
from mmclarity.utils.checkpoints import (
    check_fits,
    check_start,
    fetch,
    find_latest,
    load_checkpoint_file,
    load_weights,
)


def touch(folder, *names):
    for name in names:
        (folder / name).write_bytes(b'')


def test_latest_is_the_one_that_is_noted(tmp_path):
    touch(tmp_path, 'epoch_1.pth', 'epoch_9.pth')
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_1.pth'))
    assert find_latest(tmp_path).name == 'epoch_1.pth'


def test_latest_by_number_not_by_spelling(tmp_path):
    assert find_latest(tmp_path) is None
    touch(tmp_path, 'epoch_9.pth', 'epoch_10.pth', 'best_bbox_epoch_11.pth', '.epoch_12.pth.part')
    for note in ('', str(tmp_path / 'epoch_13.pth')):  # empty; gone
        (tmp_path / 'last_checkpoint').write_text(note)
        assert find_latest(tmp_path).name == 'epoch_10.pth'


def test_latest_in_a_directory_that_was_moved(tmp_path):
    touch(tmp_path, 'epoch_1.pth', 'epoch_2.pth')
    (tmp_path / 'last_checkpoint').write_text('/elsewhere/work/epoch_1.pth')
    assert find_latest(tmp_path) == tmp_path / 'epoch_1.pth'


def test_bad_files(tmp_path):
    with pytest.raises(UsageError, match='not found.*nothing.pth'):
        load_checkpoint_file(str(tmp_path / 'nothing.pth'))
    whole = tmp_path / 'whole.pth'
    torch.save(dict(state_dict=dict(weight=torch.zeros(1000))), whole)
    for size in (0, 10, whole.stat().st_size // 2):
        (tmp_path / 'cut.pth').write_bytes(whole.read_bytes()[:size])
        with pytest.raises(UsageError, match='cut.pth'):
            load_checkpoint_file(str(tmp_path / 'cut.pth'))
    for other in (b'hello world', b'\x80\x04garbage', bytes(range(256)) * 40):
        (tmp_path / 'other.pth').write_bytes(other)
        with pytest.raises(UsageError, match='other.pth'):
            load_checkpoint_file(str(tmp_path / 'other.pth'))
    torch.save(dict(state_dict=[1]), whole)
    with pytest.raises(UsageError, match='state_dict is a list'):
        load_checkpoint_file(str(whole))
    torch.save([1], whole)
    with pytest.raises(UsageError, match='list, not a dict'):
        load_checkpoint_file(str(whole))


class Evil:
    def __reduce__(self):
        return print, ('run while loading',)


def test_code_in_a_checkpoint_is_not_run(tmp_path, capsys):
    torch.save(dict(state_dict=Evil()), tmp_path / 'evil.pth')
    with pytest.raises(UsageError, match='evil.pth'):
        load_checkpoint_file(str(tmp_path / 'evil.pth'))
    assert 'run while loading' not in capsys.readouterr().out


def test_fitting_weights():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    state = model.state_dict()
    check_fits(dict(state_dict=state), model, 'a.pth')
    check_fits({f'module.{name}': value for name, value in state.items()}, model, 'a.pth')
    del state['1.num_batches_tracked']
    check_fits(state, model, 'a.pth')


def test_weights_of_another_model_are_named():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 5))
    state = model.state_dict()
    del state['0.bias']
    state['extra'] = torch.zeros(1)
    state['1.weight'] = torch.zeros(7, 4)
    with pytest.raises(UsageError) as error:
        check_fits(dict(state_dict=state), model, 'b.pth')
    message = str(error.value)
    assert 'b.pth' in message
    assert 'missing in the checkpoint: 0.bias' in message
    assert 'unknown to the model: extra' in message
    assert '1.weight (checkpoint (7, 4), model (5, 4))' in message


def test_a_checkpoint_to_start_from_may_lack_what_is_new():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 5))
    state = model.state_dict()
    assert check_start(dict(state_dict=state), model, 'a.pth') is None
    del state['1.weight']
    state['1.bias'] = torch.zeros(9)
    note = check_start(dict(state_dict=state), model, 'a.pth')
    assert 'load_from=a.pth: 2 weights' in note
    assert 'missing in the checkpoint: 1.weight' in note and '1.bias (checkpoint (9,)' in note


@pytest.mark.parametrize(
    'state', [{}, {'conv1.weight': torch.zeros(2)}, {'0.weight': torch.zeros(9, 9)}]
)
def test_a_checkpoint_of_which_nothing_fits_is_refused(state):
    with pytest.raises(UsageError, match='a.pth: none of its weights fits'):
        check_start(dict(state_dict=state), nn.Sequential(nn.Linear(3, 4)), 'a.pth')


def test_safetensors(tmp_path):
    save_file = pytest.importorskip('safetensors.torch').save_file
    model, path = nn.Linear(3, 4), tmp_path / 'a.safetensors'
    save_file(model.state_dict(), path)
    other = nn.Linear(3, 4)
    load_weights(other, path)
    assert torch.equal(other.weight, model.weight)
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(CheckpointError, match='a.safetensors .50 bytes. is cut off'):
        load_weights(other, path)


def test_weights_go_into_the_wrapped_model(tmp_path):
    model = nn.Linear(3, 4)
    torch.save({f'module.{k}': v for k, v in model.state_dict().items()}, tmp_path / 'a.pth')
    other = nn.DataParallel(nn.Linear(3, 4))
    load_weights(other, tmp_path / 'a.pth')
    assert torch.equal(other.module.weight, model.weight)


@pytest.mark.parametrize('key', ['model', 'model_state_dict', 'state_dict'])
def test_weights_under_the_names_of_other_libraries(tmp_path, key):
    model = nn.Linear(3, 4)
    state = {f'module.{name}': value for name, value in model.state_dict().items()}
    optimizer = dict(state={}, param_groups=[dict(lr=0.1)])
    torch.save({key: state, 'optimizer': optimizer, 'epoch': 3}, tmp_path / 'a.pth')
    other = nn.Linear(3, 4)
    load_weights(other, tmp_path / 'a.pth')
    assert torch.equal(other.weight, model.weight)


def test_weights_of_a_part_are_taken_by_their_prefix(tmp_path):
    """A backbone out of a classifier, a network out of a LightningModule."""
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    state = {f'backbone.{name}': value for name, value in model.state_dict().items()}
    del state['backbone.1.num_batches_tracked']
    torch.save(dict(state_dict={**state, 'head.fc': torch.ones(2)}), tmp_path / 'a.pth')
    other = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    with pytest.warns(UserWarning, match="the 6 weights under 'backbone.' are taken, 1 others"):
        load_weights(other, tmp_path / 'a.pth')
    assert torch.equal(other[0].weight, model[0].weight)
    # of two parts that would do nobody knows which is meant; one that lacks a weight does not
    twice = {**state, **{name.replace('backbone', 'teacher'): state[name] for name in state}}
    for wrong in (twice, {name: state[name] for name in list(state)[1:]}):
        torch.save(dict(state_dict=wrong), tmp_path / 'a.pth')
        with pytest.raises(CheckpointError, match=r'(?s)than small.*file.py:function'):
            load_weights(other, tmp_path / 'a.pth', 'small')


def test_a_missing_checkpoint_is_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match='not found'):
        load_checkpoint_file(tmp_path / 'none.pth')
    with pytest.raises(CheckpointError, match='is a folder'):
        load_checkpoint_file(tmp_path)


def test_names_that_are_no_texts(tmp_path):
    torch.save({1: torch.zeros(1)}, tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match='a.pth is damaged'):
        load_checkpoint_file(tmp_path / 'a.pth')


def test_an_address_without_a_network_is_one_line(monkeypatch):
    def fail(*_, **__):
        raise OSError('Name or service not known')

    monkeypatch.setattr('mmengine.runner.checkpoint.load_url', fail)
    with pytest.raises(CheckpointError) as caught:
        fetch('https://example.org/a.pth')
    assert str(caught.value).startswith('https://example.org/a.pth cannot be fetched: Name or')
    assert '\n' not in str(caught.value)


class Other:
    """Not a tensor."""


def test_nobody_is_told_to_switch_the_check_off(tmp_path):
    torch.save(dict(a=Other()), tmp_path / 'a.pth')
    (tmp_path / 'b.pth').write_text('{"no": "checkpoint"}')
    for name, words in (('a.pth', 'Other'), ('b.pth', 'damaged or no checkpoint')):
        with pytest.raises(CheckpointError) as caught:
            load_checkpoint_file(tmp_path / name)
        assert words in str(caught.value) and name in str(caught.value)
        assert 'weights_only' not in str(caught.value) and 'Please' not in str(caught.value)


def test_an_address_is_not_looked_for_among_files():
    with pytest.raises(CheckpointError, match=r'https://a\.b/c\.pth is an address'):
        load_checkpoint_file('https://a.b/c.pth')
