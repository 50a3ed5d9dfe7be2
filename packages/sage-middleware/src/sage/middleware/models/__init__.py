"""Model clients.

``openai_client`` speaks to any OpenAI-compatible server. Importing this package is light; aiohttp
is imported with ``sage.middleware.models.openai_client``.
"""
