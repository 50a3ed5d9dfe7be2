import logging
import sys
import types

import pytest

from sage.common.errors import PluginError
from sage.common.hooks import HookManager, create_hook_manager, hookimpl
from sage.common.plugins import PluginWarning


class Recorder:
    def __init__(self) -> None:
        self.seen = []

    @hookimpl
    def job_submitted(self, name, job_id):
        self.seen.append((job_id, name))
        return "ignored"


class Failing:
    @hookimpl(tryfirst=True)
    def job_submitted(self):
        raise ValueError("listener is broken")


def submit(manager):
    return manager.notify("job_submitted", job_id="7", name="rag", graph={})


def test_listeners_get_the_arguments_they_name():
    manager, recorder = HookManager(), Recorder()
    assert not manager.listening("job_submitted")
    manager.register(recorder, "recorder")
    assert manager.listening("job_submitted")
    assert not manager.listening("job_finished")
    assert submit(manager) is None
    assert recorder.seen == [("7", "rag")]


def test_one_that_raises_stops_nobody_and_is_logged_with_its_distribution(caplog):
    manager, recorder = HookManager(), Recorder()
    manager.register(recorder, "recorder")
    manager.register(Failing, "failing", "sage-acme")
    with caplog.at_level(logging.ERROR):
        submit(manager)
    assert recorder.seen == [("7", "rag")]
    assert "'failing' of the distribution 'sage-acme' failed in job_submitted" in caplog.text
    assert "ValueError: listener is broken" in caplog.text


def test_a_module_can_listen():
    module = types.ModuleType("listener")
    seen = []

    @hookimpl
    def call_finished(model, usage, latency):
        seen.append((model, usage, latency))

    module.call_finished = call_finished
    manager = HookManager()
    manager.register(module, "module")
    manager.notify(
        "call_finished",
        operator="g",
        model="m",
        call_id="c",
        usage=None,
        latency=0.5,
        error=None,
    )
    assert seen == [("m", None, 0.5)]


class UnknownHook:
    @hookimpl
    def job_exploded(self): ...


class UnknownArgument:
    @hookimpl
    def job_submitted(self, colour): ...


class Wrapper:
    @hookimpl(wrapper=True)
    def job_submitted(self):
        return (yield)


@pytest.mark.parametrize(
    ("plugin", "reason"),
    [
        (UnknownHook, "there is no hook 'job_exploded'"),
        (UnknownArgument, "colour"),
        (Wrapper, "hooks here only observe"),
    ],
)
def test_a_listener_that_cannot_work_is_refused(plugin, reason):
    manager = HookManager()
    with pytest.raises(PluginError, match=f"(?s)'p' of 'sage-acme'.*{reason}"):
        manager.register(plugin, "p", "sage-acme")
    assert not manager.listening("job_submitted")


def test_an_event_that_does_not_exist_is_an_error():
    with pytest.raises(AttributeError):
        HookManager().notify("job_exploded")


def test_broken_distributions_are_skipped_by_name(site):
    site.add(
        "loud",
        """
        [sage.plugins]
        good = loud_mod:Good
        bad = loud_mod:Bad
        gone = loud_gone
        """,
        {
            "loud_mod.py": """
            from sage.common.hooks import hookimpl
            SEEN = []
            class Good:
                @hookimpl
                def job_finished(self, status):
                    SEEN.append(status)
            class Bad:
                def __init__(self):
                    raise RuntimeError("no database")
            """
        },
    )
    with pytest.warns(PluginWarning) as caught:
        manager = create_hook_manager()
    texts = " | ".join(str(w.message) for w in caught)
    assert "'bad' of 'loud' cannot be registered: RuntimeError: no database (skipped)" in texts
    assert "'gone' of the distribution 'loud' cannot be imported" in texts
    manager.notify("job_finished", job_id="1", name="n", status="FAILED", error=None)
    assert sys.modules["loud_mod"].SEEN == ["FAILED"]
