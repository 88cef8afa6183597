"""The time and memory of a step, of every rule beside backpropagation."""
