"""Networks by name: architectures of our own, timm's and torchvision's. Nothing here decides the value of a weight.

May import `errors`, `version` and, for the sizes in the catalogue, `masking`.
"""
