# two_looks_frcnn_bdd100k_fine trained on among snow, rain, fog, bad light and cameras, from what
# ships; what it is worth: docs/benchmarks/bdd100k_trials.md. Weights to start from:
#     python tools/model_converters/shipped_to_checkpoint.py two_looks two_looks.pth
#     python tools/train.py configs/two_looks_frcnn_bdd100k_fine_weather.py \
#         --cfg-options load_from=two_looks.pth
_base_ = './two_looks_frcnn_bdd100k_fine.py'
max_epochs = 4
train_pipeline = _base_.train_pipeline
train_pipeline[2:2] = [
    dict(type='RandomWeather', prob=0.15),
    dict(type='RandomLight', prob=0.15),
    dict(type='RandomCamera', prob=0.15),
    dict(type='RandomBlackBars', prob=0.08),
]
train_dataloader = dict(batch_size=8, dataset=dict(dataset=dict(pipeline=train_pipeline)))
optim_wrapper = dict(optimizer=dict(lr=1.5e-4))
train_cfg = dict(max_epochs=max_epochs)
param_scheduler = _base_.param_scheduler
param_scheduler[1].update(T_max=max_epochs)
