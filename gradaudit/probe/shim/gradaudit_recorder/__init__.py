"""Records what a PyTorch training does, inside its own process and without changing its result.

It is put on the path of the user's program, where gradaudit need not be installed: it imports the
standard library, torch and itself. A folder: as one file it would have over two thousand lines.

    state    what is known while the program runs
    tensors  norms, pieces of sharded tensors, names of parameters
    hooks    where torch is listened to; stepping: the steps of its optimizers; clips: its clips;
             schedulers: theirs; graphs: what CUDA graphs replay; engines: DeepSpeed;
             listen: the guard around it all
    forwards what the forwards of a step ran in: autocast, BatchNorm
    steps    from an optimizer step to a line of the record; reading: from tensors to numbers;
             described: the optimizer's own line
    output   the file
    undone   whether the weights that a step made are still there at the next
    files    what the program writes, deletes and resumes from
    stop     the end

No call of a hook communicates with another rank, draws a random number or writes to a tensor of
the program. Numbers on the CPU are read at once; those of another device stay tensors until they
are written, about twice a second. A CUDA GPU is waited for only where an optimizer is described,
for a sparse gradient, and at the end.
"""


def install() -> None:
    """Begin to listen. Called once, right after `import torch`.

    Raises: where this torch has not what is listened to: the training goes on without a record.
    """
    import os

    from gradaudit_recorder import files, hooks, output, state, stop

    state.begin()
    hooks.install()
    files.install()
    os.register_at_fork(before=output.before_fork, after_in_child=stop.begin_in_child)
