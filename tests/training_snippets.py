"""Training loops as people write them: those with a fault, and those that must stay silent.

Each has a name, the facts that it must show (`loss`, `clip`, `late`, `schedule`), and its text.
"""

from __future__ import annotations

from textwrap import dedent

HEADER = """\
import torch
import torch.nn.functional as F
from torch import nn
"""

_SNIPPETS = """\
### plain loop without accumulation:
def train(model, loader, optimizer):
    for x, y in loader:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()

### divided in place:
def train(model, loader, optimizer, accum):
    for i, (x, y) in enumerate(loader):
        loss = F.cross_entropy(model(x), y)
        loss = loss / accum
        loss.backward()
        if (i + 1) % accum == 0:
            optimizer.step()
            optimizer.zero_grad()

### divided by an augmented assignment:
def train(model, loader, optimizer, accum):
    for i, (x, y) in enumerate(loader):
        loss = F.cross_entropy(model(x), y)
        loss /= accum
        loss.backward()
        if (i + 1) % accum == 0:
            optimizer.step()
            optimizer.zero_grad()

### divided inside the scale:
def train(model, loader, optimizer, scaler, accum):
    for i, (x, y) in enumerate(loader):
        loss = F.cross_entropy(model(x), y)
        scaler.scale(loss / accum).backward()
        if (i + 1) % accum == 0:
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()

### multiplied by the inverse:
def train(model, loader, optimizer, every):
    weight = 1 / every
    for i, (x, y) in enumerate(loader):
        loss = weight * F.cross_entropy(model(x), y)
        loss.backward()
        if (i + 1) % every == 0:
            optimizer.step()
            optimizer.zero_grad()

### divided only where it accumulates:
def train(model, loader, optimizer, args):
    for i, (x, y) in enumerate(loader):
        loss = F.cross_entropy(model(x), y)
        if args.steps > 1:
            loss = loss / args.steps
        loss.backward()
        if (i + 1) % args.steps == 0:
            optimizer.step()
            optimizer.zero_grad()

### divided by a helper that is given the loss:
def train(model, loader, optimizer, k):
    for i, (x, y) in enumerate(loader):
        loss = scale_for_step(F.cross_entropy(model(x), y))
        loss.backward()
        if (i + 1) % k == 0:
            optimizer.step()
            optimizer.zero_grad()

### a helper given the loss afterwards:
def train(model, loader, optimizer, k):
    for i, (x, y) in enumerate(loader):
        loss = F.cross_entropy(model(x), y)
        loss = normalise(loss)
        loss.backward()
        if (i + 1) % k == 0:
            optimizer.step()
            optimizer.zero_grad()

### the criterion is told the count:
def train(model, loader, optimizer, criterion, accumulation):
    for i, (x, y) in enumerate(loader):
        loss = criterion(model(x), y, accumulation)
        loss.backward()
        if (i + 1) % accumulation == 0:
            optimizer.step()
            optimizer.zero_grad()

### summed over samples:
def train(model, loader, optimizer, k):
    criterion = nn.CrossEntropyLoss(reduction="sum")
    for i, (x, y) in enumerate(loader):
        loss = criterion(model(x), y)
        loss.backward()
        if (i + 1) % k == 0:
            optimizer.step()
            optimizer.zero_grad()

### gradients divided by hand:
def train(model, loader, optimizer, k):
    for i, (x, y) in enumerate(loader):
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        if (i + 1) % k == 0:
            for p in model.parameters():
                p.grad /= k
            optimizer.step()
            optimizer.zero_grad()

### gradients divided by a method:
def train(model, loader, optimizer, k):
    for i, (x, y) in enumerate(loader):
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        if (i + 1) % k == 0:
            for p in model.parameters():
                p.grad.data.div_(k)
            optimizer.step()
            optimizer.zero_grad()

### the rate is divided instead:
def train(model, loader, args):
    optimizer = torch.optim.SGD(model.parameters(), lr=args.lr / args.k)
    for i, (x, y) in enumerate(loader):
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        if (i + 1) % args.k == 0:
            optimizer.step()
            optimizer.zero_grad()

### accumulate context of Accelerate:
from accelerate import Accelerator
def train(model, loader, optimizer):
    accelerator = Accelerator(gradient_accumulation_steps=4)
    for i, (x, y) in enumerate(loader):
        with accelerator.accumulate(model):
            loss = F.cross_entropy(model(x), y)
            accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad()

### Accelerate by hand:
def train(accelerator, model, loader, optimizer, k):
    for i, (x, y) in enumerate(loader):
        loss = F.cross_entropy(model(x), y)
        accelerator.backward(loss)
        if (i + 1) % k == 0:
            optimizer.step()
            optimizer.zero_grad()

### Fabric:
def train(fabric, model, loader, optimizer):
    for i, (x, y) in enumerate(loader):
        is_accumulating = i % 8 != 0
        with fabric.no_backward_sync(model, enabled=is_accumulating):
            loss = F.cross_entropy(model(x), y)
            fabric.backward(loss)
        if not is_accumulating:
            fabric.clip_gradients(model, optimizer, max_norm=1.0)
            optimizer.step()
            optimizer.zero_grad()

### Hugging Face trainer:
from transformers import Trainer, TrainingArguments
def train(model, data):
    args = TrainingArguments("out", gradient_accumulation_steps=8, max_grad_norm=1.0, fp16=True)
    Trainer(model=model, args=args, train_dataset=data).train()

### Lightning module:
import lightning as L
class Module(L.LightningModule):
    def training_step(self, batch, index):
        x, y = batch
        return F.cross_entropy(self.model(x), y)

### Lightning with manual optimisation, divided:
import lightning as L
class Module(L.LightningModule):
    def training_step(self, batch, index):
        opt = self.optimizers()
        loss = self.loss(batch) / self.k
        self.manual_backward(loss)
        if (index + 1) % self.k == 0:
            opt.step()
            opt.zero_grad()

### DeepSpeed engine:
def train(engine, loader):
    for step, batch in enumerate(loader):
        loss = engine(batch).loss
        engine.backward(loss)
        engine.step()

### closure of LBFGS:
def train(model, loader, optimizer):
    for i, (x, y) in enumerate(loader):
        def closure():
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), y)
            loss.backward()
            return loss
        if i % 2 == 0:
            optimizer.step(closure)

### GAN with a slower generator:
def train(gen, disc, loader, opt_g, opt_d, n_critic):
    for i, real in enumerate(loader):
        opt_d.zero_grad()
        d_loss = F.relu(1 - disc(real)).mean() + F.relu(1 + disc(gen(noise()).detach())).mean()
        d_loss.backward()
        opt_d.step()
        if i % n_critic == 0:
            opt_g.zero_grad()
            g_loss = -disc(gen(noise())).mean()
            g_loss.backward()
            opt_g.step()

### GAN with one backward and two optimisers:
def train(gen, disc, loader, opt_g, opt_d, n):
    for i, (x, y) in enumerate(loader):
        loss = F.mse_loss(disc(gen(x)), y)
        loss.backward()
        opt_d.step()
        opt_d.zero_grad()
        if i % n == 0:
            opt_g.step()
            opt_g.zero_grad()

### scheduler every k steps:
def train(model, loader, optimizer, scheduler):
    for i, (x, y) in enumerate(loader):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        if i % 100 == 0:
            scheduler.step()

### environment that steps:
def train(policy, env, optimizer, k):
    for t in range(1000):
        loss = -policy(env.observation).log_prob(env.action)
        loss.backward()
        env.step(env.action)
        if t % k == 0:
            optimizer.step()
            optimizer.zero_grad()

### emptied at every step:
def train(model, loader, optimizer, k):
    for i, (x, y) in enumerate(loader):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        if i % k == 0:
            optimizer.step()

### divided in place by a method:
def train(model, loader, optimizer, k):
    for i, (x, y) in enumerate(loader):
        loss = F.cross_entropy(model(x), y)
        loss.div_(k)
        loss.backward()
        if (i + 1) % k == 0:
            optimizer.step()
            optimizer.zero_grad()

### divided by a hook:
def train(model, loader, optimizer, k):
    for p in model.parameters():
        p.register_hook(lambda gradient: gradient / k)
    for i, (x, y) in enumerate(loader):
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        if (i + 1) % k == 0:
            optimizer.step()
            optimizer.zero_grad()

### steps of one sequence:
def train(model, sequence, optimizer, length):
    state = None
    for t, (x, y) in enumerate(sequence):
        state = model(x, state)
        loss = F.mse_loss(state, y)
        loss.backward(retain_graph=True)
        if (t + 1) % length == 0:
            optimizer.step()
            optimizer.zero_grad()

### count of one:
ACCUM = 1
def train(model, loader, optimizer):
    for i, (x, y) in enumerate(loader):
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        if (i + 1) % ACCUM == 0:
            optimizer.step()
            optimizer.zero_grad()

### tasks, not micro-batches:
def train(model, tasks, optimizer, n_tasks):
    for epoch in range(10):
        optimizer.zero_grad()
        for t in range(n_tasks):
            loss = F.mse_loss(model(tasks[t].x), tasks[t].y)
            loss.backward()
        optimizer.step()

### tokens of all micro-batches:
def train(model, loader, optimizer, k):
    for i, batch in enumerate(loader):
        loss = model(**batch, num_items_in_batch=batch.total).loss
        loss.backward()
        if (i + 1) % k == 0:
            optimizer.step()
            optimizer.zero_grad()

### unknown objective:
def train(model, loader, optimizer, k):
    for i, batch in enumerate(loader):
        loss = compute_loss(model, batch)
        loss.backward()
        if (i + 1) % k == 0:
            optimizer.step()
            optimizer.zero_grad()

### a local variable called F:
def train(model, loader, optimizer, k):
    from mine import functional as F
    for i, (x, y) in enumerate(loader):
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        if (i + 1) % k == 0:
            optimizer.step()
            optimizer.zero_grad()

### text of another loop:
NOTE = '''
for i in range(9):
    loss.backward()
    if i % 4 == 0: optimizer.step(); optimizer.zero_grad()
'''

### unscaled before the clip:
def train(model, loader, optimizer):
    scaler = torch.cuda.amp.GradScaler()
    for x, y in loader:
        optimizer.zero_grad()
        scaler.scale(F.cross_entropy(model(x), y)).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()

### unscaled under the same condition:
def train(model, loader, optimizer, scaler, clip):
    for x, y in loader:
        optimizer.zero_grad()
        scaler.scale(F.cross_entropy(model(x), y)).backward()
        if clip > 0:
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        scaler.step(optimizer)
        scaler.update()

### clip of the other branch:
def train(model, loader, optimizer, scaler, amp):
    for x, y in loader:
        loss = F.cross_entropy(model(x), y)
        if amp:
            scaler.scale(loss).backward()
        else:
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        if amp:
            scaler.step(optimizer)
            scaler.update()
        else:
            optimizer.step()

### clip where there is no scaler:
def train(model, loader, optimizer, scaler):
    for x, y in loader:
        scaler.scale(F.cross_entropy(model(x), y)).backward()
        if scaler is None:
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()

### scaler turned off:
def train(model, loader, optimizer):
    scaler = torch.amp.GradScaler("cuda", enabled=False)
    for x, y in loader:
        scaler.scale(F.cross_entropy(model(x), y)).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()

### scaler of another kind:
from mine import Passthrough
def train(model, loader, optimizer):
    scaler = Passthrough()
    for x, y in loader:
        scaler.scale(F.cross_entropy(model(x), y)).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()

### helper that is given the scaler:
def train(model, loader, optimizer, scaler):
    for x, y in loader:
        scaler.scale(F.cross_entropy(model(x), y)).backward()
        prepare_gradients(scaler, optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()

### threshold times the scale:
def train(model, loader, optimizer, scaler):
    for x, y in loader:
        scaler.scale(F.cross_entropy(model(x), y)).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0 * scaler.get_scale())
        scaler.step(optimizer)
        scaler.update()

### threshold times a scale that was asked for before:
def train(model, loader, optimizer, scaler):
    for x, y in loader:
        scale = scaler.get_scale()
        scaler.scale(F.cross_entropy(model(x), y)).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0 * scale)
        scaler.step(optimizer)
        scaler.update()

### two losses, one step:
def train(model, loader, optimizer, k):
    for i, (x, y) in enumerate(loader):
        a = F.cross_entropy(model.a(x), y)
        b = F.cross_entropy(model.b(x), y)
        a.backward()
        b.backward()
        if (i + 1) % k == 0:
            optimizer.step()
            optimizer.zero_grad()

### the norm alone is wanted:
import math
def train(model, loader, optimizer, scaler):
    for x, y in loader:
        scaler.scale(F.cross_entropy(model(x), y)).backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), math.inf)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        norm = nn.utils.clip_grad_norm_(model.parameters(), max_norm=float("inf"))

### two scalers, each unscaled:
def train(gen, disc, loader, opt_g, opt_d, scaler_g, scaler_d):
    for x, y in loader:
        scaler_d.scale(F.mse_loss(disc(x), y)).backward()
        scaler_d.unscale_(opt_d)
        nn.utils.clip_grad_norm_(disc.parameters(), 1.0)
        scaler_d.step(opt_d)
        scaler_g.scale(F.mse_loss(disc(gen(x)), y)).backward()
        scaler_g.unscale_(opt_g)
        nn.utils.clip_grad_norm_(gen.parameters(), 1.0)
        scaler_g.step(opt_g)

### one scaler, losses first:
def train(gen, disc, loader, opt_g, opt_d, scaler):
    for x, y in loader:
        scaler.scale(F.mse_loss(disc(x), y)).backward()
        scaler.scale(F.mse_loss(gen(x), y)).backward()
        scaler.unscale_(opt_d)
        scaler.unscale_(opt_g)
        nn.utils.clip_grad_norm_(disc.parameters(), 1.0)
        nn.utils.clip_grad_norm_(gen.parameters(), 1.0)
        scaler.step(opt_d)
        scaler.step(opt_g)

### native scaler of timm:
class NativeScaler:
    def __init__(self):
        self._scaler = torch.amp.GradScaler("cuda")
    def __call__(self, loss, optimizer, clip_grad=None, parameters=None, need_update=True):
        self._scaler.scale(loss).backward()
        if need_update:
            if clip_grad is not None:
                self._scaler.unscale_(optimizer)
                torch.nn.utils.clip_grad_norm_(parameters, clip_grad)
            self._scaler.step(optimizer)
            self._scaler.update()

### clip of Accelerate, which unscales:
def train(accelerator, model, loader, optimizer):
    for x, y in loader:
        accelerator.backward(F.cross_entropy(model(x), y))
        accelerator.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

### length of the loader before it is split:
from accelerate import Accelerator
from transformers import get_scheduler
def train(model, optimizer, loader, epochs):
    accelerator = Accelerator()
    schedule = get_scheduler("linear", optimizer, 100, epochs * len(loader))
    model, optimizer, loader, schedule = accelerator.prepare(model, optimizer, loader, schedule)
    for batch in loader:
        accelerator.backward(model(**batch).loss)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()

### the official script, length unless told:
from accelerate import Accelerator
from transformers import get_scheduler
def main(args, model, optimizer, loader):
    accelerator = Accelerator()
    if args.max_train_steps is None:
        args.max_train_steps = args.epochs * len(loader)
    schedule = get_scheduler(
        name="linear", optimizer=optimizer, num_training_steps=args.max_train_steps
    )
    model, optimizer, loader, schedule = accelerator.prepare(model, optimizer, loader, schedule)
    completed_steps = 0
    for batch in loader:
        accelerator.backward(model(**batch).loss)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        completed_steps += 1
        if completed_steps >= args.max_train_steps:
            break

### multiplied by the processes:
from accelerate import Accelerator
from diffusers.optimization import get_scheduler
def main(args, model, optimizer, loader):
    accelerator = Accelerator()
    schedule = get_scheduler(
        args.lr_scheduler,
        optimizer=optimizer,
        num_warmup_steps=args.lr_warmup_steps * accelerator.num_processes,
        num_training_steps=args.max_train_steps * accelerator.num_processes,
    )
    model, optimizer, loader, schedule = accelerator.prepare(model, optimizer, loader, schedule)
    global_step = 0
    for batch in loader:
        schedule.step()
        global_step += 1
        if global_step >= args.max_train_steps:
            break

### stepped by hand:
from accelerate import Accelerator
from transformers import get_scheduler
def main(args, model, optimizer, loader):
    accelerator = Accelerator(step_scheduler_with_optimizer=False)
    schedule = get_scheduler("linear", optimizer, 10, args.max_steps)
    model, optimizer, loader, schedule = accelerator.prepare(model, optimizer, loader, schedule)
    step = 0
    for batch in loader:
        schedule.step()
        step += 1
        if step >= args.max_steps:
            break

### batches are split:
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration
from transformers import get_scheduler
def main(args, model, optimizer, loader):
    accelerator = Accelerator(dataloader_config=DataLoaderConfiguration(split_batches=True))
    schedule = get_scheduler("linear", optimizer, 10, args.max_steps)
    model, optimizer, loader, schedule = accelerator.prepare(model, optimizer, loader, schedule)
    step = 0
    for batch in loader:
        schedule.step()
        step += 1
        if step >= args.max_steps:
            break

### not prepared:
from accelerate import Accelerator
from transformers import get_scheduler
def main(args, model, optimizer, loader):
    accelerator = Accelerator()
    schedule = get_scheduler("linear", optimizer, 10, args.max_steps)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    step = 0
    for batch in loader:
        schedule.step()
        step += 1
        if step >= args.max_steps:
            break

### scheduler of the caller:
from accelerate import Accelerator
def main(args, model, optimizer, loader, schedule):
    accelerator = Accelerator()
    model, optimizer, loader, schedule = accelerator.prepare(model, optimizer, loader, schedule)
    step = 0
    for batch in loader:
        schedule.step()
        step += 1
        if step >= args.max_steps:
            break

### stepped once an epoch, no loop of steps:
from accelerate import Accelerator
def main(args, model, optimizer, loader):
    accelerator = Accelerator()
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, args.epochs)
    model, optimizer, loader, schedule = accelerator.prepare(model, optimizer, loader, schedule)
    for epoch in range(args.epochs):
        schedule.step()

### classic fault: loss
def train(model, loader, optimizer, accum_steps):
    criterion = nn.CrossEntropyLoss().cuda()
    for i, (x, y) in enumerate(loader):
        loss = criterion(model(x), y)
        loss.backward()
        if (i + 1) % accum_steps == 0 or (i + 1) == len(loader):
            optimizer.step()
            optimizer.zero_grad()

### fault with a literal count: loss
def train(model, loader, optimizer):
    optimizer.zero_grad()
    for i, (x, y) in enumerate(loader):
        loss = F.mse_loss(model(x), y) + 0.1 * penalty(model)
        loss.backward()
        if not (i + 1) % 8:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

### fault in a class: loss
class Runner:
    def __init__(self, model, cfg):
        self.criterion = nn.BCEWithLogitsLoss()
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=cfg.lr)
    def run(self, loader):
        for i, (x, y) in enumerate(loader):
            logits = self.model(x)
            loss = self.criterion(logits, y)
            loss.backward()
            if (i + 1) % self.cfg.accum == 0:
                self.optimizer.step()
                self.optimizer.zero_grad()

### fault with a named condition: loss
def train(model, loader, optimizer, k):
    for i, batch in enumerate(loader):
        update = (i + 1) % k == 0
        outputs = model(**batch)
        loss = outputs.loss
        loss.backward()
        if update:
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()

### fault with a scaler: loss
def train(model, loader, optimizer, scaler, k):
    for i, (x, y) in enumerate(loader):
        with torch.autocast("cuda"):
            loss = F.cross_entropy(model(x), y)
        scaler.scale(loss).backward()
        if (i + 1) % k == 0:
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()

### fault in both branches of mixed precision: loss
def train(model, loader, optimizer, scaler, amp, k):
    for i, (x, y) in enumerate(loader):
        loss = F.cross_entropy(model(x), y)
        if amp:
            scaler.scale(loss).backward()
        else:
            loss.backward()
        if (i + 1) % k == 0:
            if amp:
                scaler.step(optimizer)
                scaler.update()
            else:
                optimizer.step()
            optimizer.zero_grad()

### fault in an inner loop: loss
def train(model, batches, optimizer, args):
    for step in range(args.max_steps):
        optimizer.zero_grad()
        for _ in range(args.gradient_accumulation_steps):
            x, y = next(batches)
            logits = model(x)
            loss = F.cross_entropy(logits, y)
            loss.backward()
        optimizer.step()

### averaged over devices, not divided: loss
def train(model, loader, optimizer, k):
    for i, (x, y) in enumerate(loader):
        loss = F.cross_entropy(model(x), y)
        loss = loss.mean()
        loss.backward()
        if (i + 1) % k == 0:
            optimizer.step()
            model.zero_grad()

### clip of a published U-Net: clip
def train_model(model, loader, amp):
    optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-5)
    grad_scaler = torch.cuda.amp.GradScaler(enabled=amp)
    criterion = nn.CrossEntropyLoss() if model.n_classes > 1 else nn.BCEWithLogitsLoss()
    for epoch in range(1, 6):
        for batch in loader:
            with torch.autocast("cuda", enabled=amp):
                loss = criterion(model(batch["image"]), batch["mask"])
            optimizer.zero_grad(set_to_none=True)
            grad_scaler.scale(loss).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            grad_scaler.step(optimizer)
            grad_scaler.update()

### clip of an official example: clip
class Trainer:
    def _run_batch(self, source, targets):
        with torch.amp.autocast("cuda", enabled=self.config.use_amp):
            _, loss = self.model(source, targets)
        self.optimizer.zero_grad(set_to_none=True)
        if self.config.use_amp:
            self.scaler.scale(loss).backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.grad_norm_clip)
            self.scaler.step(self.optimizer)
            self.scaler.update()
        else:
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.grad_norm_clip)
            self.optimizer.step()

### unscaled too late: clip
def train(model, loader, optimizer):
    scaler = torch.cuda.amp.GradScaler()
    for x, y in loader:
        scaler.scale(F.cross_entropy(model(x), y)).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()

### one of two is unscaled: clip
def train(gen, disc, loader, opt_g, opt_d, scaler):
    from torch.nn.utils import clip_grad_value_
    for x, y in loader:
        scaler.scale(F.mse_loss(disc(x), y)).backward()
        scaler.unscale_(opt_d)
        clip_grad_value_(disc.parameters(), 1.0)
        scaler.step(opt_d)
        scaler.scale(F.mse_loss(disc(gen(x)), y)).backward()
        clip_grad_value_(gen.parameters(), 1.0)
        scaler.step(opt_g)

### the scale is only watched: clip
def train(model, loader, optimizer, scaler):
    for x, y in loader:
        before = scaler.get_scale()
        scaler.scale(F.cross_entropy(model(x), y)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        skipped = scaler.get_scale() != before

### under three conditions alike: clip
def train(model, loader, optimizer, scaler, use_amp):
    for x, y in loader:
        loss = F.cross_entropy(model(x), y)
        if use_amp:
            scaler.scale(loss).backward()
        else:
            loss.backward()
        if use_amp:
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        if use_amp:
            scaler.step(optimizer)

### clip and step in the next branch:
def train(model, loader, optimizer, k):
    for i, (x, y) in enumerate(loader):
        loss = F.cross_entropy(model(x), y) / k
        loss.backward()
        if (i + 1) % k == 0:
            optimizer.step()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.zero_grad()

### clip before the second of two losses:
def train(model, loader, opt_a, opt_b):
    for x, y in loader:
        opt_a.zero_grad()
        F.mse_loss(model.a(x), y).backward()
        opt_a.step()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        F.mse_loss(model.b(x), y).backward()
        opt_b.step()

### norm that is only logged after the step:
def train(model, loader, optimizer):
    for x, y in loader:
        optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), float("inf"))

### clip in a validation loop's place:
def train(model, loader, optimizer):
    for x, y in loader:
        F.mse_loss(model(x), y).backward()
        optimizer.step()
        optimizer.zero_grad()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)

### clip after the step: late
def train(model, loader, optimizer, scheduler, args):
    model.train()
    for x, y in loader:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        torch.nn.utils.clip_grad_norm_(model.parameters(), args.clip)
        scheduler.step()

### clip after the scaler's step: late
def train_step(model, batch, optimizer, scaler):
    scaler.scale(model(batch).loss).backward()
    scaler.step(optimizer)
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    scaler.update()
    optimizer.zero_grad()

### steps of one process: schedule
from accelerate import Accelerator
from transformers import get_cosine_schedule_with_warmup
def main(args, model, optimizer, loader):
    accelerator = Accelerator(mixed_precision="bf16")
    lr_scheduler = get_cosine_schedule_with_warmup(optimizer, args.warmup_steps, args.max_steps)
    model, optimizer, loader, lr_scheduler = accelerator.prepare(
        model, optimizer, loader, lr_scheduler
    )
    global_step = 0
    while global_step < args.max_steps:
        for batch in loader:
            lr_scheduler.step()
            global_step += 1

### length of a loader that is split already: schedule
from accelerate import Accelerator
def main(cfg, model, optimizer, loader):
    accelerator = Accelerator()
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    total = cfg.epochs * len(loader)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-3, total_steps=total)
    schedule = accelerator.prepare(schedule)
    for epoch in range(cfg.epochs):
        for batch in loader:
            schedule.step()

### clip after an inner loop of micro-batches: clip
scaler = torch.cuda.amp.GradScaler(enabled=(dtype == 'float16'))
while True:
    for micro_step in range(gradient_accumulation_steps):
        logits, loss = model(X, Y)
        loss = loss / gradient_accumulation_steps
        scaler.scale(loss).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), grad_clip)
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad(set_to_none=True)

### scaler turned off by a name:
use_amp = False
scaler = torch.cuda.amp.GradScaler(enabled=use_amp)
for x, y in loader:
    optimizer.zero_grad()
    loss = F.cross_entropy(model(x), y)
    scaler.scale(loss).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), grad_clip)
    scaler.step(optimizer)
    scaler.update()

### scaler turned off by position:
def main(args):
    scaler = torch.amp.GradScaler("cuda", 65536.0, 2.0, 0.5, 2000, False)
    for x, y in loader:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        scaler.scale(loss).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), grad_clip)
        scaler.step(optimizer)
        scaler.update()

### criterion of the file divides:
accumulation = 4
def criterion(o, y):
    return F.cross_entropy(o, y) / accumulation
for i, (x, y) in enumerate(loader):
    loss = criterion(model(x), y)
    loss.backward()
    if (i + 1) % accumulation == 0:
        optimizer.step()
        optimizer.zero_grad()

### criterion is a lambda that divides:
def train(k):
    loss_fn = lambda o, y: F.cross_entropy(o, y) / k
    for i, (x, y) in enumerate(loader):
        loss = loss_fn(model(x), y)
        loss.backward()
        if (i + 1) % k == 0:
            optimizer.step()
            optimizer.zero_grad()

### criterion of the file sums:
class Loss(nn.Module):
    def forward(self, o, y):
        return F.cross_entropy(o, y, reduction="sum") / 1024
criterion = Loss()
for i, (x, y) in enumerate(loader):
    loss = criterion(model(x), y)
    loss.backward()
    if (i + 1) % 4 == 0:
        optimizer.step()
        optimizer.zero_grad()

### criterion is a partial:
from functools import partial
criterion = partial(F.cross_entropy, reduction="sum")
for i, (x, y) in enumerate(loader):
    loss = criterion(model(x), y)
    loss.backward()
    if (i + 1) % 4 == 0:
        optimizer.step()
        optimizer.zero_grad()

### criterion is a method that divides:
class T:
    def loss_fn(self, o, y):
        return F.cross_entropy(o, y) / self.k
    def train(self):
        for i, (x, y) in enumerate(self.loader):
            loss = self.loss_fn(self.model(x), y)
            loss.backward()
            if (i + 1) % self.k == 0:
                self.optimizer.step()
                self.optimizer.zero_grad()

### model of the file divides:
class Model(nn.Module):
    def forward(self, x, y):
        return {"loss": F.cross_entropy(self.h(x), y) / self.k}
model = Model()
for i, (x, y) in enumerate(loader):
    loss = model(x, y)["loss"]
    loss.backward()
    if (i + 1) % k == 0:
        optimizer.step()
        optimizer.zero_grad()

### gradients emptied now and then:
for i, (x, y) in enumerate(loader):
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    if i % 10 == 0:
        optimizer.zero_grad()

### another optimiser's gradients are emptied:
for i, (x, y) in enumerate(loader):
    disc_optimizer.zero_grad()
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    torch.nn.utils.clip_grad_norm_(disc.parameters(), 1.0)
    train_disc(disc, disc_optimizer)

### counter of steps of all processes:
from accelerate import Accelerator
from transformers import get_scheduler

def main(args):
    accelerator = Accelerator()
    sched = get_scheduler(
        "cosine", optimizer, num_warmup_steps=100, num_training_steps=args.max_steps
    )
    model, optimizer, loader, sched = accelerator.prepare(model, optimizer, loader, sched)
    global_step = 0
    for batch in loader:
        loss = model(**batch).loss
        accelerator.backward(loss)
        optimizer.step()
        sched.step()
        optimizer.zero_grad()
        global_step += accelerator.num_processes
        if global_step >= args.max_steps:
            break

### schedule stepped every so many processes:
from accelerate import Accelerator
from transformers import get_scheduler

def main(args):
    accelerator = Accelerator()
    sched = get_scheduler(
        "cosine", optimizer, num_warmup_steps=100, num_training_steps=args.max_steps
    )
    model, optimizer, loader, sched = accelerator.prepare(model, optimizer, loader, sched)
    global_step = 0
    for batch in loader:
        loss = model(**batch).loss
        accelerator.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        if global_step % accelerator.num_processes == 0:
            sched.step()
        global_step += 1
        if global_step >= args.max_steps:
            break

### gradients multiplied by the optimiser:
for i, (x, y) in enumerate(loader):
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    if (i + 1) % k == 0:
        optimizer.multiply_grads(1 / k)
        optimizer.step()
        optimizer.zero_grad()

### gradients averaged by a helper:
for i, (x, y) in enumerate(loader):
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    if (i + 1) % k == 0:
        average_gradients(model, k)
        optimizer.step()
        optimizer.zero_grad()

### the rate in the groups is divided:
for g in optimizer.param_groups:
    g["lr"] /= k
for i, (x, y) in enumerate(loader):
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    if (i + 1) % k == 0:
        optimizer.step()
        optimizer.zero_grad()

### threshold of the object, times the scale:
class T:
    def step(self, x, y):
        self.max_norm = 1.0 * self.scaler.get_scale()
        self.optimizer.zero_grad()
        loss = F.cross_entropy(self.model(x), y)
        self.scaler.scale(loss).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.max_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()

### a late clip for the norm alone:
for i, (x, y) in enumerate(loader):
    optimizer.zero_grad()
    F.cross_entropy(model(x), y).backward()
    optimizer.step()
    gn = torch.nn.utils.clip_grad_norm_(model.parameters(), 1e9)

### a clip of scaled gradients for the norm alone:
scaler = torch.cuda.amp.GradScaler()
for i, (x, y) in enumerate(loader):
    optimizer.zero_grad()
    scaler.scale(F.cross_entropy(model(x), y)).backward()
    gn = torch.nn.utils.clip_grad_norm_(model.parameters(), 1e30)
    scaler.step(optimizer)
    scaler.update()
"""


def snippets() -> list[tuple[str, set[str], str]]:
    found = []
    for block in dedent(_SNIPPETS).split("### ")[1:]:
        title, _, text = block.partition("\n")
        name, _, facts = title.partition(":")
        found.append((name, set(facts.split()), f"{HEADER}{text}"))
    return found
