"""One forward pass of a model, ours against others': what is run, how it is timed, what becomes of the figures.

subject (a model and its images) -> contenders (stock_timm, onnx_runtime, open_vino, ours) and the floor, each a call
-> rounds (interleaved timing) -> rows (CSV) -> figures (best, median) -> goals, plot; stages is the profile.
"""
