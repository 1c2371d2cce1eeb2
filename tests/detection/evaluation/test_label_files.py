"""Labels and results in their forms: what is read, and what is refused with a remedy."""

import json

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mmclarity.detection.datasets.scalabel import CLASSES
from mmclarity.detection.evaluation.comparison import compare
from mmclarity.detection.evaluation.label_files import parse_size, read_labels, read_results
from mmclarity.utils.json_files import LabelFileError
from tests.detection.evaluation.synthetic_detections import coco, detections, objects, results
from tools.dataset_converters.coco_to_scalabel import to_scalabel


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    gts = objects(rng, 6)
    return coco(gts, 6), results(detections(rng, gts, 6))


def save(path, content):
    path.write_text(json.dumps(content))
    return path


def sort(items):
    return sorted(items, key=lambda item: (item['image_id'], item['score'], item['bbox']))


def test_coco_labels_and_all_forms_of_results(tmp_path, data):
    labels, dts = data
    labelled = read_labels(save(tmp_path / 'gt.json', labels))
    assert labelled.names[2] == '002.jpg' and labelled.paths[2] == 'folder/002.jpg'
    assert labelled.sizes == [(640, 360)] * 6
    assert labelled.groups() == {
        'weather/clear': [0, 2, 4],
        'weather/rainy': [1, 3, 5],
        'timeofday/daytime': [0, 1, 4, 5],
        'timeofday/night': [2, 3],
        'scene/highway': list(range(6)),
    }
    expected = [dt | dict(image_id=dt['image_id'] - 100) for dt in dts]
    assert read_results(save(tmp_path / 'dt.json', dts), labelled) == expected
    frames = to_scalabel(dts, labels['images'], labels['categories'])
    for content in (frames, dict(frames=frames)):
        found = read_results(save(tmp_path / 'frames.json', content), labelled)
        for one, two in zip(sort(found), sort(expected), strict=True):
            assert one['bbox'] == pytest.approx(two['bbox'])
            assert one['category_id'] == two['category_id'] and one['score'] == two['score']


def test_objects_that_a_wrong_image_size_would_leave_out_are_told(tmp_path):
    box = dict(category='car', box2d=dict(x1=700, y1=400, x2=720, y2=420))
    frames = [dict(name=f'{place}.jpg', labels=[box]) for place in range(30)]
    path = save(tmp_path / 'det.json', frames)
    assert len(read_labels(path, (1280, 720)).gts) == 30
    with pytest.raises(LabelFileError, match='30 of 30 boxes lie wholly outside .*frame 0'):
        read_labels(path, (640, 360))


def test_results_of_frames_that_have_one_name_in_several_videos(tmp_path):
    """Scalabel tells them apart by the name of the video, not by the path of the file."""
    images = [
        dict(id=7, file_name='v1/a.jpg', width=64, height=48),
        dict(id=8, file_name='v2/a.jpg', width=64, height=48),
        dict(id=9, file_name='b.jpg', width=64, height=48),
    ]
    labels = dict(images=images, categories=[dict(id=1, name='car')], annotations=[])
    found = [dict(image_id=8, category_id=1, bbox=[1.0, 2.0, 3.0, 4.0], score=0.5)]
    frames = to_scalabel(found, images, labels['categories'])
    assert [(frame['name'], frame.get('videoName')) for frame in frames] == [
        ('a.jpg', 'v1'),
        ('a.jpg', 'v2'),
        ('b.jpg', None),
    ]
    labelled = read_labels(save(tmp_path / 'gt.json', labels))
    again = read_results(save(tmp_path / 'frames.json', frames), labelled)
    assert again == [dict(found[0], image_id=1)]


def test_coco_file_of_detections(tmp_path, data):
    """As detect.py writes it: images and categories numbered in its own way, found by name."""
    labels, dts = data
    labelled = read_labels(save(tmp_path / 'gt.json', labels))
    expected = read_results(save(tmp_path / 'list.json', dts), labelled)
    own = {
        'images': [{**i, 'id': i['id'] + 70} for i in reversed(labels['images'])],
        'categories': [{**c, 'id': c['id'] + 30} for c in labels['categories']],
        'annotations': [
            {**d, 'image_id': d['image_id'] + 70, 'category_id': d['category_id'] + 30} for d in dts
        ],
    }
    found = read_results(save(tmp_path / 'found.json', own), labelled)
    assert sort(found) == sort(expected) and len(found) == len(dts) > 0
    del own['annotations'][0]['score']
    with pytest.raises(LabelFileError, match='this is ground truth'):
        read_results(save(tmp_path / 'truth.json', own), labelled)
    own['annotations'] = own['annotations'][1:]
    own['images'][0]['file_name'] = 'folder/elsewhere.jpg'
    with pytest.raises(LabelFileError, match='other images'):
        read_results(save(tmp_path / 'others.json', own), labelled)


