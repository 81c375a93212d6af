"""Distillation: recipes, losses and the training run. What it leaves behind is a student in the store."""

from optical_mteb.errors import require

require("accelerate", "train", "training")
