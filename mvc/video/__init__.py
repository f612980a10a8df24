"""Videos for people: `encode.py` and `decode.py` from file to file, `reader.py` frame by frame.

Below them: groups of frames side by side (`encoder.py`), the quality for a target (`rate.py`), where scenes change
(`scenes.py`), sound (`sound.py`), places in a clip as people write them (`moments.py`). clip.py codes the frames.
"""
