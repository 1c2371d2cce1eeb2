"""Transformers: those of Hugging Face, made here with random weights, and one of their protocol."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from mmclarity.cli.rsa import main
from mmclarity.errors import LayerError
from mmclarity.rsa import FeatureRecorder
from mmclarity.rsa.models import networks
from mmclarity.rsa.models.networks import default_layers

SMALL = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32)
SIDE = dict(image_size=32, patch_size=8)
needs_transformers = pytest.mark.skipif(
    find_spec('transformers') is None, reason='transformers is not installed'
)


@dataclass
class Output(OrderedDict):
    """As ModelOutput of transformers: a data class that is a mapping as well."""

    last_hidden_state: Tensor | None = None
    pooler_output: Tensor | None = None

    def __post_init__(self) -> None:
        for name in ('last_hidden_state', 'pooler_output'):
            if getattr(self, name) is not None:
                self[name] = getattr(self, name)


class Block(nn.Module):
    """Tokens in, a tuple out, as blocks of transformers are."""

    def __init__(self) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(16)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)

    def forward(self, tokens: Tensor) -> tuple[Tensor]:
        normed = self.layer_norm(tokens)
        return (tokens + self.attention(normed, normed, normed)[0],)


class Embeddings(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 16))
        self.projection = nn.Conv2d(3, 16, 8, stride=8)

    def forward(self, images: Tensor) -> Tensor:
        patches = self.projection(images).flatten(2).transpose(1, 2)
        return torch.cat([self.cls_token.expand(len(images), -1, -1), patches], 1)


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.ModuleList([Block() for _ in range(3)])

    def forward(self, tokens: Tensor) -> Output:
        for block in self.layer:
            (tokens,) = block(tokens)
        return Output(last_hidden_state=tokens)


class StandIn(nn.Module):
    """What a ViT of transformers looks like from outside."""

    def __init__(self) -> None:
        super().__init__()
        self.embeddings, self.encoder = Embeddings(), Encoder()
        self.layernorm = nn.LayerNorm(16)

    def forward(self, pixel_values: Tensor) -> Output:
        found = self.encoder(self.embeddings(pixel_values))
        tokens = self.layernorm(found.last_hidden_state)
        return Output(last_hidden_state=tokens, pooler_output=tokens[:, 0])


class TestStandIn:
    LAYERS = ('embeddings', 'encoder.layer.0', 'encoder.layer.1', 'encoder.layer.2')

    def test_blocks_are_the_stages(self):
        assert default_layers(StandIn()) == list(self.LAYERS)

    def test_a_class_token_has_seen_nothing_in_the_embeddings(self):
        network = networks.Network('net', StandIn(), self.LAYERS, 'random')
        assert network.layers_for('cls') == list(self.LAYERS[1:])
        assert network.layers_for('mean') == network.layers_for(None) == list(self.LAYERS)

    @pytest.mark.parametrize('pool', [None, 'mean', 'cls'])
    def test_tuples_and_model_outputs_are_pooled(self, pool):
        model, images = StandIn().eval(), torch.randn(4, 3, 32, 32)
        got = FeatureRecorder(model, ['encoder.layer.2', 'encoder'], pool).record_images(images)
        with torch.no_grad():
            tokens = model.encoder(model.embeddings(images)).last_hidden_state
        wanted = {None: tokens.flatten(1), 'mean': tokens.mean(1), 'cls': tokens[:, 0]}[pool]
        torch.testing.assert_close(got['encoder.layer.2'], wanted)
        torch.testing.assert_close(got['encoder'], wanted)


@needs_transformers
class TestHuggingFace:
    @pytest.fixture
    def vit(self, tmp_path):
        """A folder as Hugging Face writes it, and the model in it."""
        from transformers import ViTConfig, ViTImageProcessor, ViTModel

        model = ViTModel(ViTConfig(**SIDE, **SMALL)).eval()
        model.save_pretrained(tmp_path / 'vit')  # safetensors
        ViTImageProcessor(image_mean=[0.1, 0.2, 0.3]).save_pretrained(tmp_path / 'vit')
        return tmp_path / 'vit', model

    @pytest.fixture
    def clip(self, tmp_path):
        from transformers import CLIPConfig

        text = dict(vocab_size=20, **SMALL)
        CLIPConfig(text_config=text, vision_config=SIDE | SMALL).save_pretrained(tmp_path / 'clip')
        return tmp_path / 'clip'

    @pytest.mark.parametrize('pool', [None, 'mean', 'cls'])
    def test_vit_from_a_folder(self, vit, pool):
        folder, model = vit
        found = networks.load(f'hf:{folder}')
        assert found.mean == (0.1, 0.2, 0.3)
        assert found.layers == ['embeddings', 'encoder.layer.0', 'encoder.layer.1', 'pooler']
        images = torch.randn(2, 3, 32, 32)
        recorder = FeatureRecorder(found.model, ['encoder.layer.1'], pool)
        got = next(recorder.record(found.forward(), [images]))['encoder.layer.1']
        with torch.no_grad():
            tokens = model(images, output_hidden_states=True).hidden_states[2]
        wanted = {None: tokens.flatten(1), 'mean': tokens.mean(1), 'cls': tokens[:, 0]}[pool]
        torch.testing.assert_close(got, wanted)

    def test_clip_is_shown_images_only(self, clip):
        found = networks.load(f'hf:{clip}', 'none')
        assert found.module == 'vision_model'
        layer = 'vision_model.encoder.layers.1'
        assert layer in found.layers
        recorder = FeatureRecorder(found.model, [layer], pool='cls')
        got = next(recorder.record(found.forward(), [torch.randn(2, 3, 32, 32)]))
        assert got[layer].shape == (2, 16)

    def test_without_weights_the_cache_is_named(self, tmp_path, monkeypatch):
        monkeypatch.setenv('HF_HUB_OFFLINE', '1')
        with pytest.raises(LayerError, match='cannot be downloaded.*HF_HOME.*--checkpoint FILE'):
            networks.load(f'hf:{tmp_path}/nothing')

    @pytest.mark.parametrize('pool', ['none', 'mean', 'cls'])
    @pytest.mark.parametrize('kind', ['vit', 'clip'])
    def test_command_line(self, kind, pool, request, tmp_path):
        folder = request.getfixturevalue(kind)
        folder = folder[0] if kind == 'vit' else folder
        rng, pictures = np.random.default_rng(0), tmp_path / 'pictures'
        pictures.mkdir()
        for i in range(6):
            pixels = rng.integers(0, 256, (32, 32, 3), np.uint8)
            Image.fromarray(pixels).save(pictures / f'{i}.png')
        np.savez(tmp_path / 'it.npz', IT=rng.normal(size=(6, 9)), ids=np.arange(6).astype(str))
        command = f'--model hf:{folder} --checkpoint none --stimuli {pictures} --pool {pool}'
        command += f' --neural IT={tmp_path}/it.npz:IT --size 32 --bootstraps 0 --permutations 0'
        assert main([*command.split(), '--figures', 'none', '--out', str(tmp_path / 'out')]) == 0
        table = (tmp_path / 'out' / 'rsa.csv').read_text()
        assert 'encoder.layer' in table and 'nan' not in table
        assert ('embeddings' in table) == (pool != 'cls')
