"""What a detector looked at: the numbers against torch, the page by clicks, the hook, the tool."""

import json
import re
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer

from mmclarity.detection.datasets.scalabel import CLASSES
from mmclarity.detection.inference import Detector
from mmclarity.detection.viewer import (
    AttentionVisualizationHook,
    Layer,
    Look,
    Neighbour,
    Page,
    Seen,
    draw_look,
    look_at,
)
from mmclarity.detection.viewer.looks import overlaps
from mmclarity.engine.config import load_config
from mmclarity.errors import UsageError
from tests.browser import Browser, needs_chromium
from tools.analysis_tools import show_attention

CONFIG = 'configs/lambda_frcnn_murky.py'


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    """Random weights, the attention's among them, so that context changes something."""
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(load_config(CONFIG).model)
    head = model.roi_head.bbox_head
    torch.nn.init.normal_(head.fc_cls.weight, std=0.3)
    torch.nn.init.normal_(head.attention['fc2'].out_proj.weight, std=0.02)
    path = tmp_path_factory.mktemp('weights') / 'w.pth'
    meta = dict(dataset_meta=dict(classes=CLASSES))
    torch.save(dict(meta=meta, state_dict=model.state_dict()), path)
    return str(path)


@pytest.fixture(scope='module')
def detector(checkpoint):
    return Detector(CONFIG, checkpoint, 'cpu', threshold=0.2, dtype='float32')


@pytest.fixture(scope='module')
def scene():
    """Twice the network's width, so that boxes have to be scaled."""
    noise = np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8)
    return cv2.resize(noise, (640, 384), interpolation=cv2.INTER_CUBIC)


@pytest.fixture(scope='module')
def look(detector, scene):
    return look_at(detector, scene, top=4)


def test_its_detections_are_the_detectors(detector, scene, look):
    (found,) = detector([scene])
    assert len(look.detections) == len(found) > 3
    np.testing.assert_allclose([d.score for d in look.detections], found.scores, rtol=1e-4)
    np.testing.assert_allclose(np.stack([d.box for d in look.detections]), found.boxes, atol=0.02)
    assert [d.name for d in look.detections] == found.names


def test_black_bars_are_cut_off_as_the_detector_does(detector, scene, look):
    """With them the page told of other detections than were drawn, judged too small."""
    film = cv2.copyMakeBorder(scene, 60, 60, 90, 90, cv2.BORDER_CONSTANT)
    assert look.lost and look.detections
    detector.cuts_bars = True
    try:
        (found,), seen = detector([film]), look_at(detector, film, top=4)
    finally:
        detector.cuts_bars = False
    np.testing.assert_allclose(np.stack([d.box for d in seen.detections]), found.boxes, atol=0.02)
    for one, plain in zip(seen.detections, look.detections, strict=True):
        assert (one.name, one.score, one.changes) == (plain.name, plain.score, plain.changes)
        for box, other in ((one.box, plain.box), (one.box_alone, plain.box_alone)):
            np.testing.assert_allclose(box, other + [90, 60, 90, 60], atol=1e-3)
    np.testing.assert_allclose(seen.proposals, look.proposals + [90, 60, 90, 60], atol=1e-3)
    for (*one, box), (*plain, other) in zip(seen.lost, look.lost, strict=True):
        assert one == plain
        np.testing.assert_allclose(box, other + [90, 60, 90, 60], atol=1e-3)


def test_boxes_that_are_agreed_on_are_shown_so(detector, scene, look):
    head = detector.inferencer.model.roi_head.bbox_head
    head.consensus = dict(iou=0.3)
    try:
        (found,), agreed = detector([scene]), look_at(detector, scene)
    finally:
        head.consensus = None
    boxes = np.stack([d.box for d in agreed.detections])
    np.testing.assert_allclose(boxes, found.boxes, atol=0.02)
    assert np.abs(boxes - np.stack([d.box for d in look.detections])).max() > 0.5
    assert any(
        np.abs(one.box_alone - other.box_alone).max() > 0.1
        for one, other in zip(agreed.detections, look.detections)
    )


