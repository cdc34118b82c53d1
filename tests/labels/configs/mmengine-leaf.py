# ruff: noqa: C408
_base_ = ["./mmengine-base.py"]

max_epochs = 36
lr = 2e-4

optim_wrapper = dict(
    _delete_=True,
    type="AmpOptimWrapper",
    dtype="bfloat16",
    accumulative_counts=4,
    optimizer=dict(type="AdamW", lr=lr, betas=(0.9, 0.98), weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0, custom_keys=dict(backbone=dict(lr_mult=0.1))),
)

param_scheduler = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=1000),
    dict(
        type="CosineAnnealingLR",
        T_max=max_epochs - 2,
        begin=2,
        end=max_epochs,
        eta_min=1e-6,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(max_epochs=max_epochs, val_interval=3)
train_dataloader = dict(batch_size=4, num_workers=4)

custom_hooks = [
    dict(type="EMAHook", ema_type="ExponentialMovingAverage", momentum=0.0002),
    dict(type="EarlyStoppingHook", monitor="coco/bbox_mAP", patience=5),
]
randomness = dict(seed=11)
