"""Tickets as C99: one file, without dependencies, that regenerates the weights while it uses them.

    export                        a ticket's network to a C file and its header: trace, build, prove, write
    graph                         a traced ONNX graph -> `Network`
    network                       the steps that C code takes, with shapes fixed and constants folded
    reference                     these steps in torch
    fixed                         values in 8 bits: the bytes of each tensor, measured on images
    arena                         places for tensors in one block of memory
    codes                         masks and signs -> bytes
    kernels                       the C functions, as templates
    calls                         steps -> calls of these functions, and their tables
    values                        how a ticket has its weights, generated or stored
    stored_calls                  calls with stored weights
    fixed_kernels, fixed_calls    kernels and calls in whole numbers
    text                          the C file and its header
    proof                         compiled here and run on examples

May import errors, files, prng, progress, tasks, data, ticket, evaluation and onnx_export. Must not import pipeline,
comparison or cli.
"""
