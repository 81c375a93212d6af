"""The reader of E5S1 files, against a writer of its own."""

import struct

import pytest

from optical_mteb.bases.q4_file import read_q4_file
from optical_mteb.errors import InputError


def test_header_and_tokenizer_are_read(write_e5s1):
    """Guards against fields read in another order than they are written."""
    written = write_e5s1()
    file = read_q4_file(written.path)
    assert (file.shape.hidden, file.shape.layers, file.shape.heads, file.shape.feed_forward) == (32, 2, 4, 64)
    assert (file.shape.positions, file.shape.types, file.shape.epsilon) == (24, 2, 1e-12)
    assert (file.tokenizer.bos, file.tokenizer.eos, file.tokenizer.pad, file.tokenizer.unk) == (0, 2, 1, 3)
    assert [piece for piece, _ in file.tokenizer.pieces] == written.pieces
    assert file.tokenizer.pieces[5][1] == pytest.approx(-1.1, abs=1e-6)
    assert file.tokenizer.normalisation == {0x07: (), 0x09: (0x20,), 0x200B: (0x20,), 0xFB01: (0x66, 0x69)}


@pytest.mark.parametrize("share", [0.0, 0.0001, 0.001, 0.005, 0.01, 0.02, 0.05, 0.3, 0.9, 0.99999])
def test_a_truncated_file_is_named_with_both_sizes(write_e5s1, share):
    """Guards against a half-downloaded wheel that ends in struct.error, or in silently short tensors."""
    path = write_e5s1().path
    whole = path.read_bytes()
    size = int(len(whole) * share)
    path.write_bytes(whole[:size])
    with pytest.raises(
        InputError, match=rf"truncated: header promises \d+ bytes, file has {size}; reinstall"
    ) as caught:
        read_q4_file(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("offset", "replacement", "message"),
    [
        (0, b"GGUF", "expected b'E5S1'"),
        (4, struct.pack("<I", 2), "format version 2, expected 1"),
        (8, struct.pack("<i", -5), "-5 hidden units"),
        (16, struct.pack("<i", 5), "multiple of 5 heads"),
        (40, struct.pack("<i", 64), "blocks of 64 values, expected 32"),
        (44, struct.pack("<i", 2**30), "truncated"),
        (48, struct.pack("<i", 999), "special pieces"),
        (64, struct.pack("<Q", 2**60), "truncated"),
        (76, struct.pack("<I", 2**31), "piece offsets"),
    ],
)
def test_a_damaged_header_is_refused(write_e5s1, offset, replacement, message):
    """Guards against absurd counts that allocate gigabytes or index out of range instead of being reported."""
    path = write_e5s1().path
    data = bytearray(path.read_bytes())
    data[offset : offset + len(replacement)] = replacement
    path.write_bytes(bytes(data))
    with pytest.raises(InputError, match=message):
        read_q4_file(path)


def test_a_tensor_of_another_size_is_refused(write_e5s1):
    """Guards against a reshape error deep in numpy for a file of another model."""
    file = read_q4_file(write_e5s1().path)
    with pytest.raises(InputError, match=r"'emb\.pos' has 768 values, expected 800"):
        file.tensor("emb.pos", 25, 32)
    with pytest.raises(InputError, match=r"no tensor 'l9\.q\.w'"):
        file.tensor("l9.q.w", 32, 32)


def test_a_missing_file_is_one_line(tmp_path):
    """Guards against a bare FileNotFoundError."""
    with pytest.raises(InputError, match="cannot be read"):
        read_q4_file(tmp_path / "none.bin")
