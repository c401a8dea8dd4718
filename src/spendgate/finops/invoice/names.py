"""What a meter's name says: which model, which kind of usage, or what else it charges for. Pure.

Vendors bill by their own names: `gpt-4o-2024-08-06, cached input`, `USE1-Claude3.5Sonnet-output-tokens`,
`5.6 sol ShortCo Cd Inp Std Gl 1M Tokens`, `Generate content input token count gemini 2.5 flash short input text`. A
name is cut into words; words of the table below say the charge and the kind, words that name no model are left out, and
the rest is the model. Each pattern stands with an example, and the tests read every one.

Sources: vendors' price lists and public code that reads their exports, November 2026.
"""

from __future__ import annotations

import re
from functools import lru_cache

from spendgate.finops.invoice.line import COMMITMENT, CREDIT, FEE, REFUND, TAX, USAGE
from spendgate.pricing import names as model_names
from spendgate.values import dataclass


@dataclass(frozen=True, slots=True)
class Meter:
    """What a meter's name says. `model` is "" where it names none."""

    charge: str
    model: str
    kind: str


_WRITE = (
    r"\b(?:cache|cached|cachd|cchd|cch|cd)(?: prompt| context| input)?"
    r" (?:writes?|writing|wrt?|wrte|creation|creat\w*)\b"
)
CHARGE_PATTERNS: tuple[tuple[str, str, str], ...] = (
    (r"\b(?:tax|vat|gst|taxes)\b", TAX, "VAT 20%"),
    (r"\b(?:refunds?|refunded|chargeback)\b", REFUND, "Refund of October"),
    (r"\b(?:credits?|grants?|promo\w*|discounts?|coupon|voucher|rebate|free tier)\b", CREDIT, "Credit grant"),
    (r"\b(?:provisioned|ptus?|reserved|reservations?|commit\w*|savings plans?|scale tier|model units?|upfront)\b",
     COMMITMENT, "Provisioned Managed Global Unit"),
    (r"\bevals?\b", FEE, "evals | gpt-4o-mini-2024-07-18, input"),
    (r"\b(?:web|file|google|maps?|enterprise) (?:search|grounding)\w*|\bgrounding\b|\bsearch tool\b", FEE,
     "web search tool calls"),
    (r"\b(?:code (?:interpreter|execution)|containers?|tool calls?|sessions?|computer use)\b", FEE,
     "assistants api | code interpreter"),
    (r"\b(?:guardrails?|knowledge bases?|agents?core|flows?|data automation|moderation)\b", FEE,
     "USE1-Guardrail-ContentPolicyUnitsConsumed"),
    (r"\b(?:training|trained|tuning|finetun\w*|customization|hosting|distillation|grading)\b", FEE,
     "gpt 4.1 ft training glbl Tokens"),
    (r"\b(?:storage|vector|hourly|support plan)\b", FEE, "Gemini 2.5 Pro Text Input Caching Storage"),
)  # fmt: skip
"""(pattern of words, charge, example); the first that is found counts."""

