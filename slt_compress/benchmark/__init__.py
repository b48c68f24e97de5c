"""What files cost when onnxruntime runs them: time, memory, bytes and products.

    config      the settings of a measurement
    graph       what must be known of an ONNX file: its inputs, its bytes, the ticket that it comes from
    candidates  files -> the ONNX files that are measured, each with the one that it is compared with
    worker      the process that runs one file; it imports nothing of this package
    processes   starts such a process, and reads what it reports
    macs        products that a run has computed
    run         from files to figures, in rounds
    results     the figures

May import errors, evaluation, models.source, onnx_export, progress, ticket and version. Must not import cli.
"""
