"""Commands of the engine and of the JobManager.

``run``, ``check`` and ``explain`` take a pipeline file (YAML or JSON) or a Python program; ``job``,
``jobmanager``, ``deploy`` and ``services`` speak to a JobManager; ``install`` looks at all of it.
Predecessor: ``sage.common.cli``; successors: ``sage.api``, ``sage.kernel.jobmanager``.
"""

from sage.common.cli.entry import standalone

__all__ = ["main_deploy", "main_install", "main_job", "main_jobmanager", "main_services"]

main_deploy = standalone("deploy")
main_install = standalone("install")
main_job = standalone("job")
main_jobmanager = standalone("jobmanager")
main_services = standalone("services")
