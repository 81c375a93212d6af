"""How to cite the method."""

CITATION = """@inproceedings{huang2023optical,
  author = {Huang, Zhiqi and Yu, Puxuan and Allan, James},
  booktitle = {Proceedings of the Sixteenth ACM International Conference on Web Search and Data Mining},
  title = {Improving Cross-lingual Information Retrieval on Low-Resource Languages via Optimal Transport Distillation},
  url = {https://arxiv.org/abs/2301.12566},
  year = {2023},
}"""
"""BibTeX of the paper whose objective trains the students."""
