"""Hugging Face Trainer on a tiny GPT-2, accumulation of two."""

import sys
import tempfile

import torch
from kept import DEVICE, keep
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

torch.manual_seed(0)
config = GPT2Config(
    vocab_size=64, n_positions=32, n_embd=32, n_layer=2, n_head=2,
    attn_implementation="eager",  # the fused ones have no deterministic backward on a GPU
)  # fmt: skip
model = GPT2LMHeadModel(config)


class Words(torch.utils.data.Dataset):
    def __len__(self):
        return 400

    def __getitem__(self, index):
        words = torch.randint(0, 64, (16,), generator=torch.Generator().manual_seed(index))
        return {"input_ids": words, "labels": words}


folder = sys.argv[2] if len(sys.argv) > 2 else tempfile.mkdtemp()
arguments = TrainingArguments(
    folder, per_device_train_batch_size=4, gradient_accumulation_steps=2, max_steps=12,
    learning_rate=5e-4, max_grad_norm=0.5, logging_steps=1, save_strategy="no", report_to="none",
    use_cpu=DEVICE == "cpu", disable_tqdm=True,
)  # fmt: skip
trainer = Trainer(model, arguments, train_dataset=Words())
trainer.train()
trainer.save_model(folder)
logged = [row["grad_norm"] for row in trainer.state.log_history if "grad_norm" in row]
keep(model, before=logged)
