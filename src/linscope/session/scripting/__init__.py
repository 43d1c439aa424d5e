"""Scripts at work: programs loaded and attached, events read and printed, maps shown at the end."""
