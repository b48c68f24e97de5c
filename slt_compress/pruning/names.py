"""Names that requests use: methods, recipes, scopes and forms of values. Needs nothing, so that `--help` knows them."""

CONTINUOUS_SPARSIFICATION, MAGNITUDE, CRBG = "continuous-sparsification", "magnitude", "crbg"
METHODS = (CONTINUOUS_SPARSIFICATION, MAGNITUDE, CRBG)
FINDERS = (CONTINUOUS_SPARSIFICATION, MAGNITUDE)  # those of a ticket search
RECIPES = ("default", "paper")
SCOPES = ("global", "layer")
VALUES = ("fp32", "fp16", "int8", "int4")
