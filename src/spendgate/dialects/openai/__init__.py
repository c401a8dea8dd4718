"""OpenAI's APIs and the many that copy them: chat completions, responses, completions, embeddings, moderations."""
