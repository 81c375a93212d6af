"""Search 10,000 documents in Swahili, by questions in any language that the model reads.

Run: python examples/search_in_swahili.py MODEL NUMBER INDEX

The documents are generated: names of places in Swahili, from the CLDR that Babel ships, in sentences about them.
"""

import json
import sys
import tempfile
from itertools import product
from pathlib import Path

from babel import Locale

import optical_mteb

DEFAULTS = ["optical-student", "10000", "swahili-index"]
model, number, folder = [*sys.argv[1:], *DEFAULTS[len(sys.argv) - 1 :]]

WHAT = [
    "Bei ya chakula",
    "Hali ya hewa",
    "Uchaguzi mkuu",
    "Afya ya mama",
    "Mashindano ya soka",
    "Elimu",
    "Barabara mpya",
]
WHERE = ["katika nchi ya", "karibu na", "kaskazini mwa", "kusini mwa", "wakati wa mkutano kuhusu"]
places = Locale("sw").territories.values()
texts = [f"{what} {where} {place}." for place, what, where in product(places, WHAT, WHERE)][: int(number)]

with tempfile.TemporaryDirectory() as temporary:
    corpus = Path(temporary) / "corpus.jsonl"
    lines = (json.dumps({"_id": f"d{position}", "text": text}) for position, text in enumerate(texts))
    corpus.write_text("\n".join(lines), encoding="utf-8")
    index = optical_mteb.Index.build(folder, corpus, model)

for query in ("bei ya chakula nchini Kenya", "weather in Tanzania", "élections au Sénégal"):
    print(query)
    for hit in index.search([query], k=3)[0]:
        print(f"  {hit.score:.3f}  {hit.text}")
