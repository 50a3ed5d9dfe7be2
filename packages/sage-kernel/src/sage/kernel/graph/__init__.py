"""The logical graph: model, construction, types, validation, views and its form as data.

Reading order: ``model`` → ``options``, ``steps``, ``builder`` → ``loops``, ``splits`` →
``inference``, ``types``, ``validate`` → ``render``, ``spec``. Pure: no threads, sockets, clocks.
Predecessor: ``sage.api``; successor: ``sage.kernel.compiler``.
"""
