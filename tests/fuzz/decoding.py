"""What reads .mvc files: the container, the decoder, and the decoder beside the reference."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import cache
from random import Random
from typing import Any

import numpy as np
from test_container import Pipe
from test_reference_decoder import SHIPPED, reference, tiny_reference
from test_reference_exact import exact
from tiny_model import decoded_digests, tiny_codec
from valid_files import chunks_of

from fuzz.files import mutated
from fuzz.harness import Target
from fuzz.seeds import coded_seeds, content, exact_seeds, shipped_seeds
from mvc import codec as codecs
from mvc import errors, stills
from mvc.codec import Codec
from mvc.container import Head, Reader, describe, read_file, write_file
from mvc.container.sound import SoundReader
from mvc.picture import Picture, check_decoding

MAX_PIXELS = 1 << 16  # of what is decoded: larger pictures take time, and no other path
REFERENCE_PIXELS = 1 << 13
EXACT_PIXELS = 1 << 11
FAULTS = (errors.FormatError, errors.Unsupported, errors.Limit)


def _container_case(random: Random) -> tuple[str, bytes]:
    data = content(random).data() if random.random() < 0.7 else random.choice(coded_seeds())
    return mutated(random, data)


def _listed(reader: Callable[[], Any]) -> list[Any] | str:
    """What comes out of a reader, or the name of the error."""
    try:
        return list(reader())
    except FAULTS as error:
        return type(error).__name__


def _read_container(data: bytes) -> str:
    """Every way of reading says the same, and a file without ancillary chunks is the only one with its contents."""
    seekable = _listed(lambda: Reader(io.BytesIO(data)))
    piped = _listed(lambda: Reader(Pipe(data)))
    heads = _listed(lambda: Reader(io.BytesIO(data)).heads())
    piped_heads = _listed(lambda: Reader(Pipe(data)).heads())
    assert isinstance(seekable, str) == isinstance(piped, str), f"in a file {seekable!r:.80}, in a pipe {piped!r:.80}"
    if not isinstance(seekable, str):
        assert seekable == piped
        sizes = [(unit.role, unit.index, unit.quality_index, tuple(map(len, unit.streams))) for unit in seekable]
        for found in (heads, piped_heads):
            assert [(unit.role, unit.index, unit.quality_index, unit.sizes) for unit in found] == sizes
        assert describe(data)["intact"]
        head, units = read_file(data)
        if all(code < 0x80 for code, _ in chunks_of(data)):
            assert write_file(head, units) == data, "two files have the same contents"
    describe(data)
    list(SoundReader(io.BytesIO(data)).before(None))  # which refuses nothing
    read_file(data)
    return "read"


def _decode(codec: Codec, data: bytes) -> Picture:
    head, units = read_file(data)
    check_decoding(head.width, head.height, MAX_PIXELS, None)
    samples = stills.decode(head, units, lambda _: codec)
    assert (samples.width, samples.height, samples.colour) == (head.width, head.height, head.colour)
    return samples


def _same_as_reference(codec: Codec, model: Any, data: bytes) -> str:
    """Both decoders refuse a file for one reason, or decode the same."""
    with_head: Head | None = None
    try:
        with_head, _ = read_file(data)
        check_decoding(with_head.width, with_head.height, REFERENCE_PIXELS, None)
    except errors.Limit:
        if with_head is not None:
            raise  # too large for a reference in Python
    except errors.MvcError:
        pass
    try:
        found: object = decoded_digests(codec, data)
    except FAULTS as error:
        found, refusal = type(error).__name__, error
        try:
            reference.decode(data, model)
        except reference.Refused as refused:
            assert refused.reason == found, f"refused as {found}, by the reference as {refused.reason}"
            raise refusal from None
        raise AssertionError(f"refused as {found}, but the reference decodes it") from error
    try:
        _, symbols, y_hat = reference.decode(data, model)
    except reference.Refused as refused:
        raise AssertionError(f"decoded, but the reference refuses it: {refused}") from refused
    assert tuple(reference.digests(symbols, y_hat).values()) == found, "another y_hat than the reference"
    return "same"


def _exact(data: bytes) -> str:
    """Both decoders refuse a file for one reason, or give the same samples."""
    head: Head | None = None
    try:
        head, units = read_file(data)
        check_decoding(head.width, head.height, EXACT_PIXELS, None)
        found: object = stills.decode(head, units, lambda _: tiny_codec())
    except FAULTS as error:
        found, refusal = type(error).__name__, error
        if "are allowed" in str(error) or (head is not None and head.model_id is not None):
            raise  # too large for a reference in Python, or no matter of it
        try:
            exact.decode_file(data)
        except exact.Refused as refused:
            assert refused.reason == found, f"refused as {found}, by the reference as {refused.reason}"
            raise refusal from None
        raise AssertionError(f"refused as {found}, but the reference decodes it") from error
    assert isinstance(found, Picture) and head is not None
    _, planes = exact.decode_file(data)
    ours = [*np.moveaxis(np.atleast_3d(found.samples), -1, 0)] if head.model_id is None else []
    ours += [] if found.alpha is None else [found.alpha]
    assert [plane.tolist() for plane in ours] == list(planes.values()), "other samples than the reference"
    return "same"


def targets(shipped: bool = False) -> list[Target]:
    """Of files of the tiny model, or of the shipped one."""
    seeds = shipped_seeds if shipped else coded_seeds

    def coder() -> Codec:
        return codecs.load(device="cpu") if shipped else tiny_codec()

    @cache
    def model() -> Any:
        return reference.read_model(SHIPPED) if shipped else tiny_reference()

    def case(random: Random) -> tuple[str, bytes]:
        return mutated(random, random.choice(seeds()))

    def exact_case(random: Random) -> tuple[str, bytes]:
        return mutated(random, random.choice(exact_seeds()))

    def decode(data: bytes) -> str:
        _decode(coder(), data)
        return "decoded"

    return [
        Target("container", _container_case, _read_container),
        Target("decoder", case, decode, megabytes=200),
        Target("exact", exact_case, _exact, megabytes=300, seconds=30),
        Target("reference", case, lambda data: _same_as_reference(coder(), model(), data), seconds=30),
    ]
