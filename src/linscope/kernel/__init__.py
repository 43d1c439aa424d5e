"""What a kernel's own structures mean: tasks, stacks, memory, the log ...; named as the kernel names them."""
