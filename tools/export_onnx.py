"""Export a trained restorer or two-stage detector to ONNX, and compare the file with torch.

    python tools/export_onnx.py CONFIG CHECKPOINT OUT.onnx

Of a restorer the input ``image`` is (batch, 1, height, width), float32, grey values divided by the
value that means white; the output ``restored`` has the same size and range. Of a detector see
``mmclarity.detection.export``; `tools/detect.py --backend onnxruntime` runs it without torch.
"""

import sys

try:
    from mmclarity.cli.export import main
except ModuleNotFoundError as error:
    sys.exit(f"{error}: make env && . .venv/bin/activate; or pip install -e '.[all,onnx]'")

if __name__ == '__main__':
    sys.exit(main())
