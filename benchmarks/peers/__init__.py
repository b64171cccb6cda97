"""`./run bench peers`: the same reset-and-fire work on other engines and on ours, in one run.

`compare` runs it; `timers` says what the work is and judges it; each `on_*` module is one engine.
"""
