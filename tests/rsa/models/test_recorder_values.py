"""Values that the recorder keeps: positions, kinds of number, tokens."""

from contextlib import closing

import pytest
import torch
from torch import nn

from mmclarity.rsa import FeatureRecorder


def test_tokens_are_pooled_over_their_number():
    model = nn.Sequential(nn.Linear(3, 7))
    tokens = torch.randn(2, 16, 3)
    got = FeatureRecorder(model, ['0'], pool='mean').record_images(tokens)['0']
    torch.testing.assert_close(got, model(tokens).mean(1))


def test_tensors_of_different_rows_are_refused():
    class Mixed(nn.Module):
        def forward(self, x):
            return x, x.mean(0, keepdim=True)

    with pytest.raises(RuntimeError, match=r"'0' returns tensors of \[1, 2\] rows"):
        FeatureRecorder(nn.Sequential(Mixed()), ['0']).record_images(torch.zeros(2, 3))


def test_class_token():
    model = nn.Sequential(nn.Linear(3, 7))
    tokens = torch.randn(2, 16, 3)
    got = FeatureRecorder(model, ['0'], pool='cls').record_images(tokens)['0']
    torch.testing.assert_close(got, model(tokens)[:, 0])


def test_tokens_before_images():
    class Swap(nn.Module):
        def forward(self, x):
            return x.transpose(0, 1)

    tokens = torch.randn(2, 16, 3)
    got = FeatureRecorder(nn.Sequential(Swap()), ['0'], pool='cls').record_images(tokens)['0']
    torch.testing.assert_close(got, tokens[:, 0])


@pytest.mark.parametrize('first', [True, False])
def test_as_many_tokens_as_images(first):
    """The shape of a batch does not tell which axis is which: RDMs were of tokens."""

    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Conv2d(3, 6, 4, 4)
            self.block = nn.TransformerEncoderLayer(6, 2, 8, batch_first=not first)
            self.recurrent = nn.LSTM(6, 5, 4, batch_first=not first)

        def forward(self, images):
            tokens = self.embed(images).flatten(2).permute((2, 0, 1) if first else (0, 2, 1))
            for _ in range(2):
                tokens = self.block(tokens)
            return self.recurrent(tokens)[0].sum()

    torch.manual_seed(0)
    model, images = Tokens(), torch.randn(4, 3, 8, 8)  # 4 tokens, 4 recurrent layers
    layers = ['block#2', 'recurrent']
    recorder = FeatureRecorder(model, layers)
    calls = []
    model.register_forward_pre_hook(lambda module, args: calls.append(len(args[0])))
    with closing(recorder.record(model, [images, images.flip(0)])) as answers:
        once, again = (dict(found) for found in answers)
    assert calls == [4, 3, 4]  # one more pass, of one image less, and known from then on
    one_by_one = [recorder.record_images(image[None]) for image in images]
    for layer in layers:
        expected = torch.cat([found[layer] for found in one_by_one])
        torch.testing.assert_close(once[layer], expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(again[layer], expected.flip(0), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('channels', [4, 6, 8])
def test_maps_with_channels_last_are_pooled_over_their_positions(channels):
    class Last(nn.Module):  # as Swin transformers answer
        def forward(self, x):
            return x.permute(0, 2, 3, 1)

    images = torch.randn(3, channels, 6, 6)
    model = nn.Sequential(Last())
    got = FeatureRecorder(model, ['0'], pool='mean').record_images(images)['0']
    if channels != 6:  # else nothing tells the axes apart, and channels are taken to come first
        torch.testing.assert_close(got, images.mean((2, 3)))
    assert got.shape == (3, channels)


def test_double_precision():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).double()
    images = torch.randn(2, 3, 8, 8)
    got = FeatureRecorder(model, ['0']).record_images(images)['0']
    torch.testing.assert_close(got, model[0](images.double()).flatten(1).float())


def test_complex_answers_are_two_units_each():
    class Spectrum(nn.Module):
        def forward(self, x):
            return torch.fft.fft2(x).conj()

    images = torch.randn(2, 3, 8, 8)
    model = nn.Sequential(Spectrum())
    got = FeatureRecorder(model, ['0']).record_images(images)['0']
    expected = torch.fft.fft2(images).conj().flatten(1)
    torch.testing.assert_close(got, torch.view_as_real(expected.resolve_conj()).flatten(1))
    # Rows are compared by angles and distances: those of complex vectors are kept.
    assert (got[0] - got[1]).norm().item() == pytest.approx(
        (expected[0] - expected[1]).norm().item(), rel=1e-5
    )
    pooled = FeatureRecorder(model, ['0'], 'mean').record_images(images)['0']
    torch.testing.assert_close(pooled[:, ::2], torch.fft.fft2(images).real.mean((2, 3)))


def test_whole_numbers_are_no_answers():
    class Best(nn.Module):
        def forward(self, x):
            return x.argmax(1)

    with pytest.raises(RuntimeError, match="'0' returns no tensor .* but only int64"):
        FeatureRecorder(nn.Sequential(Best()), ['0']).record_images(torch.randn(2, 3, 4, 4))


def test_the_mean_over_positions_has_more_digits_than_half_precision():
    model = nn.Sequential(nn.Identity(), nn.Conv2d(1, 1, 1)).bfloat16()
    images = torch.rand(4, 1, 32, 32).bfloat16()
    got = FeatureRecorder(model, ['0'], 'mean').record_images(images)['0']
    torch.testing.assert_close(got[:, 0], images.float().mean((1, 2, 3)), rtol=1e-6, atol=0)


def test_answers_without_units_are_named():
    class Nothing(nn.Module):
        def forward(self, x):
            return x[:, :0]

    with pytest.raises(RuntimeError, match="'0' returns no units"):
        FeatureRecorder(nn.Sequential(Nothing()), ['0']).record_images(torch.randn(2, 3, 4, 4))