def test_weights_rebuild_what_the_layer_adds(detector, scene, look):
    """The update of each detection's features is the sum of weight times value: by hooks."""
    kept = {}
    layer = detector.inferencer.model.roi_head.bbox_head.attention['fc2']
    hooks = [
        layer.v_norm.register_forward_hook(lambda m, a, out: kept.update(values=out)),
        layer.out_proj.register_forward_hook(lambda m, a, out: kept.update(update=a[0])),
    ]
    detector([scene])
    for hook in hooks:
        hook.remove()
    seen = look.detections[0]
    view = seen.layers[0]
    assert view.signed and view.title == 'fc2' and view.heads == 4
    values = kept['values'].numpy()
    np.testing.assert_array_equal(view.sources, np.arange(len(values)))
    # all heads share the values: the mean of the weights gives the mean of the heads' updates
    expected = kept['update'].numpy()[seen.proposal].reshape(4, -1).mean(0)
    np.testing.assert_allclose(view.weights @ values, expected, atol=1e-4, rtol=1e-3)
    strongest = np.argsort(-np.abs(view.weights), kind='stable')[:4]
    np.testing.assert_allclose(
        [n.weight for n in view.top], view.weights[strongest], rtol=1e-5, atol=1e-8
    )


def test_alone_is_the_same_detector_without_its_attention(checkpoint, scene, look):
    plain = Detector(CONFIG, checkpoint, 'cpu', threshold=0.2, dtype='float32')
    head = plain.inferencer.model.roi_head.bbox_head
    torch.nn.init.zeros_(head.attention['fc2'].out_proj.weight)
    torch.nn.init.zeros_(head.attention['fc2'].out_proj.bias)
    (found,) = plain([scene])
    boxes = np.stack([d.box_alone for d in look.detections])
    matched = 0
    for name, score, box in zip(found.names, found.scores, found.boxes):
        near = overlaps(box, boxes)
        same = [
            d
            for d, iou in zip(look.detections, near)
            if iou > 0.99 and d.name == name and abs(d.same_alone - score) < 1e-3
        ]
        matched += bool(same)
        if not same:  # then nothing of this name is found there with context, or it is listed
            there = any(
                d.name == name and overlaps(box, d.box[None])[0] >= 0.5 for d in look.detections
            )
            listed = any(
                other == name and overlaps(box, where[None])[0] > 0.99
                for other, _, where in look.lost
            )
            assert there or listed, (name, score)
    assert matched or look.lost
    for seen in look.detections:
        assert ('found' in seen.changes) == (seen.same_alone < 0.2)
        assert ('score' in seen.changes) == (abs(seen.score - seen.same_alone) >= 0.05)


@pytest.mark.parametrize(
    ('config', 'why'),
    [('configs/frcnn_murky.py', 'StandardRoIHead has no attention among regions')],
)
def test_detectors_without_context_are_refused(config, why, tmp_path, scene):
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(load_config(config).model)
    meta = dict(dataset_meta=dict(classes=CLASSES))
    torch.save(dict(meta=meta, state_dict=model.state_dict()), tmp_path / 'w.pth')
    with pytest.raises(UsageError, match=why):
        look_at(Detector(config, str(tmp_path / 'w.pth'), 'cpu', dtype='float32'), scene)


# --------------------------------------------------------------- the page, with looks made by hand
def made_look(signed=True, changes=('name', 'score')):
    """A car at the left that drew on two others; weights that are easy to tell in the page."""
    proposals = np.array([[10.0, 10, 50, 40], [100, 20, 160, 60], [220, 90, 280, 150]])
    weights = np.array([0.1, 0.5, -0.25] if signed else [0.25, 0.5, 0.25])
    top = tuple(
        Neighbour(place, float(weights[place]), name, 0.9, 1.0 if place == 0 else 0.0)
        for place, name in ((1, 'bus'), (2, 'background'), (0, 'car'))
    )
    layer = Layer('fc2', signed, 4, np.arange(3), weights, top)
    first = Seen(
        proposals[0], 'car', 0.8, 0, (layer,), 'truck', 0.6, 0.3, proposals[0] + 2, changes
    )
    second = Seen(proposals[1], 'bus', 0.9, 1, (layer,), 'bus', 0.9, 0.9, proposals[1])
    return Look(proposals, (first, second), (('truck', 0.6, proposals[0] + 2),))


@pytest.fixture(scope='module')
def browser(tmp_path_factory):
    one = Browser(tmp_path_factory.mktemp('profile'))
    yield one
    one.close()


