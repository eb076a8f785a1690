"""JPEG -> class, served: ours against the engine alone and against other servers.

photos (what is sent) -> sides (who answers, each a call and its processes) -> load (closed and open loops)
-> rows (CSV) -> figures (median of the rounds) -> goals, waterfall, plots.
"""
