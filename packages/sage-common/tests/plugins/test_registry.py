import sys
import warnings

import pytest

from sage.common.errors import PluginError, UnknownNameError
from sage.common.plugins import (
    PluginWarning,
    Registry,
    find_operator,
    find_operator_entry,
    group_of,
    has_listeners,
    installed,
    kind_of,
    operators,
    summary,
)

ACME = """
    [sage.retrievers]
    AcmeRetriever = acme_sage.retriever:AcmeRetriever
    acme.Special = acme_sage.retriever:AcmeRetriever
    Broken = acme_sage.nowhere:Broken
    Absent = acme_sage.retriever:Absent

    [sage.sinks]
    Both = acme_sage.retriever:AcmeRetriever

    [sage.sources]
    Both = acme_sage.retriever:AcmeRetriever

    [console_scripts]
    acme = acme_sage:main
"""
MODULES = {
    "acme_sage/__init__.py": "IMPORTED = True\n",
    "acme_sage/retriever.py": '''
        """Retrievers of Acme."""
        class AcmeRetriever:
            """Find what Acme sells.

            More words.
            """
    ''',
}


@pytest.fixture
def acme(site):
    site.add("sage-acme", ACME, MODULES)
    return site


def test_names_are_read_without_importing(acme):
    names = Registry("sage.retrievers").names()
    assert {"AcmeRetriever", "acme.Special", "Broken", "Absent"} <= set(names)
    assert names == sorted(names)
    entry = Registry("retriever").entry("AcmeRetriever")
    assert (entry.distribution, entry.version) == ("sage-acme", "1.0")
    assert entry.target == "acme_sage.retriever:AcmeRetriever"
    assert summary(entry) == "Find what Acme sells."
    assert "acme_sage" not in sys.modules
    assert Registry("retriever").get("AcmeRetriever").__name__ == "AcmeRetriever"
    assert "acme_sage" in sys.modules


def test_the_three_forms_of_a_name(acme):
    registry = Registry("retriever")
    cls = registry.get("AcmeRetriever")
    assert registry.get("acme.Special") is cls
    assert registry.get("Special") is cls
    assert registry.get("sage-acme.AcmeRetriever") is cls
    assert registry.get("Sage_Acme.AcmeRetriever") is cls
    assert "AcmeRetriever" in registry
    assert "Nothing" not in registry


def test_unknown_names_get_a_hint(acme):
    with pytest.raises(UnknownNameError, match="no retriever 'AcmeRetriver'; did you mean 'AcmeR"):
        Registry("retriever").get("AcmeRetriver")
    with pytest.raises(UnknownNameError, match="no operator 'acmeretriever'; did you mean 'AcmeR"):
        find_operator("acmeretriever")
    with pytest.raises(
        PluginError, match="no kind of plugin 'retreiver'; did you mean 'retriever'"
    ):
        Registry("retreiver")


def test_broken_plugins_name_their_distribution(acme):
    with pytest.raises(PluginError, match="'Broken' of the distribution 'sage-acme' cannot be imp"):
        find_operator("Broken")
    with pytest.raises(PluginError, match=r"'acme_sage\.retriever' has no 'Absent'"):
        find_operator("Absent")
    with pytest.warns(PluginWarning) as caught:
        loaded = {entry.name for entry, _ in Registry("retriever").load_all()}
    texts = [str(w.message) for w in caught]
    assert {"AcmeRetriever", "acme.Special"} <= loaded
    assert not {"Broken", "Absent"} & loaded
    assert sum("'sage-acme'" in text and "(skipped)" in text for text in texts) == 2


def test_one_name_in_two_kinds_has_to_be_told_apart(acme):
    with pytest.raises(PluginError, match=r"source/sage-acme\.Both, sink/sage-acme\.Both"):
        find_operator_entry("Both")
    assert find_operator_entry("Both", kind="sink").group == "sage.sinks"
    assert find_operator_entry("source/Both").group == "sage.sources"
    assert find_operator_entry("sink/sage-acme.Both").group == "sage.sinks"


def test_the_first_distribution_by_name_wins(site):
    entry = "[sage.retrievers]\nX = {}:X\n"
    site.add("zeta", entry.format("zeta_mod"), {"zeta_mod.py": "X = 'zeta'\n"})
    site.add("alpha", entry.format("alpha_mod"), {"alpha_mod.py": "X = 'alpha'\n"})
    with pytest.warns(
        PluginWarning, match="'X' .sage.retrievers. of the distribution 'zeta' is sk"
    ):
        assert "X" in Registry("retriever").names()
    assert find_operator("X") == "alpha"
    assert find_operator("zeta.X") == "zeta"


