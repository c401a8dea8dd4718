"""OpenAI's APIs and the many that copy them: chat completions, responses, completions, embeddings, moderations."""

from spendgate.dialects.base import Dialect
from spendgate.dialects.openai.chat import OpenAIChat
from spendgate.dialects.openai.completions import OpenAICompletions
from spendgate.dialects.openai.embeddings import OpenAIEmbeddings
from spendgate.dialects.openai.moderations import Moderations
from spendgate.dialects.openai.responses import OpenAIResponses
from spendgate.dialects.openai.vertex_publishers import VertexPublishers

DIALECTS: tuple[Dialect, ...] = (
    OpenAIChat(),
    OpenAIResponses(),
    OpenAICompletions(),
    OpenAIEmbeddings(),
    Moderations(),
    VertexPublishers(),
)
