"""Tickets as a folder for a web server: a page that classifies with onnxruntime-web, for networks beyond the C layers.

    export      a ticket's network to a folder: an ONNX graph, proven, a page and the runtime
    page        what is known of the network -> the text of the page
    runtime     the files of onnxruntime-web that the user has
    node        a graph under these files, run by Node.js
    folder      all of a folder appears, or nothing
    template/   the script that starts the network; all else of the page is that of html_export

May import c_export, data, errors, evaluation, files, html_export, onnx_export and ticket. Must not import pipeline,
comparison or cli.
"""
