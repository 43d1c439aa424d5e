"""Probes: from what a person writes to the kernel's kprobe_events and uprobe_events, and back."""
