"""Tickets as ONNX files that onnxruntime runs like any other model.

    export            a ticket's network to a file: trace, build, check, write
    forms             the forms that the weights can have in a file: compact, dense, int2, int8
    trace             torch module -> ONNX graph with the generated tensors as inputs
    weight_functions  nodes that regenerate those tensors from the seed and the coded masks; mask_functions: the latter
    stored_functions  nodes that put stored weights where the masks keep them
    stages            in which these are folded one after the other
    portable          one graph for all weights, without functions, for other runtimes; portable_functions: its parts
    quantise          a dense graph -> a graph that computes in 8 bits
    shrink            a graph -> the same graph in fewer bytes
    parity            an ONNX graph compared with torch and with other graphs

May import errors, files, progress, prng, quiet, masking, structure, models, data, tasks, ticket and evaluation. Must
not import training.search, methods, comparison, pipeline or cli.
"""
