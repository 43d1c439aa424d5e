"""The kernel's own tracer: private instances, what they record, and the way back to how it was before."""
