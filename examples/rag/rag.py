"""Answer the questions of ``data/questions.txt`` from the collection ``knowledge_base``."""

import sys

from sage.api.local_environment import LocalEnvironment
from sage.lib.io.sink import TerminalSink
from sage.lib.io.source import FileSource
from sage.lib.rag.generator import ExtractiveGenerator, OpenAIGenerator
from sage.lib.rag.promptor import QAPromptor
from sage.lib.rag.retriever import DenseRetriever
from sage.utils.config.loader import load_config

config = load_config("config.yaml")
env = LocalEnvironment("rag_pipeline")
prompts = (
    env.from_source(FileSource, config["source"])
    .map(DenseRetriever, config["retriever"])
    .map(QAPromptor, config["promptor"])
)
if "--extractive" in sys.argv:
    answers = prompts.map(ExtractiveGenerator, config["generator"]["extractive"])
else:
    answers = prompts.map(OpenAIGenerator, config["generator"]["local"], concurrency=16)
answers.sink(TerminalSink, config["sink"])
env.submit().wait()