@pytest.fixture
def page(tmp_path):
    made = Page('Street </script> & co', ('car', 'bus', 'truck'))
    pixels = np.full((180, 320, 3), 90, np.uint8)
    calm = Look(made_look().proposals, (made_look().detections[1],))
    made.add('calm.jpg', pixels, calm)
    made.add('</script><b>.jpg', pixels, made_look())
    made.add('empty.jpg', pixels, Look(np.zeros((0, 4)), ()))
    path = tmp_path / 'page.html'
    made.write(path)
    return path


@needs_chromium
def test_the_page_by_clicks_and_keys(browser, page):
    browser.open(page)
    assert browser.complaints == []
    text = browser.run('document.body.innerText')
    assert '3 images, 3 detections, 2 changed by context' in text
    assert browser.run('document.title') == 'Street </script> & co'
    # only what the context changed
    browser.click('#only')
    visible = (
        '[...document.querySelectorAll("#images button:not([hidden])")].map(b => b.dataset.name)'
    )
    assert browser.run(visible) == ['</script><b>.jpg']
    rows = '[...document.querySelectorAll("#list button:not([hidden])")].map(b => b.innerText)'
    assert len(browser.run(rows)) == 1 and 'name, score' in browser.run(rows)[0]
    browser.click('#only')
    assert len(browser.run(visible)) == 3
    # hovering lights the neighbours up, leaving puts them out
    assert browser.run('document.querySelectorAll(".near").length') == 0
    browser.mouse('#lines .found[data-index="0"]')
    browser.wait('document.querySelectorAll(".near").length == 3')
    browser.mouse('h1')  # a busy browser tells the page of it a moment later
    browser.wait('document.querySelectorAll(".near").length == 0')
    # a click holds them; the panel says what changed
    browser.click('#lines .found[data-index="0"]')
    browser.mouse('h1')
    detail = browser.run('document.getElementById("detail").innerText')
    for said in (
        'truck',
        'name: truck without context',
        'score +0.500',
        '+0.500',
        '−0.250',
        'mean over 4 heads',
        '12 % lies on itself',
        '88 % elsewhere',
    ):
        assert said in detail
    assert 'effective linear map' in browser.run('document.getElementById("meaning").innerText')
    strokes = '[...document.querySelectorAll(".near rect")].map(r => r.getAttribute("stroke"))'
    assert browser.run(strokes) == ['#ffbe5a', '#5c9dff', '#ffbe5a']
    # the map: amber where weight is added, blue where it is taken away
    shade = (
        '(() => { const c = document.getElementById("map"); const k = c.width / 320;'
        'return [[130, 40], [250, 120], [300, 20]].map(([x, y]) => Array.from('
        'c.getContext("2d").getImageData(x * k, y * k, 1, 1).data)); })()'
    )
    added, taken, nothing = browser.run(shade)
    assert added[0] > added[2] and added[3] > 150 and taken[2] > taken[0] and nothing[3] == 0
    # keys
    browser.key('m')
    assert browser.run('document.getElementById("map").hidden')
    browser.key('ArrowDown')
    assert browser.run('state.held') == 1
    browser.key('Escape')
    assert browser.run('state.held') is None
    browser.key('ArrowRight')
    assert 'Nothing was found here' in browser.run('document.getElementById("list").innerText')
    browser.key('ArrowLeft')
    browser.key('ArrowLeft')
    assert browser.run('image().name') == 'calm.jpg'
    browser.run('document.querySelector("#lines .found").focus()')
    browser.key('Enter')
    assert browser.run('state.held') == 0
    assert 'not changed by context' in browser.run('document.getElementById("detail").innerText')
    assert browser.complaints == []


@needs_chromium
def test_the_keyboard_keeps_its_place_when_the_page_is_drawn_anew(browser, page):
    browser.open(page)
    focused = 'document.activeElement.dataset.index + document.activeElement.closest("[id]").id'
    for place in ('lines', 'list', 'images'):
        browser.run(f'document.querySelector("#{place} [data-index=\'0\']").focus()')
        # a photograph that has loaded, a window of another size
        browser.run('fit()')
        assert browser.run(focused) == f'0{place}'
        browser.run('all()')
        assert browser.run(focused) == f'0{place}'
    browser.run('document.querySelector("#lines .found").focus()')
    browser.key('Enter')
    assert browser.run('state.held') == 0 and browser.run(focused) == '0lines'
    browser.key('Enter')
    assert browser.run('state.held') is None and browser.run(focused) == '0lines'
    assert browser.complaints == []


