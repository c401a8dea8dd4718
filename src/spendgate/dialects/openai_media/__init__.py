"""OpenAI's images and audio, and what copies them."""
