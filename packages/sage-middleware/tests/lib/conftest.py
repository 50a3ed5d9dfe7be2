import pytest

from sage.api.context import RuntimeContext
from sage.middleware.testing.model_server import ModelServer


@pytest.fixture
def context():
    """Makes the context of a step that runs outside of a job."""

    def make(**options):
        return RuntimeContext(job_id="j", job_name="test", operator="step", uid="step", **options)

    return make


@pytest.fixture
def run_step(context):
    """Opens an operator, gives it one item, closes it."""

    def run(operator, *items):
        operator.open(context())
        try:
            return [operator.execute(item) for item in items]
        finally:
            operator.close()

    return run


@pytest.fixture
def server():
    with ModelServer() as running:
        yield running