KIND_PATTERNS: tuple[tuple[str, str, str], ...] = (
    (rf"(?=.*\b(?:1 ?h|1 ?hr|1 ?hour|ephemeral 1h)\b).*(?:{_WRITE})", "cache_write_1h",
     "cache_write_tokens_1h_standard"),
    (_WRITE, "cache_write_5m", "5.6 sol ShortCo Cd Wr Std Gl 1M Tokens"),
    (r"\b(?:no cache|non cached|not cached|uncached)\b", "input", "input_no_cache"),
    (r"(?=.*\b(?:cached|cchd|caching|cache)\b).*\b(?:audio|aud)\b", "cached_input_audio", "Audio Input Caching"),
    (r"(?=.*\b(?:cached|cchd|caching|cache)\b).*\b(?:image|images|img)\b", "cached_input_image", "Image Input Caching"),
    (r"(?=.*\b(?:cached|cchd|caching|cache)\b).*\bvideo\b", "cached_input_video", "Video Input Caching"),
    (r"\b(?:cached|cachd|cchd|cch|cd|caching|cache)\b", "cached_input",
     "5.4 cd inp Gl 1M Tokens"),
    (r"(?=.*\b(?:audio|aud)\b).*\b(?:out|outp|outpt|outputs?|opt)\b", "output_audio", "audio output"),
    (r"(?=.*\b(?:image|images|img)\b).*\b(?:out|outp|outpt|outputs?|opt|generation)\b", "output_image", "image output"),
    (r"^(?!.*\b(?:non|no) (?:thinking|reasoning)\b)(?!.*\b(?:kimi|grok|qwen\d*|phi)\b)"
     r".*\b(?:reasoning|thinking|thoughts?)\b(?!.*\binp)", "reasoning",
     "Gemini 2.5 Pro Thinking Text Output - Predictions"),
    (r"\b(?:out|outp|outpt|outputs?|opt|completions?|responses?|answers?|generated)\b", "output",
     "GPT 5 Mini outpt DZone 1M Tokens"),
    (r"\b(?:audio|aud)\b", "input_audio", "Gemini 2.5 Flash Audio Input - Predictions"),
    (r"(?=.*\b(?:image|images|img)\b).*\b(?:in|inp|inpt|inputs?)\b", "input_image", "Image Input - Predictions"),
    (r"(?=.*\bvideo\b).*\b(?:in|inp|inpt|inputs?)\b", "input_video", "Video Input - Predictions"),
    (r"\b(?:in|inp|inpt|inputs?|prompts?)\b", "input", "GPT 5 Mini Inpt DZone 1M Tokens"),
    (r"\b(?:file search\w*)\b", "file_searches", "file search"),
    (r"\bmaps?\b", "maps", "Grounding with Google Maps"),
    (r"\b(?:search|searches|grounding)\b", "searches", "web search tool calls"),
    (r"\bembeddings?\b", "input", "text embedding 3 small Tokens"),
)  # fmt: skip
"""(pattern of words, kind, example); the first that is found counts: writes before reads, reads before plain input."""

_SHORT = {
    "emb": "embedding", "codx": "codex", "mx": "max", "rt": "realtime", "trscb": "transcribe", "dsrch": "deep research",
    "nn": "nano",
    "mn": "mini", "embeddings": "embedding", "gpt35": "gpt 3.5", "gpt4": "gpt 4",
}  # fmt: skip
"""Words that vendors cut short."""

_NO_MODEL = frozenset(
    re.findall(
        r"\S+",
        """input inputs inp inpt in output outputs outp outpt outputted opt out cached cache caching cachd cch cchd
        cd read reads write writes wr wrt wrte hit hits creation tokens token text txt audio aud image images img
        video count units unit counts glbl global gl regnl regional region zone data dz dzone dzn datazone cross
        batch standard std priority prio pri pp flex fl latency optimized ondemand demand on usage invocation
        invocations prompt prompts response responses completion completions predictions prediction online
        thinking thought thoughts reasoning non no per 1k 1m azure openai oai amazon bedrock edition anthropic
        meta google vertex ai gemini_api api service models model az fw of short long lo sh ctx co shortco longco
        loco shco embed context window 5m 30m 1h 1hr ephemeral mantle runtime standard_only default generate
        content generatecontent generate_content embedcontent for with the request requests ga and online_serving
        base tier1 tier2 200k le gt pay as you go payg foundry units-consumed cohere sharedquota dynamic latest""",
    )
)
_REGION = re.compile(
    r"^(?:[A-Z]{2,4}\d{0,2}|MP|us-gov|us|eu|apac|ap|global|regional|jp|au|ca|sa|me|af)[-_.:](?=.)"
)
_VENDOR = re.compile(r"^(?:[a-z0-9-]+/)+|^[a-z][a-z0-9-]*\.(?=[a-z])(?![rv]\d)")
"""`deepseek.v3.1`: the vendor's name is the model's."""
_OF_MODEL = frozenset(("thinking", "reasoning", "non"))
_THINKERS = frozenset(("kimi", "grok", "qwen", "qwen2", "qwen3", "phi"))
"""Families whose models have `thinking` or `reasoning` in their names; elsewhere it is a kind of output."""
_STEMS: tuple[tuple[str, str], ...] = (
    (r"grok|xai", "grok"), (r"deepseek", "deepseek"), (r"llama", "llama"), (r"mistral", "mistral"), (r"kimi", "kimi"),
    (r"phi", "phi"), (r"claude|anthropic", "claude"), (r"gemini", "gemini"), (r"openai|gpt", "gpt"),
)  # fmt: skip
"""Where a name begins with a version alone (`5.4 inp Gl`, `V4 Pro Inp`), the family by what the line says else."""


