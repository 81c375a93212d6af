"""The language-pair study: how retrieval changes as the number of language pairs of a training grows."""
