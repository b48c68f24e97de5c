"""The jobs that start from a request: prepare it, search a ticket, and fetch the images to measure one on.

Here the parts meet that otherwise do not know one another: data, models, search, ticket and evaluation. May import all
that is below `onnx_export`.
"""
