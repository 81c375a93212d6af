"""Train a student on your own TSV file: one sentence pair a line, English, tab, translation.

python examples/train_on_your_tsv.py FILE.tsv LANGUAGE BASE STEPS
"""

import sys
from pathlib import Path

import optical_mteb

DEFAULTS = [str(Path(__file__).parent / "data" / "bitext.tsv"), "sw", "pypi:multilingual-e5-small", "20"]
file, language, base, steps = [*sys.argv[1:], *DEFAULTS[len(sys.argv) - 1 :]]

record = optical_mteb.train(
    {
        "name": "my-student",
        "student": {"base": base, "prompt": "query"},
        "teacher": {"base": base, "prompt": "document"},
        "bitext": [{"source": str(Path(file).resolve()), "language": language}],
        "objective": {"contrastive": {}, "optical": {"weight": 3.0}},
        "training": {"steps": int(steps), "batch_size": 8},
    }
)
print(f"{record.name}: {record.steps} steps on {record.bitext[0].kept} pairs")

student = optical_mteb.load_student(record.name)
documents = ["The price of bread has gone up.", "The bus leaves at eight."]
scores = student.similarity(student.encode_query("bei ya mkate"), student.encode_document(documents))
print("best match for 'bei ya mkate':", documents[int(scores.argmax())])
