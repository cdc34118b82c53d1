"""Generated from the dialect files by `python -m gradaudit.dialects.compile`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# fmt: off
TABLE: dict[str, Any] = {'name': 'lightning-cli',
 'title': 'LightningCLI',
 'loader': 'omegaconf',
 'loader_source': 'jsonargparse/_loaders_dumpers.py (float resolver)',
 'interpolation': '',
 'compose': {},
 'trie': {'trainer': {'devices': {'': 'trainer.devices'},
                      'num_nodes': {'': 'trainer.num_nodes'},
                      '': 'trainer',
                      'gradient_clip_val': {'': 'trainer.gradient_clip_val'},
                      'precision': {'': 'trainer.precision'}}},
 'units': (),
 'paths': ({'name': 'world_size',
            'kind': 'number',
            'from': ({'path': 'trainer.devices',
                      'when': (('trainer.num_nodes', ('absent', '1')),)},),
            'compute': ({'of': ('_devices', '_nodes'),
                         'unless': (('trainer.num_nodes', ('absent', '1')),)},)},
           {'name': '_devices', 'kind': 'number', 'from': ({'path': 'trainer.devices'},)},
           {'name': '_nodes', 'kind': 'number', 'from': ({'path': 'trainer.num_nodes'},)},
           {'name': 'accumulation',
            'kind': 'number',
            'from': (),
            'absent': ({'value': 1,
                        'when': (('trainer', ('present',)),),
                        'source': 'lightning/pytorch/trainer/trainer.py:119'},)},
           {'name': 'clip_norm',
            'kind': 'number',
            'from': (),
            'absent': ({'value': None,
                        'when': (('trainer', ('present',)),
                                 ('trainer.gradient_clip_val', ('absent',))),
                        'source': 'lightning/pytorch/trainer/trainer.py:120'},)},
           {'name': 'precision',
            'kind': 'precision',
            'from': ({'path': 'trainer.precision', 'values': {'null': 'fp32'}},),
            'absent': ({'value': 'fp32',
                        'when': (('trainer', ('present',)),),
                        'source': 'lightning/pytorch/trainer/trainer.py:98'},)}),
 'terms': (),
 'terms_apart': False,
 'vocabulary': True,
 'words': {'keys': {'seed': ('seed_everything',)}, 'never': ('fast_dev_run',)}}