def test_scalabel_labels_count_images_as_the_data_set_does(tmp_path):
    frames = [
        dict(
            name=f'{place}.jpg',
            attributes=dict(weather='rainy'),
            labels=[
                dict(id=1, category='person', box2d=dict(x1=10, y1=10, x2=29, y2=699)),
                dict(id=2, category='trailer', box2d=dict(x1=0, y1=0, x2=9, y2=9)),
            ],
        )
        for place in range(3)
    ]
    path = save(tmp_path / 'labels.json', frames)
    labelled = read_labels(path)
    assert labelled.categories == {place + 1: name for place, name in enumerate(CLASSES)}
    assert labelled.gts[0] == dict(image_id=0, category_id=1, bbox=[10, 10, 20, 690], iscrowd=0)
    assert labelled.gts[1]['iscrowd'] == 1 and labelled.gts[1]['category_id'] == 4
    assert 'not clipped' in labelled.notes[0]
    assert list(labelled.groups()) == ['weather/rainy']
    assert labelled.chosen(None) == {1: 'pedestrian'}
    clipped = read_labels(path, (640, 360))
    assert clipped.gts[0]['bbox'] == [10, 10, 20, 350] and not clipped.notes
    dt = dict(image_id=3, category_id=1, bbox=[10, 10, 20, 350], score=0.5)
    found = read_results(save(tmp_path / 'dt.json', [dt]), labelled)
    assert found == [dt | dict(image_id=2)]
    # beside a *.gt.json its file names count, not its numbers
    other = dict(
        images=[dict(id=place, file_name=f'x/{2 - place}.jpg') for place in range(3)],
        categories=[dict(id=7, name='pedestrian')],
        annotations=[],
    )
    save(tmp_path / 'run.gt.json', other)
    dt = dict(image_id=0, category_id=7, bbox=[10, 10, 20, 350], score=0.5)
    found = read_results(save(tmp_path / 'run.bbox.json', [dt]), labelled)
    assert found == [dt | dict(image_id=2, category_id=1)]


def test_images_by_file_name(tmp_path, data):
    """As ultralytics writes them; a number as text is left alone: an id, or a name?"""
    labels, dts = data
    labelled = read_labels(save(tmp_path / 'gt.json', labels))
    expected = read_results(save(tmp_path / 'dt.json', dts), labelled)
    for form in ('{:03d}.jpg', 'folder/{:03d}.jpg'):
        named = [dt | dict(image_id=form.format(dt['image_id'] - 100)) for dt in dts]
        assert read_results(save(tmp_path / 'names.json', named), labelled) == expected
    with pytest.raises(LabelFileError, match="image_id '003' is not among"):
        read_results(save(tmp_path / 'text.json', [dts[0] | dict(image_id='003')]), labelled)
    for image in labels['images']:
        image['file_name'] = image['file_name'].replace('00', 'frame')
    labelled = read_labels(save(tmp_path / 'gt.json', labels))
    stems = [dt | dict(image_id=f'frame{dt["image_id"] - 100}') for dt in dts]
    assert read_results(save(tmp_path / 'stems.json', stems), labelled) == expected


def test_objects_to_ignore_are_told(tmp_path, data):
    """pycocotools and mmdet take them differently, so that their AP does."""
    labels, _ = data
    crowd = next(item for item in labels['annotations'] if item['iscrowd'])
    crowd['ignore'] = 1
    assert not read_labels(save(tmp_path / 'gt.json', labels)).notes
    one = next(item for item in labels['annotations'] if not item['iscrowd'])
    one['ignore'] = True
    (note,) = read_labels(save(tmp_path / 'gt.json', labels)).notes
    assert note.startswith('gt.json: 1 objects say "ignore"')


def test_recordings(tmp_path, data):
    labels, _ = data
    for place, image in enumerate(labels['images']):
        image.update(file_name=f'{"ab"[place // 3]}/{place // 2}-{place}.jpg', video_id=place % 2)
    labelled = read_labels(save(tmp_path / 'gt.json', labels))
    assert labelled.units('1')[0] == ['0', '0', '1', '1', '2', '2']
    assert labelled.units('folder') == (['a'] * 3 + ['b'] * 3, 'folders')
    assert labelled.units('video_id') == (list('010101'), 'recordings (video_id)')
    assert labelled.units('weather')[1] == 'recordings (weather)'
    with pytest.raises(LabelFileError, match='--together scene: all images are of one'):
        labelled.units('scene')
    with pytest.raises(LabelFileError, match="does not give it of image '0-0.jpg'.*video_id"):
        labelled.units('tape')


