"""What the exported folder says of itself."""

README = """\
# A decoder of .mvc pictures

Written by `mvc export-decoder`. With these files and bitstream_spec.md (in the sources of mvc) a program in any
language decodes pictures that this model made; nothing of mvc is needed. `conformance/reference_pixels.py` there is
such a program, in numpy and onnxruntime.

| file | what |
|---|---|
| `synthesis.onnx` | from `y_hat` to samples: section 6.2, steps 1 to 8; opset 17, operators of the default domain |
| `prior.safetensors` | the exact prior: integers, from a file's bytes to `y_hat`; sections 4 and 5 |
| `decoder.json` | sizes, hashes, and of each tensor its type, shape, fraction bits and meaning |

How a picture is decoded:

1. Read the container (sections 2 and 3). `model_id` in HEAD must be that of decoder.json.
2. Decode each tile's streams (section 4) with the prior (section 5) to `y_hat`, int32 [H, W, M], where 256 stands
   for 1. This is exact.
3. Cut `y_hat` into windows with a margin (section 6.2). Up to 48 x 48 positions, 768 x 768 pixels, a tile is one
   window; positions of the tiles around it are its margin. Run `synthesis.onnx` on each window with the quality index,
   and keep of its result, float32 [16 H, 16 W, 3], what belongs to the window itself.
4. Drop what lies beyond the picture. Gray is the mean of the three channels. Each value times 255 is rounded, halves
   to even, and brought into 0..255.

Height and width of `synthesis.onnx` are free, so that it may be run on a whole tile of any size. Samples then differ
by more than rounding from those that the encoder saw.

The integers in prior.safetensors are fixed-point numbers: v stands for v / 2^fraction_bits. The weights of a layer have
as many fraction bits as its `shift` says, biases 8 more, values between layers 8. All rounding is floor(x / 2^n + 1/2).
A safetensors file is a u64, the length of a JSON text; that text, with type, shape and place of each tensor; and
their bytes, little-endian.
"""
