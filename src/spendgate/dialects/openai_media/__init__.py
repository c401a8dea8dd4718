"""OpenAI's images and audio, and what copies them."""

from spendgate.dialects.base import Dialect
from spendgate.dialects.openai_media.audio import OpenAISpeech, OpenAITranscriptions
from spendgate.dialects.openai_media.images import OpenAIImages

DIALECTS: tuple[Dialect, ...] = (
    OpenAIImages(),
    OpenAITranscriptions(),
    OpenAISpeech(),
)
