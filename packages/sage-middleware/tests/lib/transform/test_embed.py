import numpy as np
import pytest

from sage.api import LocalEnvironment
from sage.common.errors import ConfigError, UnknownNameError
from sage.lib.transform import CharacterSplitter, Embed
from sage.lib.types import Document
from sage.middleware.testing.transforms import TransformSuite
from sage.middleware.utils.embedding.embedding_api import apply_embedding_model


class TestEmbed(TransformSuite):
    def make(self):
        return Embed({"method": "hash"})


def test_vectors_are_the_models_own_in_a_job_and_in_order():
    model = apply_embedding_model("hash", dim=64)
    seen = []
    calls = []

    class Counting(Embed):
        def execute_batch(self, items):
            calls.append(len(items))
            return super().execute_batch(items)

    env = LocalEnvironment("embed")
    (
        env.from_collection([Document(id="d", text="one two three four " * 40)])
        .flatmap(CharacterSplitter, {"chunk_size": 20})
        .map(Counting, {"method": "hash", "options": {"dim": 64}, "field": "v"}, batch_size=8)
        .sink(seen.append)
    )
    env.submit().wait()
    assert [d.id for d in seen] == [f"d#{n}" for n in range(len(seen))]
    expected = model.embed_many([d.text for d in seen])
    assert np.allclose([d.metadata["v"] for d in seen], expected)
    assert {d.metadata["v_model"] for d in seen} == {model.fingerprint}
    assert sum(calls) == len(seen)
    assert max(calls) <= 8


def test_a_ready_model_is_used_and_left_open(run_step):
    model = apply_embedding_model("hash")
    [found] = run_step(Embed({"method": model}), "text")
    assert np.allclose(found.metadata["vector"], model.embed("text"))


def test_wrong_models_are_refused(context):
    with pytest.raises(ConfigError, match="method"):
        Embed({"method": 3})
    with pytest.raises(UnknownNameError, match="hsh"):
        Embed({"method": "hsh"}).open(context())
