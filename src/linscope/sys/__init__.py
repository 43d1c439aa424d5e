"""One function per kernel call, named as the call; by ctypes where Python has none."""
