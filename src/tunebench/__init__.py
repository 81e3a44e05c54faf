"""tunebench: fine-tune pretrained text models, compare them honestly, ship what was evaluated."""

__version__ = "0.1.0"
