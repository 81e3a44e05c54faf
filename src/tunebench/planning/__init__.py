"""What a training will need before it begins: parameters, memory, disk, steps and time, and whether this machine has them."""
