"""A model's folder as ONNX files, as users of onnxruntime make them.

usage: embed_onnx.py FOLDER OUT [--plain]

OUT/f32.onnx is torch's export; OUT/f32-fused.onnx (not with --plain) the same after onnxruntime's optimizer for BERT; OUT/int8.onnx and
OUT/int8-fused.onnx their dynamic quantization, weights per channel. OUT/done says that all are there.
"""
import logging
import sys
import warnings
from pathlib import Path

import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.transformers import optimizer
from transformers import AutoModel

INPUTS = ["input_ids", "attention_mask", "token_type_ids"]


class LastHidden(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, ids, mask, types):
        return self.model(input_ids=ids, attention_mask=mask, token_type_ids=types).last_hidden_state


def export(folder, path):
    # "eager" attention gives the graph that onnxruntime knows how to fuse.
    model = AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    ones = torch.ones(2, 8, dtype=torch.long)
    torch.onnx.export(LastHidden(model), (ones, ones.clone(), ones * 0), str(path), input_names=INPUTS,
                      output_names=["hidden"], opset_version=17, dynamo=False,
                      dynamic_axes={name: {0: "texts", 1: "tokens"} for name in INPUTS + ["hidden"]})
    return model.config


def quantize(path, out):
    quantize_dynamic(str(path), str(out), per_channel=True, weight_type=QuantType.QInt8,
                     extra_options={"DefaultTensorType": 1})  # of what the optimizer's own operators give: float


def main():
    folder, out = sys.argv[1], Path(sys.argv[2])
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    out.mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        config = export(folder, out / "f32.onnx")
    names = [""]
    if "--plain" not in sys.argv:
        names.append("-fused")
        fused = optimizer.optimize_model(str(out / "f32.onnx"), model_type="bert", opt_level=0,
                                         num_heads=config.num_attention_heads, hidden_size=config.hidden_size)
        fused.save_model_to_file(str(out / "f32-fused.onnx"))
    for name in names:
        quantize(out / f"f32{name}.onnx", out / f"int8{name}.onnx")
    (out / "done").touch()


if __name__ == "__main__":
    main()