@needs_chromium
def test_shares_of_a_softmax_and_heads_that_need_their_context(browser, tmp_path):
    look = made_look(signed=False)
    bare = [Seen(d.box, d.name, d.score, d.proposal, d.layers) for d in look.detections]
    made = Page('Shares', ('car', 'bus', 'truck'))
    made.add('a.png', np.zeros((180, 320, 3), np.uint8), Look(look.proposals, tuple(bare)))
    made.write(tmp_path / 'p.html')
    browser.open(tmp_path / 'p.html')
    browser.key('ArrowDown')
    assert 'are shares' in browser.run('document.getElementById("meaning").innerText')
    assert 'cannot do without' in browser.run('document.getElementById("detail").innerText')
    assert browser.complaints == []


def test_a_page_needs_an_image_and_replaces_nothing(tmp_path):
    with pytest.raises(ValueError, match='at least one image'):
        Page('x', ('car',)).html()
    page = Page('x', ('car', 'bus', 'truck'))
    page.add('a.png', np.zeros((180, 320, 3), np.uint8), made_look())
    page.write(tmp_path / 'a.html')
    with pytest.raises(FileExistsError):
        page.write(tmp_path / 'a.html')


def test_source_places_are_kept_where_they_are_not_all(tmp_path):
    look = made_look()
    layer = Layer('fc2', False, 1, np.array([2, 0]), np.array([0.75, 0.25]), ())
    seen = Seen(look.proposals[0], 'car', 0.8, 0, (layer,))
    page = Page('x', ('car',))
    page.add('a.png', np.zeros((180, 320, 3), np.uint8), Look(look.proposals, (seen,)))
    data = re.search(r'id="data">(.*?)</script>', page.html(), re.S)[1]
    assert json.loads(data)['images'][0]['sources'] == dict(fc2='AgAAAA==')  # 2 and 0, 16 bit


def test_drawn_lines_lead_to_neighbours():
    pixels = np.full((180, 320, 3), 90, np.uint8)
    picture = draw_look(pixels, made_look(), ('car', 'bus', 'truck'), count=1, width=640)
    assert picture.shape == (360, 640, 3)
    between = picture[120:140, 230:260].astype(int)  # on the way to the second box, amber
    assert (between[..., 2] - between[..., 0]).max() > 60
    assert (pixels == 90).all()


# ------------------------------------------------------------------------------ hook and tool
def test_the_hook_draws_a_few_during_validation(detector, scene, tmp_path):
    model = detector.inferencer.model
    path = tmp_path / 'scene.png'
    cv2.imwrite(str(path), scene)
    data = detector.inferencer.collate_fn([detector.inferencer.pipeline(str(path))])
    backends = [dict(type='LocalVisBackend')]
    visualizer = Visualizer(vis_backends=backends, save_dir=str(tmp_path), name='attention')
    dataset = SimpleNamespace(metainfo=dict(classes=CLASSES))

    class Loader(list):
        pass

    loader = Loader(range(6))
    loader.dataset = dataset
    runner = SimpleNamespace(model=model, visualizer=visualizer, val_dataloader=loader, iter=7)
    hook = AttentionVisualizationHook(images=2, threshold=0.2)
    hook.before_val(runner)
    for index in range(6):
        hook.after_val_iter(runner, index, data)
    pictures = sorted(tmp_path.rglob('attention_*.png'))
    assert [path.name for path in pictures] == ['attention_0_7.png', 'attention_1_7.png']
    picture = cv2.imread(str(pictures[0]))
    assert picture.shape[1] == 960 and picture.std() > 10
    with pytest.raises(ValueError, match='at least 1'):
        AttentionVisualizationHook(images=0)


def test_the_tool(checkpoint, scene, tmp_path, capsys):
    folder = tmp_path / 'in'
    folder.mkdir()
    cv2.imwrite(str(folder / 'a.png'), scene)
    (folder / 'bad.png').write_text('no image')
    out = tmp_path / 'page.html'
    given = [CONFIG, checkpoint, str(folder), '--out', str(out), '--device', 'cpu']
    assert show_attention.main(given) == 2  # one could not be read
    said = capsys.readouterr()
    assert 'bad.png' in said.err and '1 image, ' in said.out and out.stat().st_size > 50_000
    assert show_attention.main(given) == 2
    assert 'exists; give --overwrite' in capsys.readouterr().err
    with pytest.raises(SystemExit):
        show_attention.parse_args([*given, '--top', '0'])
