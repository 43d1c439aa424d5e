"""A disposable kernel in QEMU, with this machine's files inside: to try, to test and to learn."""
