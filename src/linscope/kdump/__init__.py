"""Crash dumps by kdump: is this machine ready, load the kernel that captures, capture, try it all out in the lab."""
