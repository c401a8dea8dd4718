"""What several families need to read a request: paths, texts, tools, fallbacks, spellings."""