def words_of(text: str) -> str:
    """A name as lower-case words with one blank between; numbers keep their points."""
    name = text.strip()
    for _ in range(3):
        name = _REGION.sub("", name, count=1)
    name = re.sub(r"(?i)open ?ai\b", "openai", name)
    name = re.sub(r"(?i)\bdeep ?seek", "deepseek", name)
    name = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=\d)(?=[A-Z][a-z])|(?<=[a-z])(?=\d{4}\b)", " ", name).lower()
    name = re.sub(r"\b([5-9])(\d)(?=[a-z]{3})", r"\1.\2 ", name)
    return " ".join(w for w in re.split(r"[\s,|/()_:;+≤>=<–—-]+", name) if w)


@lru_cache(maxsize=8192)
def kind_of(text: str) -> str:
    """The kind that a meter's name speaks of; "" where it names none."""
    words = words_of(text)
    return next((kind for pattern, kind, _ in KIND_PATTERNS if re.search(pattern, words)), "")


@lru_cache(maxsize=8192)
def charge_of(text: str) -> str:
    """What a meter's name charges for; `USAGE` where no word says otherwise."""
    words = words_of(text)
    return next((charge for pattern, charge, _ in CHARGE_PATTERNS if re.search(pattern, words)), USAGE)


@lru_cache(maxsize=8192)
def model_of(text: str, about: str = "") -> str:
    """A meter's name less the words that name no model; "" where nothing is left. `about`: what else the line says
    of its service."""
    bare = text.strip()
    for _ in range(3):
        bare = _REGION.sub("", bare, count=1)
    bare = _VENDOR.sub("", bare) if not re.search(r"\s", bare) else bare
    words = re.sub(r"(?<=\bkimi)[. ](?=k\d)", " ", words_of(bare)).split()
    named = _OF_MODEL if any(w.split(".")[-1] in _THINKERS for w in words) else frozenset()
    kept = [
        _SHORT.get(w, w)
        for w in words
        if (w not in _NO_MODEL or w in named) and (not re.fullmatch(r"\d{1,3}k", w) or w in ("16k", "32k"))
    ]
    kept = [w for w in kept if not re.fullmatch(r"\d{4}|20\d{6}", w)] or kept
    if kept[:1] == ["embedding"]:
        kept.insert(0, "text")
    if not kept:
        return ""
    if re.match(r"v?\d", kept[0]) and not any(re.match(r"[a-z]{3}", w) and w in _FAMILIES for w in kept):
        stem = next((s for pattern, s in _STEMS if re.search(pattern, about.lower())), "")
        if stem:
            kept.insert(0, stem)
    if kept[0] == "gpt" and len(kept) > 1 and kept[1] == "35":
        kept[1] = "3.5"
    return "-".join(" ".join(kept).split())


_FAMILIES = frozenset((
    "gpt", "claude", "gemini", "grok", "llama", "mistral", "deepseek", "nova", "titan", "command", "phi", "kimi",
    "qwen",
))  # fmt: skip


def read_meter(text: str, about: str = "") -> Meter:
    """All that a meter's name says."""
    return Meter(charge_of(text), model_of(text, about), kind_of(text))


_DATE = re.compile(
    r"[-_@ ](?:20\d{2}-?\d{2}-?\d{2}|\d{2}-20\d{2}|\d{4}(?=\b))|[-_ ]latest\b|[-: ]v\d+(?::\d+)?(?::\w+)?\s*$"
    r"|-\d+:\d+\s*$|-00\d\b"
)
_SOFT = frozenset(("latest", "instruct", "it", "models", "publishers", "tokens"))
"""Words of ids that bills leave out."""


@lru_cache(maxsize=8192)
def fingerprint(name: str) -> str:
    """The words of a model's name sorted and its numbers in their order, without date, region, vendor and release:
    equal for the names of one model however they are written."""
    plain = next(iter(list(model_names.forms(name.strip()))[-1:]), name) if ":" in name else name.strip()
    for _ in range(2):
        plain = _REGION.sub("", plain, count=1)
    plain = plain.rsplit("/", 1)[-1].lower()
    plain = re.sub(r"^[a-z][a-z0-9-]*\.(?=[a-z])(?![rv]\d)", "", plain)
    for _ in range(2):  # a release may follow the date
        plain = _DATE.sub(" ", f"{plain} ").strip()
    plain = re.sub(r"(?<=\d)\.0\b", "", plain)
    parts = re.findall(r"[a-z]+|\d+", plain)
    words = sorted(w for w in parts if w.isalpha() and w not in _SOFT)
    return " ".join([*words, *(w for w in parts if w.isdigit())])
