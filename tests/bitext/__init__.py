"""Tests of optical_mteb.bitext."""
