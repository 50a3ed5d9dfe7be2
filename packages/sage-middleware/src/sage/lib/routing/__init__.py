"""Routing: which way an item goes, and what is tried when a way fails."""

from sage.lib.routing.conditional import ConditionalRouter
from sage.lib.routing.fallback import FallbackHandler
from sage.lib.routing.llm import LLMRouter
from sage.lib.routing.load_balancer import LoadBalancer
from sage.lib.routing.sample import Sample
from sage.lib.routing.semantic import SemanticRouter
from sage.lib.routing.throttle import Throttle

__all__ = [
    "ConditionalRouter",
    "FallbackHandler",
    "LLMRouter",
    "LoadBalancer",
    "Sample",
    "SemanticRouter",
    "Throttle",
]
