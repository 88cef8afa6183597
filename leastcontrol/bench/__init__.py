"""The time and memory of a training step of each rule, compared with backpropagation."""
