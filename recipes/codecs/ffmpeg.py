"""ffmpeg, as pip's imageio-ffmpeg brings it: `python ffmpeg.py ARGUMENTS` for descriptions beside this file."""

import subprocess
import sys

import imageio_ffmpeg

sys.exit(subprocess.call([imageio_ffmpeg.get_ffmpeg_exe(), *sys.argv[1:]]))
