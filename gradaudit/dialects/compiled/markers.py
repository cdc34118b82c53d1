"""Generated from the dialect files by `python -m gradaudit.dialects.compile`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# fmt: off
MARKERS: dict[str, Any] = {'paths': {'SOLVER': {'IMS_PER_BATCH': {'': (('detectron2', 8, (), 'SOLVER.IMS_PER_BATCH'),)},
                      'BASE_LR': {'': (('detectron2', 2, (), 'SOLVER.BASE_LR'),)},
                      'MAX_ITER': {'': (('detectron2', 3, (), 'SOLVER.MAX_ITER'),)}},
           'MODEL': {'META_ARCHITECTURE': {'': (('detectron2', 6, (), 'MODEL.META_ARCHITECTURE'),)},
                     'ROI_HEADS': {'': (('detectron2', 4, (), 'MODEL.ROI_HEADS'),)},
                     'RPN': {'': (('detectron2', 4, (), 'MODEL.RPN'),)},
                     'RESNETS': {'': (('detectron2', 3, (), 'MODEL.RESNETS'),)},
                     'BACKBONE': {'': (('detectron2', 2, (), 'MODEL.BACKBONE'),)},
                     'WEIGHTS': {'': (('detectron2', 4, (), 'MODEL.WEIGHTS'),)}},
           'DATASETS': {'TRAIN': {'': (('detectron2', 3, (), 'DATASETS.TRAIN'),)}},
           '_BASE_': {'': (('detectron2', 3, (), '_BASE_'),)},
           'INPUT': {'MIN_SIZE_TRAIN': {'': (('detectron2', 4, (), 'INPUT.MIN_SIZE_TRAIN'),)}},
           'VERSION': {'': (('detectron2', 1, (), 'VERSION'),)},
           'per_device_train_batch_size': {'': (('hf-trainer', 8, (),
                                                 'per_device_train_batch_size'),)},
           'num_train_epochs': {'': (('hf-trainer', 3, (), 'num_train_epochs'),)},
           'lr_scheduler_type': {'': (('hf-trainer', 3, (), 'lr_scheduler_type'),)},
           'gradient_accumulation_steps': {'': (('hf-trainer', 2, (),
                                                 'gradient_accumulation_steps'),)},
           'learning_rate': {'': (('hf-trainer', 1, (), 'learning_rate'),)},
           'per_device_eval_batch_size': {'': (('hf-trainer', 2, (),
                                                'per_device_eval_batch_size'),)},
           'model_name_or_path': {'': (('hf-trainer', 2, (), 'model_name_or_path'),)},
           'output_dir': {'': (('hf-trainer', 1, (), 'output_dir'),)},
           'save_strategy': {'': (('hf-trainer', 2, (), 'save_strategy'),)},
           'eval_strategy': {'': (('hf-trainer', 2, (), 'eval_strategy'),)},
           'evaluation_strategy': {'': (('hf-trainer', 2, (), 'evaluation_strategy'),)},
           'logging_steps': {'': (('hf-trainer', 1, (), 'logging_steps'),)},
           'warmup_ratio': {'': (('hf-trainer', 1, (), 'warmup_ratio'),)},
           'gradient_checkpointing': {'': (('hf-trainer', 1, (), 'gradient_checkpointing'),)},
           'bf16': {'': (('hf-trainer', 1, (), 'bf16'),)},
           'report_to': {'': (('hf-trainer', 1, (), 'report_to'),)}},
 'deep': {},
 'tags': (),
 'comments': (),
 'files': ()}
BASE_KEYS: dict[str, tuple[str, ...]] = {'_BASE_': ('detectron2',)}
TITLES: dict[str, str] = {'detectron2': 'detectron2',
 'hf-trainer': 'Hugging Face TrainingArguments',
 'generic': 'any training config'}
NAMES = tuple(TITLES)
