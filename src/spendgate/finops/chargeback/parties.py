"""Who sells a model, on whose machines it runs, who made it, and who bills it. Pure.

Whoever serves a model sells and bills it: the Claude of Bedrock is on the invoice of AWS. Where an exchange went is
known, in this order, by the provider that it was priced by, by its upstream and dialect (usage logs have them), by
the form of the model's name, and by the price list that has it.
"""

from __future__ import annotations

import re

from spendgate.pricing.names import is_bedrock
from spendgate.pricing.table import PriceTable
from spendgate.pricing.terms import Terms
from spendgate.records.record import UsageRecord
from spendgate.values import dataclass

UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True)
class Parties:
    """`service`: who sells it, and under which `service_name`. `host`: on whose machines it runs, the seller where
    nothing else is known. `issuer`: whose invoice it is on. `maker`: who made the model."""

    service: str
    service_name: str
    host: str
    issuer: str
    maker: str


SELLERS: dict[str, tuple[str, str]] = {
    "alibaba": ("Alibaba Cloud", "Model Studio"),
    "anthropic": ("Anthropic", "Claude API"),
    "aws": ("Amazon Web Services", "Amazon Bedrock"),
    "azure": ("Microsoft", "Azure OpenAI"),
    "baseten": ("Baseten", "Baseten Inference"),
    "cerebras": ("Cerebras", "Cerebras Inference"),
    "cloudflare": ("Cloudflare", "Workers AI"),
    "cohere": ("Cohere", "Cohere API"),
    "databricks": ("Databricks", "Mosaic AI Model Serving"),
    "deepinfra": ("DeepInfra", "DeepInfra API"),
    "deepseek": ("DeepSeek", "DeepSeek API"),
    "fireworks": ("Fireworks AI", "Fireworks API"),
    "google": ("Google Cloud", "Gemini API"),
    "groq": ("Groq", "GroqCloud"),
    "meta": ("Meta", "Llama API"),
    "minimax": ("MiniMax", "MiniMax API"),
    "mistral": ("Mistral AI", "La Plateforme"),
    "moonshotai": ("Moonshot AI", "Kimi API"),
    "novita": ("Novita AI", "Novita API"),
    "openai": ("OpenAI", "OpenAI API"),
    "openrouter": ("OpenRouter", "OpenRouter API"),
    "ovhcloud": ("OVHcloud", "AI Endpoints"),
    "perplexity": ("Perplexity", "Sonar API"),
    "together": ("Together AI", "Together API"),
    "voyageai": ("Voyage AI", "Voyage API"),
    "x-ai": ("xAI", "xAI API"),
    "zai": ("Z.ai", "Z.ai API"),
}
"""Provider of the price catalogue → who sells there, and what the service is called."""
MAKERS = (
    ("claude", "Anthropic"), ("gemini", "Google"), ("gemma", "Google"), ("command", "Cohere"), ("cohere", "Cohere"),
    ("mistral", "Mistral AI"), ("mixtral", "Mistral AI"), ("codestral", "Mistral AI"), ("deepseek", "DeepSeek"),
    ("llama", "Meta"), ("grok", "xAI"), ("nova", "Amazon"), ("titan", "Amazon"), ("qwen", "Alibaba Cloud"),
    ("kimi", "Moonshot AI"), ("sonar", "Perplexity"), ("glm", "Z.ai"), ("minimax", "MiniMax"), ("voyage", "Voyage AI"),
    ("ministral", "Mistral AI"), ("magistral", "Mistral AI"), ("devstral", "Mistral AI"), ("pixtral", "Mistral AI"),
    ("imagen", "Google"), ("veo", "Google"), ("embed-", "Cohere"), ("rerank", "Cohere"), ("phi-", "Microsoft"),
    ("jamba", "AI21 Labs"), ("codex", "OpenAI"), ("computer-use", "OpenAI"), ("tts-", "OpenAI"),
    ("gpt", "OpenAI"), ("chatgpt", "OpenAI"), ("text-embedding", "OpenAI"), ("dall-e", "OpenAI"), ("whisper", "OpenAI"),
    ("o1", "OpenAI"), ("o3", "OpenAI"), ("o4", "OpenAI"),
)  # fmt: skip
_WORDS = (
    (r"azure|microsoft|foundry|cognitiveservices", "azure"), (r"bedrock|amazonaws|\baws\b", "aws"),
    (r"vertex|google|gemini|aiplatform", "google"), (r"open-?router", "openrouter"), (r"databricks", "databricks"),
    (r"cloudflare", "cloudflare"), (r"dashscope|alibaba|aliyun", "alibaba"), (r"moonshot|kimi", "moonshotai"),
    (r"\bx-?ai\b|\bgrok\b", "x-ai"), (r"z\.ai|zhipu|bigmodel", "zai"), (r"voyage", "voyageai"),
    (r"openai", "openai"), (r"anthropic|claude", "anthropic"),
)  # fmt: skip
"""What the name of an upstream, a dialect or a model's prefix says; a host before those whose models it serves."""
_PREFIXES = {"vertex_ai": "google", "vertex": "google", "bedrock": "aws", "fireworks_ai": "fireworks"}


def seller_in(text: str) -> str:
    """The provider that a word of configuration names, "" for none."""
    text = text.lower()
    for pattern, provider in _WORDS:
        if re.search(pattern, text):
            return provider
    return next((p for p in SELLERS if re.search(rf"(^|[^a-z]){p}([^a-z]|$)", text)), "")


def seller_of_record(record: UsageRecord) -> str:
    """The provider that served an exchange, as its usage line tells; "" where it does not."""
    if record.priced_by.provider:
        return record.priced_by.provider
    told = seller_in(record.upstream)
    if told:
        return told
    # these dialects are spoken by one provider alone
    return next(
        (p for d, p in (("bedrock", "aws"), ("vertex", "google")) if record.dialect.startswith(d)), ""
    )


def seller_of_name(model: str) -> str:
    """The provider that the form of a model's name says (`azure/…`, `us.anthropic.…`, `…@20250929`), "" for none."""
    prefix, _, rest = model.lower().partition("/")
    if rest:
        known = _PREFIXES.get(prefix, prefix if prefix in SELLERS else "")
        if known:
            return known
    if is_bedrock(model):
        return "aws"
    return "google" if re.search(r"^claude[^@]*@", model.lower()) else ""


def seller(model: str, prices: PriceTable, told: str = "") -> str:
    """The provider of a model; `told` is what a usage line says of it. "" where nothing tells."""
    found = told or seller_of_name(model)
    if not found and (price := prices.find(model, Terms())) is not None:
        found = price.provider
    return found


def maker_of(model: str) -> str:
    """Who made a model, by its name."""
    name = model.lower()
    return next((maker for part, maker in MAKERS if re.search(rf"(?<![a-z]){part}", name)), UNKNOWN)


def parties(model: str, prices: PriceTable, told: str = "") -> Parties:
    """The parties to what a model cost."""
    provider = seller(model, prices, told)
    maker = maker_of(model)
    sold = SELLERS.get(provider)
    if sold is None:  # a house's own provider, or none that is known: its maker sells it
        by_maker = next((s for s in SELLERS.values() if s[0] == maker), None)
        sold = (provider, "LLM API") if provider else by_maker or (maker, "LLM API")
    name, service = sold
    if provider == "google" and maker != "Google":
        service = "Vertex AI"
    return Parties(name, service, name, name, maker if maker != UNKNOWN else name)
