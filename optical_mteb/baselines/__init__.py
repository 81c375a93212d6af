"""What a student has to beat: the same base under other objectives, its base untrained, and machine translation."""
