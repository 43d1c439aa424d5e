"""trace.dat: what trace-cmd records, versions 6 and 7."""
