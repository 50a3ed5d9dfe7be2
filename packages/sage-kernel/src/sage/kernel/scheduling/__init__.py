"""Rate limits and budgets: when a call to a provider may start.

Reading order: ``limits`` (settings) → ``gauge`` and ``bucket`` (decisions, no clocks) → ``headers``
→ ``cells`` (memory, or a file shared by processes) → ``waiting`` → ``limiter`` → ``registry``; then
``budget`` and ``job_budget``.

Predecessor: ``sage.kernel.graph.settings`` (the keys ``limits`` and ``budget``); successors:
``sage.kernel.runtime.job`` and the model clients of ``sage.middleware``.
"""
