"""Tickets as one HTML page: it classifies drawings and images in a browser, without a server and without a network.

    export      a ticket's network to a page: C code, proven, compiled to WebAssembly, embedded
    wasm        C code -> a WebAssembly module, and Node.js to run it
    page        a module and what is known of its network -> the text of the page
    template/   markup, style and scripts that the page is made of

May import c_export, errors, files, onnx_export and ticket. Must not import pipeline, comparison or cli.
"""
