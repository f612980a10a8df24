"""A decoder for programs that are not ours: the synthesis as ONNX, the exact prior as tensors with their meaning."""
