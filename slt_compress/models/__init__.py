"""Networks: by name ours, timm's and torchvision's, and those of the user. Nothing here decides the value of a weight.

May import `errors`, `version` and, for the sizes in the catalogue, `masking`.
"""
