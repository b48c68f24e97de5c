"""What an export can write.

    registry    the table of formats: names, suffixes, settings

May import c_export, config, errors, html_export and onnx_export. Must not import api or cli.
"""
