# ruff: noqa: C408
# What our detectors share
default_scope = "mmdet"

model = dict(
    type="FCOS",
    backbone=dict(
        type="ResNet",
        depth=50,
        num_stages=4,
        out_indices=(0, 1, 2, 3),
        norm_cfg=dict(type="SyncBN", requires_grad=True),
        norm_eval=False,
        with_cp=True,
    ),
    bbox_head=dict(
        type="FCOSHead",
        num_classes=7,
        loss_cls=dict(type="FocalLoss", gamma=2.0, alpha=0.25, loss_weight=1.0),
        loss_bbox=dict(type="GIoULoss", loss_weight=2.0),
        loss_centerness=dict(type="CrossEntropyLoss", use_sigmoid=True, loss_weight=0.5),
    ),
)

train_dataloader = dict(
    batch_size=2, num_workers=2, sampler=dict(type="DefaultSampler", shuffle=True)
)
val_dataloader = dict(batch_size=1, num_workers=2)

optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="SGD", lr=0.01, momentum=0.9, weight_decay=0.0001),
    clip_grad=dict(max_norm=35, norm_type=2),
)
param_scheduler = [
    dict(type="MultiStepLR", begin=0, end=12, by_epoch=True, milestones=[8, 11], gamma=0.1)
]
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=12, val_interval=1)
auto_scale_lr = dict(enable=False, base_batch_size=16)
