"""Pretrained weights, methods and bundles. Torch begins in this room."""
