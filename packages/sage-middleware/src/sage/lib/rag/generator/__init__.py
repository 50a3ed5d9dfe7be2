"""Generators: a prompt in, an answer out."""

from sage.lib.rag.generator.extractive import ExtractiveGenerator
from sage.lib.rag.generator.huggingface import HuggingFaceGenerator
from sage.lib.rag.generator.ollama import OllamaGenerator
from sage.lib.rag.generator.openai import OpenAIGenerator
from sage.lib.rag.generator.vllm import VLLMGenerator

__all__ = [
    "ExtractiveGenerator",
    "HuggingFaceGenerator",
    "OllamaGenerator",
    "OpenAIGenerator",
    "VLLMGenerator",
]
