"""One static page of the scores in a result folder."""
