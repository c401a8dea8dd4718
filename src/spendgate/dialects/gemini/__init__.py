"""Gemini: generateContent, embeddings and interactions, also on Vertex AI."""
