"""From the logical graph to what runs: traits, fusion into segments, generated code.

Pure: no threads, sockets or clocks. Predecessor: ``sage.kernel.graph``; successor:
``sage.kernel.runtime``, which makes a task of each segment.
"""
