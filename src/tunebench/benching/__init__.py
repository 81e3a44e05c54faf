"""How fast the forms of runs are on this machine: each in a process of its own, in turns. No torch in the process that asks."""
