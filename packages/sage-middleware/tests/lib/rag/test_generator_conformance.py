"""The built-in generators under the suite that plugin authors use."""

import pytest

from sage.lib.rag.generator import ExtractiveGenerator, OpenAIGenerator
from sage.lib.testing.generators import GeneratorSuite
from sage.middleware.testing.model_server import ModelServer


class TestExtractiveGenerator(GeneratorSuite):
    def make(self, **settings):
        return ExtractiveGenerator({"answer": "sentence", **settings})


class TestOpenAIGenerator(GeneratorSuite):
    @pytest.fixture(autouse=True)
    def server(self):
        with ModelServer() as server:
            self.url = server.url
            yield

    def make(self, **settings):
        return OpenAIGenerator({"model": "m", "base_url": self.url, **settings})


class TestOpenAIGeneratorStreaming(TestOpenAIGenerator):
    def make(self, **settings):
        return OpenAIGenerator({"model": "m", "base_url": self.url, "stream": True, **settings})
