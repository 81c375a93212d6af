"""Trained students: where they are kept, what is known of them, how MTEB loads them. Imports nothing from training."""

from optical_mteb.students.sidecar import Sidecar
from optical_mteb.students.store import read_student, student_folder, student_names, student_path

__all__ = ["Sidecar", "read_student", "student_folder", "student_names", "student_path"]
