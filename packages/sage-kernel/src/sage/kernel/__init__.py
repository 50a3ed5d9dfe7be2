"""The SAGE dataflow engine.

Reading order, which is also the way of a record:

1. ``sage.api.functions``     contracts a user implements
2. ``sage.api.datastream``    the fluent API that records nodes
3. ``sage.kernel.graph``      logical graph, validation, types, ``GraphSpec``
4. ``sage.kernel.compiler``   fusion, channels, generated code
5. ``sage.kernel.operators``  windows, joins, timers: pure state machines
6. ``sage.kernel.state``      keyed state
7. ``sage.kernel.scheduling`` rate limits and budgets of calls
8. ``sage.kernel.runtime``    channels, tasks, workers, policies, services, the job
9. ``sage.kernel.observe``    metrics and how they are shown
"""
