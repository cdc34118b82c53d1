"""Lightning, automatic or manual optimisation: second argument. A checkpoint at the end and on errors."""

import sys
import tempfile

import lightning
import torch
from kept import DEVICE, keep
from lightning.pytorch.callbacks import ModelCheckpoint

manual = sys.argv[2] == "manual"
folder = sys.argv[3] if len(sys.argv) > 3 else tempfile.mkdtemp()


class Model(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(16, 32),
            torch.nn.BatchNorm1d(32),
            torch.nn.ReLU(),
            torch.nn.Linear(32, 2),
        )
        self.automatic_optimization = not manual

    def training_step(self, batch, index):
        loss = torch.nn.functional.cross_entropy(self.layers(batch[0]), batch[1])
        if manual:
            optimizer = self.optimizers()
            optimizer.zero_grad()
            self.manual_backward(loss)
            self.clip_gradients(optimizer, 0.3, "norm")
            optimizer.step()
        return loss

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


lightning.seed_everything(0)
data = torch.utils.data.TensorDataset(torch.randn(160, 16), torch.randint(0, 2, (160,)))
automatic = {} if manual else {"gradient_clip_val": 0.3, "accumulate_grad_batches": 2}
trainer = lightning.Trainer(
    max_epochs=1, accelerator={"cuda": "gpu"}.get(DEVICE, DEVICE), devices=1, logger=False, enable_progress_bar=False,
    enable_model_summary=False,
    callbacks=[ModelCheckpoint(folder, save_last=True, save_on_exception=True)], **automatic,
)  # fmt: skip
model = Model()
trainer.fit(model, torch.utils.data.DataLoader(data, batch_size=8))
keep(model)