def test_area_scale(tmp_path, data):
    labelled = read_labels(save(tmp_path / 'gt.json', data[0]))
    assert labelled.area_scale(None) == (1.0, '')
    factor, sentence = labelled.area_scale('4')
    assert factor == 4 and sentence == 'areas count times 4'
    factors, sentence = labelled.area_scale('1280x720')
    np.testing.assert_array_equal(factors, [4.0] * 6)
    assert sentence.startswith('S/M/L as of 1280x720: areas count times 4,')
    labelled.sizes[1] = (1280, 720)
    assert labelled.area_scale('1280x720')[0].tolist() == [4, 1, 4, 4, 4, 4]
    assert '1 to 4' in labelled.area_scale('1280x720')[1]
    labelled.sizes[1] = None
    with pytest.raises(LabelFileError, match='does not give the size of image .001.jpg'):
        labelled.area_scale('1280x720')
    for wrong in ('0', '-1', 'big', 'nan', 'inf', '0x3'):
        with pytest.raises(LabelFileError, match='positive factor'):
            labelled.area_scale(wrong)
    assert parse_size('12x7') == (12, 7) and parse_size('12') is None


def test_classes_asked_for(tmp_path, data):
    labelled = read_labels(save(tmp_path / 'gt.json', data[0]))
    assert labelled.chosen(['bus']) == {2: 'bus'}
    with pytest.raises(LabelFileError, match="--classes .'lorry'"):
        labelled.chosen(['lorry'])
    labelled.gts.clear()
    with pytest.raises(LabelFileError, match='has no objects'):
        labelled.chosen(None)


def test_images_are_grouped_by_an_attribute_of_zero(tmp_path):
    images = [
        dict(id=i, file_name=f'{i}.jpg', attributes=dict(night=value))
        for i, value in enumerate([False, False, None])
    ]
    content = dict(images=images, annotations=[], categories=[dict(id=1, name='car')])
    (tmp_path / 'gt.json').write_text(json.dumps(content))
    groups = read_labels(tmp_path / 'gt.json').groups(['night', 'weather'])
    assert groups == {'night/False': [0, 1], 'night/undefined': [2]}


def test_images_are_grouped_by_two_attributes_at_once(tmp_path, data):
    labelled = read_labels(save(tmp_path / 'gt.json', data[0]))
    assert labelled.groups(['weather+timeofday', 'dust+mud']) == {
        'weather+timeofday/clear, daytime': [0, 4],
        'weather+timeofday/clear, night': [2],
        'weather+timeofday/rainy, daytime': [1, 5],
        'weather+timeofday/rainy, night': [3],
    }


def test_equal_scores_stand_in_pycocotools_order_however_images_are_listed(tmp_path):
    """By the ids of images: COCO's own files list these in no order."""
    rng = np.random.default_rng(3)
    gts = objects(rng, 30)
    labels = coco(gts, 30)
    dts = results(detections(rng, gts, 30, digits=1))
    labels['images'] = [labels['images'][place] for place in rng.permutation(30)]
    labelled = read_labels(save(tmp_path / 'gt.json', labels))
    found = read_results(save(tmp_path / 'dt.json', dts), labelled)
    values = compare(labelled, dict(one=[found]), labelled.chosen(None), {}, draws=1).rows
    ours = {row.number: row.values[0].value for row in values if row.part == 'all'}
    reference = COCO()
    numbered = [
        dict(gt, id=number, area=gt['bbox'][2] * gt['bbox'][3])
        for number, gt in enumerate(labels['annotations'], 1)
    ]
    reference.dataset = labels | dict(annotations=numbered)
    reference.createIndex()
    judged = COCOeval(reference, reference.loadRes(dts), 'bbox')
    judged.evaluate()
    judged.accumulate()
    judged.summarize()
    assert list(ours.values()) == pytest.approx(judged.stats[:6].tolist(), abs=1e-12)


def test_objects_that_are_labelled_twice_are_told(tmp_path, data):
    labels, _ = data
    assert read_labels(save(tmp_path / 'gt.json', labels)).notes == []
    count = len(labels['annotations'])
    labels['annotations'] *= 2
    (note,) = read_labels(save(tmp_path / 'gt.json', labels)).notes
    assert f'gt.json: {count} of {2 * count} objects stand there twice' in note


def test_sizes_and_attributes_in_other_programs_forms(tmp_path, data):
    """They ended in tracebacks, where they were needed."""
    labels, _ = data
    strange = [dict(width='640', height='360'), dict(width=-1), dict(width='?'), dict(height=[360])]
    for image, change in zip(labels['images'], strange):
        image.update(change)
    labels['images'][4]['attributes'] = ['night']
    labelled = read_labels(save(tmp_path / 'gt.json', labels))
    assert labelled.sizes == [(640, 360), None, None, None, (640, 360), (640, 360)]
    assert labelled.attributes[4] == {} and labelled.attributes[5]['weather'] == 'rainy'
    assert labelled.groups()['weather/rainy'] == [1, 3, 5]
    with pytest.raises(LabelFileError, match='does not give the size of image .001.jpg'):
        labelled.area_scale('1280x720')
