"""Scripts over recordings: the events of a recording, in time order, through the user-space machine."""
