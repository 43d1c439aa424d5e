"""Running compiled tracing scripts: values and their text, attaching, the loop that prints what programs tell."""
