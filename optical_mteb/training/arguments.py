"""What sentence-transformers' trainer is told of a recipe."""

from __future__ import annotations

import os
from importlib.util import find_spec

from sentence_transformers import SentenceTransformerTrainingArguments

from optical_mteb.errors import InputError
from optical_mteb.hardware import computes_in_bfloat16
from optical_mteb.mteb_compat import use_one_gpu
from optical_mteb.storage import logs_folder, runs_folder
from optical_mteb.training.models import Models
from optical_mteb.training.recipe import Recipe


def training_arguments(recipe: Recipe, models: Models, processes: int) -> SentenceTransformerTrainingArguments:
    """The trainer's settings.

    Args:
        recipe: The recipe.
        models: Student and teacher.
        processes: Processes that share every batch.

    Raises:
        InputError: TensorBoard is asked for and not installed.
    """
    settings, device = recipe.training, models.student.device
    prompts = {
        "english": models.teacher_prompt,
        "asked": models.teacher_query_prompt,
        "translation": models.student_prompt,
        "document": models.target_prompt,
        "partner": models.target_prompt,
        "askedpartner": models.student_prompt,
        "monolingual": models.monolingual_prompt(recipe.objective),
    }
    if settings.tensorboard:
        if find_spec("tensorboard") is None:
            raise InputError(
                "training.tensorboard: the package tensorboard is not installed; pip install tensorboard, or leave it out"
            )
        # What transformers reads; its own default is a folder in the output folder, which is none here.
        os.environ["TENSORBOARD_LOGGING_DIR"] = str(logs_folder() / recipe.name)
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(runs_folder() / recipe.name),
        max_steps=settings.steps,
        per_device_train_batch_size=settings.batch_size // processes,
        learning_rate=settings.learning_rate,
        # Of weights that have their own, by a pattern of their names.
        learning_rate_mapping={} if settings.embedding_rate is None else {r"\.trained$": settings.embedding_rate},
        warmup_steps=round(settings.warmup_ratio * settings.steps),
        weight_decay=settings.weight_decay,
        bf16=settings.precision == "bfloat16" or (settings.precision == "auto" and computes_in_bfloat16(device)),
        use_cpu=device.type == "cpu",
        seed=recipe.seed,
        prompts={column: prompt for column, prompt in prompts.items() if prompt or column == "monolingual"},
        logging_steps=settings.log_every,
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=settings.checkpoint_every,
        ddp_broadcast_buffers=False,
        report_to="tensorboard" if settings.tensorboard else "none",
    )
    # The recipe decides, not what `accelerate launch` was told.
    arguments.mixed_precision = "bf16" if arguments.bf16 else "no"
    use_one_gpu(arguments)
    return arguments
