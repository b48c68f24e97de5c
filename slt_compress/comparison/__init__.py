"""Methods side by side: the grid, its runs, the dense baseline, tables and plots.

May import everything but `cli` and `onnx_export`.
"""