def test_ours_win_whatever_the_name(site):
    ours = next((e for e in installed().entries["sage.embedders"].values() if e.built_in), None)
    if ours is None:
        pytest.skip("isage-middleware is not installed")
    site.add("aaa", f"[sage.embedders]\n{ours.name} = aaa:X\n", {"aaa.py": "X = 1\n"})
    with pytest.warns(PluginWarning, match="'aaa' is skipped"):
        assert Registry("sage.embedders").names()
    assert Registry("sage.embedders").entry(ours.name) == ours
    assert Registry("sage.embedders").get(f"aaa.{ours.name}") == 1


def test_entries_that_cannot_be_read_are_skipped(site):
    site.add(
        "bad-value", "[sage.retrievers]\nX = not a module!\nGood = good:Y\n", {"good.py": "Y=1"}
    )
    site.add("bad-group", "[sage.retreivers]\nX = a:b\n")
    site.add("bad-file", "[sage.retrievers]\nno equals sign here\n")
    found = installed()
    texts = {p.distribution: p.message for p in found.problems}
    assert "'not a module!' is not a module or module:name" in texts["bad-value"]
    assert "there is no group 'sage.retreivers'" in texts["bad-group"]
    assert "bad-file" in texts
    with pytest.warns(PluginWarning) as caught:
        assert "Good" in Registry("retriever").names()
    assert {str(w.message) for w in caught} == {texts["bad-value"], texts["bad-file"]}
    assert find_operator("Good") == 1
    with pytest.raises(UnknownNameError, match="'bad-value' is skipped: 'not a module!'"):
        find_operator("X")


def test_a_shadowed_copy_of_a_distribution_does_not_count(site, tmp_path, monkeypatch):
    from sage.common.plugins import refresh

    other = type(site)(tmp_path / "other")
    site.add("twice", "[sage.sinks]\nS = new:X\n", {"new.py": "X = 'new'\n"}, version="2.0")
    other.add("twice", "[sage.sinks]\nS = old:X\nOld = old:X\n", {"old.py": "X = 'old'\n"})
    monkeypatch.setattr(sys, "path", [*sys.path, str(other.folder)])
    refresh()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "Old" not in Registry("sink").names()
    assert find_operator("S") == "new"


def test_operators_come_in_the_order_of_a_pipeline(acme):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PluginWarning)
        mine = [e.group for e in operators() if e.distribution == "sage-acme"]
    assert mine == ["sage.sources", *["sage.retrievers"] * 4, "sage.sinks"]


def test_summaries_follow_re_exports_and_never_import(site):
    site.add(
        "sums",
        """
        [sage.sinks]
        A = sums_pkg:Exported
        B = sums_pkg.inner:function
        C = sums_pkg.inner
        D = sums_pkg.inner:app
        E = sums_missing:X
        F = sums_pkg.syntax:X
        """,
        {
            "sums_pkg/__init__.py": "from sums_pkg.inner import Hidden as Exported\n1 / 0\n",
            "sums_pkg/inner.py": '"""The module."""\nclass Hidden:\n    """Hidden one."""\n'
            'async def function():\n    """A function."""\napp = 1\n',
            "sums_pkg/syntax.py": "def (",
        },
    )
    entries = installed().entries["sage.sinks"]
    assert [summary(entries[name]) for name in "ABCDEF"] == [
        "Hidden one.",
        "A function.",
        "The module.",
        "The module.",
        "",
        "",
    ]


def test_has_listeners_reads_files_only(site):
    before = has_listeners()
    site.add("quiet", "[sage.sinks]\nS = a:b\n")
    assert has_listeners() is before
    site.add("loud", "[sage.plugins]\nlistener = no_such_module\n")
    assert has_listeners()


def test_has_listeners_looks_into_archives(site, tmp_path, monkeypatch):
    import zipfile

    from sage.common.plugins import refresh

    if has_listeners():
        pytest.skip("a distribution here listens already")
    archive = tmp_path / "zipped.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("zipped-1.0.dist-info/METADATA", "Name: zipped\nVersion: 1.0\n")
        file.writestr("zipped-1.0.dist-info/entry_points.txt", "[sage.plugins]\nz = zipped\n")
    monkeypatch.syspath_prepend(str(archive))
    refresh()
    assert has_listeners()


def test_kinds_and_groups():
    assert kind_of("sage.memory_backends") == "memory_backend"
    for name in ("retriever", "retrievers", "sage.retrievers", "Retriever"):
        assert group_of(name) == "sage.retrievers"
    assert group_of("memory-backend") == "sage.memory_backends"
