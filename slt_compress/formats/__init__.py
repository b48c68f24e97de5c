"""What an export can write.

    registry    the table of formats: names, suffixes, settings
    writers     a network, to what the settings ask for

May import c_export, config, errors, html_export, onnx_export, progress, ticket and web_export. Must not import api or
cli.
"""
