# ruff: noqa: C408
# A config of mmdet 2.x and mmcv 1.x
norm_cfg = dict(type="GN", num_groups=32, requires_grad=True)
model = dict(
    type="RetinaNet",
    backbone=dict(type="ResNet", depth=50, norm_cfg=norm_cfg, norm_eval=False),
    bbox_head=dict(
        type="RetinaHead",
        num_classes=12,
        loss_cls=dict(type="FocalLoss", use_sigmoid=True, loss_weight=1.0),
        loss_bbox=dict(type="L1Loss", loss_weight=0.5),
    ),
    test_cfg=dict(nms_pre=1000, score_thr=0.05),
)

dataset_type = "CocoDataset"
data = dict(
    samples_per_gpu=2,
    workers_per_gpu=2,
    train=dict(type=dataset_type, ann_file="data/train.json", img_prefix="data/train/"),
    val=dict(type=dataset_type, ann_file="data/val.json", img_prefix="data/val/"),
)

# for 8 GPUs
optimizer = dict(type="SGD", lr=0.02, momentum=0.9, weight_decay=0.0001)
optimizer_config = dict(grad_clip=dict(max_norm=35, norm_type=2))
lr_config = dict(
    policy="step", warmup="linear", warmup_iters=500, warmup_ratio=0.001, step=[16, 22]
)
runner = dict(type="EpochBasedRunner", max_epochs=24)
fp16 = dict(loss_scale=512.0)
checkpoint_config = dict(interval=1)
log_config = dict(interval=50, hooks=[dict(type="TextLoggerHook")])
load_from = None
resume_from = None
workflow = [("train", 1)]
