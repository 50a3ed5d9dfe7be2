"""``sage job``: submit jobs to a JobManager, watch them, steer them, run them again.

Reading order: ``following`` → ``submitting``, ``listing``, ``watching``, ``steering``, ``again``,
``explaining``, ``deadletters`` → ``app``. Importing this package loads none of them.
"""
